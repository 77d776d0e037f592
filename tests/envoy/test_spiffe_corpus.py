"""The corpus of bad certificates against real Envoys: as our translation configures them, and by their SPIFFE validator
alone.

Each is presented by a caller to a sidecar's inbound side, and by a server to a caller's sidecar. What the validator
alone accepts is the list of gaps in docs/decisions/009: should a new Envoy close one, or open one, it is seen here.
"""

from __future__ import annotations

import contextlib
import http.server
import json
import os
import socket
import socketserver
import ssl
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar

import pytest
from google.protobuf.json_format import MessageToDict

from federation.app.programs import find_envoy
from federation.model.errors import MissingProgramError
from federation.model.names import ClusterId, ServiceKey
from gateway.ir.model import AppProtocol, ImportedPort, InboundPort, Upstream, UpstreamLocality
from gateway.telemetry import Telemetry
from gateway.xds.translate.clusters import app_cluster, import_assignment, import_cluster
from gateway.xds.translate.listeners import Address, inbound_listener, local_listener
from gateway.xds.translate.secrets import bundles_secret, svid_secret, tickets_secret
from support.certificates import ROGUES, Ca, Leaf, make_ca, make_leaf
from support.clusterset import Admin
from support.processes import Child, eventually
from trustbundle.bundle import TrustBundle, TrustView, normalised_validator_domains
from trustbundle.identity import TrustDomain

pytestmark = [pytest.mark.envoy, pytest.mark.timeout(120)]

TELEMETRY = Telemetry(ClusterId("east"))

EAST, WEST = TrustDomain("east.test"), TrustDomain("west.test")
ECHO = f"spiffe://{WEST}/ns/demo/sa/echo"
"""What every rogue wants to be taken for."""
NETWORK = f"127.78.{os.getpid() % 250 + 1}"
APP, ROGUE = f"{NETWORK}.1", f"{NETWORK}.2"
HTTP, TCP, TLS, INBOUND, ADMIN = 8080, 9000, 9443, 15006, 15000
GOOD = "nothing"
"""What is wrong with the good certificate."""

# Each certificate of these is signed by the CA of the trust domain that it is taken for.
FORM = frozenset({"key usage not critical", "server authentication only", "alternative name not critical"})
TWO_OF_ONE_DOMAIN = frozenset({"two SPIFFE IDs"})
OTHERS = frozenset({"a SPIFFE ID and another URI"})
FOREIGN = frozenset(
    {
        "another domain's CA, its own SPIFFE ID first",
        "another domain's CA, its own SPIFFE ID first, sent with the CA",
        "another domain's intermediate CA, its own SPIFFE ID first",
    }
)

ACCEPTED_CALLERS = FORM
ACCEPTED_SERVERS = FORM | TWO_OF_ONE_DOMAIN
ACCEPTED_CALLERS_ALONE = FORM | TWO_OF_ONE_DOMAIN | OTHERS | FOREIGN | {"a path that ends with a slash"}
ACCEPTED_SERVERS_ALONE = FORM | TWO_OF_ONE_DOMAIN | OTHERS | FOREIGN


@dataclass(frozen=True)
class World:
    """Two trust domains, and what is presented in the name of one of them, by what is wrong with it."""

    directory: Path
    cas: Mapping[TrustDomain, Ca]
    leaves: Mapping[str, Leaf]

    def service(self, wrong: str) -> ServiceKey:
        """The imported service whose server presents that certificate."""
        return ServiceKey("demo", f"s{list(self.leaves).index(wrong)}")

    def imported(self, wrong: str) -> ImportedPort:
        there = UpstreamLocality(0, ClusterId("west"), "here", "", (Upstream(ROGUE, TLS),))
        return ImportedPort(self.service(wrong), TCP, AppProtocol.TCP, (ECHO,), (there,))

    def write_pem(self, leaf: Leaf, name: str) -> Path:
        path = self.directory / f"{name}.pem"
        path.write_text(leaf.key_pem + leaf.chain_pem)
        return path


@dataclass(frozen=True)
class Envoy:
    """One Envoy: the sidecar of a server, and of a caller with a local port for each bad server."""

    world: World
    address: str

    @property
    def admin(self) -> Admin:
        return Admin(self.address, ADMIN)

    def takes_caller(self, wrong: str, port: InboundPort) -> bool:
        """Whether the application answers to a caller with that certificate."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        context.load_cert_chain(self.world.write_pem(self.world.leaves[wrong], "caller"))
        with (
            contextlib.suppress(OSError),
            socket.create_connection((self.address, INBOUND), 10) as plain,
            context.wrap_socket(plain, server_hostname=port.name) as connection,
        ):
            connection.sendall(b"GET / HTTP/1.1\r\nhost: echo\r\nconnection: close\r\n\r\n")
            return b"served" in connection.makefile("rb").read()
        return False

    def takes_server(self, wrong: str) -> bool:
        """Whether a local caller hears a server with that certificate."""
        try:
            with socket.create_connection((self.address, _local_port(self.world, wrong)), 30) as connection:
                return connection.makefile("rb").read() == b"served"
        except ConnectionError:
            return False


def _local_port(world: World, wrong: str) -> int:
    return 7000 + list(world.leaves).index(wrong)


class _HttpApp(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("content-length", "6")
        self.end_headers()
        self.wfile.write(b"served")

    def log_message(self, *args: Any) -> None:
        pass


class _TcpApp(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        if self.request.recv(64):
            self.request.sendall(b"served")


class _TlsServer(socketserver.BaseRequestHandler):
    """Presents the certificate that the caller's SNI stands for."""

    contexts: Mapping[str, ssl.SSLContext]
    resumed: ClassVar[list[bool]] = []
    """Of each connection, whether its session was resumed."""

    def handle(self) -> None:
        first = next(iter(self.contexts.values()))

        def choose(connection: ssl.SSLObject, name: str, _: ssl.SSLContext) -> None:
            connection.context = self.contexts[name]

        first.sni_callback = choose  # type: ignore[assignment]
        with contextlib.suppress(OSError), first.wrap_socket(self.request, server_side=True) as connection:
            self.resumed.append(bool(connection.session_reused))
            connection.sendall(b"served")


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """The certificates, the applications, and the servers that present bad certificates."""
    now = datetime.now(UTC)
    directory = tmp_path_factory.mktemp("corpus")
    cas = {domain: make_ca(now, uris=[f"spiffe://{domain}"], name=domain) for domain in (EAST, WEST)}
    leaves = {wrong: rogue.make(cas[WEST], cas[EAST], WEST, now) for wrong, rogue in ROGUES.items()}
    found = World(directory, cas, {GOOD: make_leaf(cas[WEST], now, uris=[ECHO])} | leaves)
    contexts = {}
    for wrong, leaf in found.leaves.items():
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(found.write_pem(leaf, "server"))
        contexts[found.imported(wrong).name] = context
    servers = [
        _Server((APP, HTTP), _HttpApp),
        _Server((APP, TCP), _TcpApp),
        _Server((ROGUE, TLS), type("Presenting", (_TlsServer,), {"contexts": contexts})),
    ]
    with contextlib.ExitStack() as stack:
        for server in servers:
            stack.callback(server.server_close)
            threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
            stack.callback(server.shutdown)
        yield found


INBOUND_PORTS = tuple(
    InboundPort(ServiceKey("demo", f"echo-{protocol}"), port, protocol, APP, port)
    for protocol, port in ((AppProtocol.HTTP, HTTP), (AppProtocol.TCP, TCP))
)


def _start(
    world: World, number: int, bundles: Sequence[tuple[str, str]], *, without: frozenset[str] = frozenset()
) -> Iterator[Envoy]:
    """An Envoy with those bundles, and ``without`` some of the inbound network filters."""
    try:
        program = find_envoy()
    except MissingProgramError as error:
        pytest.skip(str(error))
    envoy = Envoy(world, f"{NETWORK}.{number}")
    imports = {_local_port(world, wrong): world.imported(wrong) for wrong in world.leaves}
    outbound = [local_listener(Address(envoy.address, port), imported, TELEMETRY) for port, imported in imports.items()]
    inbound = MessageToDict(inbound_listener(Address(envoy.address, INBOUND), INBOUND_PORTS, TELEMETRY))
    for chain in inbound["filterChains"]:
        chain["filters"] = [item for item in chain["filters"] if item["name"] not in without]
    own = make_leaf(world.cas[EAST], datetime.now(UTC), uris=[f"spiffe://{EAST}/ns/demo/sa/caller"])
    secrets = [
        svid_secret(own.chain_pem.encode(), own.key_pem.encode()),
        bundles_secret(bundles),
        tickets_secret(bytes(80)),
    ]
    bootstrap = {
        "admin": {"address": {"socketAddress": {"address": envoy.address, "portValue": ADMIN}}},
        "staticResources": {
            "secrets": [MessageToDict(secret) for secret in secrets],
            "listeners": [inbound, *map(MessageToDict, outbound)],
            "clusters": [
                *(MessageToDict(app_cluster(port, None)) for port in INBOUND_PORTS),
                *map(_static_import, imports.values()),
            ],
        },
    }
    path = world.directory / f"envoy-{number}.json"
    path.write_text(json.dumps(_static(bootstrap)))
    options = ["--config-path", str(path), "--disable-hot-restart", "--concurrency", "1"]
    child = Child("envoy", [str(program), *options], world.directory / f"envoy-{number}.log")
    child.start()
    try:
        eventually(lambda: envoy.admin.read("/server_info")["state"] == "LIVE", f"Envoy lives: {child.words()}")
        yield envoy
    finally:
        child.kill()


def _static_import(port: ImportedPort) -> dict[str, Any]:
    cluster: dict[str, Any] = MessageToDict(import_cluster(port))
    del cluster["edsClusterConfig"]
    return cluster | {"type": "STATIC", "loadAssignment": MessageToDict(import_assignment(port))}


def _static(value: Any) -> Any:
    """The same without a control plane: secrets are found by name among the static ones."""
    if isinstance(value, dict):
        return {key: _static(item) for key, item in value.items() if key != "sdsConfig"}
    return [_static(item) for item in value] if isinstance(value, list) else value


@pytest.fixture(scope="module")
def ours(world: World) -> Iterator[Envoy]:
    """Configured by the translation, as it is."""
    view = TrustView()
    for domain, ca in world.cas.items():
        view = view.with_bundle(TrustBundle(domain, 1, (ca.der,)))
    yield from _start(world, 11, normalised_validator_domains(view))


@pytest.fixture(scope="module")
def alone(world: World) -> Iterator[Envoy]:
    """With the CA certificates as their owners made them, and without our filter."""
    bundles = [(str(domain), ca.pem) for domain, ca in world.cas.items()]
    yield from _start(world, 12, bundles, without=frozenset({"envoy.filters.network.rbac"}))


WAYS_IN = pytest.mark.parametrize("port", INBOUND_PORTS, ids=lambda port: str(port.protocol))


@pytest.mark.parametrize("wrong", ROGUES)
@WAYS_IN
def test_a_bad_caller_is_refused(ours: Envoy, port: InboundPort, wrong: str) -> None:
    """No application answers a caller whose certificate breaks the standard in what it says of its identity."""
    assert ours.takes_caller(wrong, port) == (wrong in ACCEPTED_CALLERS)


@pytest.mark.parametrize("wrong", ROGUES)
def test_a_bad_server_is_refused(ours: Envoy, wrong: str) -> None:
    """No caller hears a server whose certificate was not signed by the CA of the identity that is expected."""
    assert ours.takes_server(wrong) == (wrong in ACCEPTED_SERVERS)


def test_the_good_are_taken(ours: Envoy) -> None:
    """What is refused above is refused for what is wrong with it."""
    assert [ours.takes_caller(GOOD, port) for port in INBOUND_PORTS] == [True, True]
    assert ours.takes_server(GOOD)


@pytest.mark.parametrize(
    ("wrong", "counter"),
    [
        ("two SPIFFE IDs", r"inbound\.rbac\.denied"),
        ("another domain's CA, its own SPIFFE ID first", r"listener\.inbound\.ssl\.fail_verify_error"),
    ],
)
@WAYS_IN
def test_a_refused_caller_is_counted(ours: Envoy, port: InboundPort, wrong: str, counter: str) -> None:
    """By the filter where the certificate proves too much, by the validator where its CA may not vouch for it."""
    before = ours.admin.counter(counter)
    assert not ours.takes_caller(wrong, port)
    eventually(lambda: ours.admin.counter(counter) == before + 1, f"{counter} counts one more")


@WAYS_IN
def test_which_bad_callers_the_validator_alone_accepts(alone: Envoy, port: InboundPort) -> None:
    """The gaps of Envoy's SPIFFE validator on the server's side."""
    assert {wrong for wrong in ROGUES if alone.takes_caller(wrong, port)} == ACCEPTED_CALLERS_ALONE


def test_which_bad_servers_the_validator_alone_accepts(alone: Envoy) -> None:
    """The gaps of Envoy's SPIFFE validator on the caller's side, with the service's identities to match."""
    assert {wrong for wrong in ROGUES if alone.takes_server(wrong)} == ACCEPTED_SERVERS_ALONE


def test_a_caller_comes_back_with_a_ticket(ours: Envoy) -> None:
    """The first handshake of a caller is a whole one; others use the tickets that it was given."""
    _TlsServer.resumed.clear()
    assert [ours.takes_server(GOOD) for _ in range(3)] == [True] * 3
    assert _TlsServer.resumed[1:] == [True] * 2
