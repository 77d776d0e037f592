"""What is refused, on real Envoys and a real Redis: identities, plaintext, unknown names, tokens, forged records.

Every refusal is counted somewhere that an operator can see, and each kind stands beside a case that is served, so that
nothing passes here because nothing works.
"""

from __future__ import annotations

import json
import socket
import ssl
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key
from redis import Redis

from federation.exchange.base import Keys
from federation.exchange.payloads import Changes, encode_batch
from federation.exchange.signing import BlobKind, Envelope, MemberKey, sign
from federation.model.names import ClusterId, ServiceKey, export_key, shard_sni
from federation.model.records import Version
from gateway.nodes import SidecarNode, node_metadata
from gateway.xds import protos as pb
from support.certificates import Ca, Leaf, make_ca, make_leaf
from support.clusterset import (
    CLUSTERSET,
    GATEWAY_PORT,
    INBOUND_PORT,
    Admin,
    Cluster,
    ClusterSet,
    Pod,
    Sidecar,
    all_ready,
    cli,
    get,
    identity,
    port_name,
)
from support.delta_client import DeltaClient
from support.processes import eventually
from trustbundle.identity import TrustDomain
from trustbundle.keystore import FileKeystore

pytestmark = [pytest.mark.envoy, pytest.mark.timeout(120)]

ECHO, MASKED = 8080, 8081
REFUSED = "refused"


@dataclass(frozen=True)
class Sites:
    set: ClusterSet
    east: Cluster
    west: Cluster
    north: Cluster
    """A member that never runs; its key is in an attacker's hands."""
    server: Pod
    caller: Sidecar
    directory: Path

    @property
    def gateway(self) -> tuple[str, int]:
        return self.west.host(1), GATEWAY_PORT

    @property
    def inbound(self) -> tuple[str, int]:
        return self.server.sidecar.address, INBOUND_PORT


@pytest.fixture(scope="module")
def sites(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sites]:
    """East calls, west serves."""
    directory = tmp_path_factory.mktemp("refusals")
    with ClusterSet(directory) as clusters:
        east, west, north = (clusters.add(name, "eu") for name in ("east", "west", "north"))
        clusters.introduce()
        server = west.pod(11, f"http:{ECHO}")
        hosts = [server.sidecar.address]
        west.export("echo", {"http": ECHO}, hosts)
        # Said to run as another account than the one that the pod's sidecar can prove.
        west.export("masked", {"http": MASKED}, hosts, account="payments", targets={"http": ECHO})
        # The application again, as if it had no sidecar.
        west.export("plain", {"http": ECHO}, hosts, mode="terminate")
        here = east.host(21)
        caller = east.sidecar(
            "caller",
            here,
            "caller",
            outbound=[
                {"service": f"demo/{name}", "port": port, "listen": f"{here}:{port}"}
                for name, port in (("echo", ECHO), ("masked", MASKED))
            ],
        )
        for child in (east.controller, west.controller, west.gateway):
            child.start()
        server.start()
        caller.start()
        all_ready(east, west)
        eventually(server.sidecar.listening, "the server's sidecar listens")
        eventually(lambda: get(here, ECHO)[0] == 200, "the caller reaches the service")
        yield Sites(clusters, east, west, north, server, caller, directory)


def authority(cluster: Cluster) -> Ca:
    """The cluster's own CA with its key, as whoever stole its files has it."""
    keystore = FileKeystore(cluster.directory / "state" / "ca", TrustDomain(cluster.trust_domain))
    state = keystore.load()
    assert state is not None
    assert state.current is not None
    key = load_pem_private_key(keystore.load_key(state.current.id).reveal(), password=None)
    return Ca(x509.load_der_x509_certificate(state.current.certificate), key)  # type: ignore[arg-type]


def call(directory: Path, address: tuple[str, int], name: str, leaf: Leaf | None) -> str:
    """GET over TLS with a certificate: the status line, or that it was refused."""
    return answer(directory, address, name, leaf).partition("\r\n")[0] or REFUSED


def answer(directory: Path, address: tuple[str, int], name: str, leaf: Leaf | None, *headers: str) -> str:
    """GET over TLS with a certificate: the whole answer; empty where it was refused."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["http/1.1"])
    if leaf is not None:
        path = directory / "client.pem"
        path.write_text(leaf.key_pem + leaf.chain_pem)
        context.load_cert_chain(path)
    try:
        with (
            socket.create_connection(address, 10) as plain,
            context.wrap_socket(plain, server_hostname=name) as connection,
        ):
            lines = ["GET / HTTP/1.1", "host: echo", "connection: close", *headers, "", ""]
            connection.sendall("\r\n".join(lines).encode())
            # In TLS 1.3 the server judges the client after the client's handshake is done.
            received = b""
            while data := connection.recv(65536):
                received += data
            return received.decode()
    except (ssl.SSLError, ConnectionError):
        return ""


def say(address: tuple[str, int], text: bytes) -> bytes:
    """Everything that is answered to plaintext, until the connection ends."""
    with socket.create_connection(address, 10) as connection:
        connection.sendall(text)
        answer = b""
        try:
            while data := connection.recv(65536):
                answer += data
        except ConnectionResetError:
            pass
        return answer


def counted(admin: Admin, pattern: str, action: Callable[[], Any], result: object) -> None:
    """Do something that comes to ``result``, and must be counted once under a name that ``pattern`` matches."""
    before = admin.counter(pattern)
    assert action() == result
    eventually(lambda: admin.counter(pattern) == before + 1, f"{pattern} counts one more", seconds=5)


def east_workload(sites: Sites, **how: Any) -> Leaf:
    return make_leaf(authority(sites.east), datetime.now(UTC), uris=[identity("east", "caller")], **how)


ROGUES: dict[str, tuple[str, Callable[[Sites], Leaf | None]]] = {
    "A's CA vouches for B's trust domain": (
        r"listener\.inbound\.ssl\.fail_verify_error",
        lambda sites: make_leaf(authority(sites.east), datetime.now(UTC), uris=[identity("west", "caller")]),
    ),
    "A's CA vouches for B's trust domain behind its own": (
        r"listener\.inbound\.ssl\.fail_verify_error",
        lambda sites: make_leaf(
            authority(sites.east),
            datetime.now(UTC),
            uris=[identity("east", "caller"), identity("west", "caller")],
        ),
    ),
    "two identities": (
        r"inbound\.rbac\.denied",
        lambda sites: make_leaf(
            authority(sites.east),
            datetime.now(UTC),
            uris=[identity("east", "caller"), identity("east", "admin")],
        ),
    ),
    "an unknown CA": (
        r"listener\.inbound\.ssl\.fail_verify_error",
        lambda _: make_leaf(make_ca(datetime.now(UTC)), datetime.now(UTC), uris=[identity("east", "caller")]),
    ),
    "a trust domain of nobody": (
        r"listener\.inbound\.ssl\.fail_verify_error",
        lambda sites: make_leaf(authority(sites.east), datetime.now(UTC), uris=["spiffe://nowhere.test/ns/a/sa/b"]),
    ),
    "expired": (
        r"listener\.inbound\.ssl\.fail_verify_error",
        lambda sites: east_workload(sites, starts=timedelta(hours=-2), ends=timedelta(seconds=-5)),
    ),
    "no certificate": (r"listener\.inbound\.ssl\.fail_verify_no_cert", lambda _: None),
}


@pytest.mark.parametrize("rogue", ROGUES)
@pytest.mark.parametrize("way", ["through the gateway", "at the sidecar", "at the gateway"])
def test_a_caller_that_proves_no_accepted_identity_is_refused(sites: Sites, way: str, rogue: str) -> None:
    """Who ends TLS refuses, the server's sidecar wherever the call comes from or the gateway in its place, and counts
    why."""
    counter, make = ROGUES[rogue]
    address = sites.inbound if way == "at the sidecar" else sites.gateway
    leaf = make(sites)
    service, admin = "echo", sites.server.sidecar.admin
    if way == "at the gateway":
        service, admin = "plain", sites.west.gateway_admin
        counter = counter.replace(r"listener\.inbound", r"listener\.gateway")
    name = port_name(service, ECHO)
    counted(admin, counter, lambda: call(sites.directory, address, name, leaf), REFUSED)


def test_a_caller_that_proves_an_accepted_identity_is_served(sites: Sites) -> None:
    """The very same call with a good certificate: what is refused above is refused for its identity."""
    for address in (sites.gateway, sites.inbound):
        assert call(sites.directory, address, port_name("echo", ECHO), east_workload(sites)) == "HTTP/1.1 200 OK"
    for name in (port_name("plain", ECHO), shard_sni(port_name("plain", ECHO), 3)):
        assert call(sites.directory, sites.gateway, name, east_workload(sites)) == "HTTP/1.1 200 OK"


def test_a_caller_cannot_claim_another_identity_in_a_header(sites: Sites) -> None:
    """What the server's application is told of the caller is what the certificate proves, and nothing that was sent."""
    forged = f"x-forwarded-client-cert: URI={identity('west', 'admin')}"
    for address, service in ((sites.inbound, "echo"), (sites.gateway, "plain")):
        seen = answer(sites.directory, address, port_name(service, ECHO), east_workload(sites), forged)
        assert (identity("east", "caller") in seen, identity("west", "admin") in seen) == (True, False)


def test_an_unknown_name_is_refused_until_it_comes_to_exist(sites: Sites) -> None:
    """The gateway asks for an SNI once; more calls for it are refused too, and once it is exported it is served."""
    gateway, leaf = sites.west.gateway_admin, east_workload(sites)
    name = port_name("latecomer", ECHO)

    def unknown() -> str:
        return call(sites.directory, sites.gateway, name, leaf)

    counted(gateway, r"tcp\.gateway\.on_demand_cluster_missing", unknown, REFUSED)
    counted(gateway, r"tcp\.gateway\.on_demand_cluster_(missing|timeout)", unknown, REFUSED)
    sites.west.export("latecomer", {"http": ECHO}, [sites.server.sidecar.address])
    eventually(lambda: unknown() == "HTTP/1.1 200 OK", "the new service is served")


def test_a_name_outside_the_clusterset_is_refused_without_asking(sites: Sites) -> None:
    """What is no clusterset host never reaches the control plane: it is no way to make it work."""
    gateway = sites.west.gateway_admin
    asked = gateway.counter(r"tcp\.gateway\.on_demand_cluster_attempt")

    def foreign() -> str:
        return call(sites.directory, sites.gateway, "www.example.com", east_workload(sites))

    counted(gateway, r"listener\.gateway\.no_filter_chain_match", foreign, REFUSED)
    assert gateway.counter(r"tcp\.gateway\.on_demand_cluster_attempt") == asked


@pytest.mark.parametrize("part", ["gateway", "inbound"])
def test_plaintext_is_refused(sites: Sites, part: str) -> None:
    """Neither the gateway nor a sidecar's port for mutual TLS answers a byte to plaintext."""
    admin = sites.west.gateway_admin if part == "gateway" else sites.server.sidecar.admin
    address = sites.gateway if part == "gateway" else sites.inbound
    request = b"GET / HTTP/1.1\r\nhost: echo.demo.svc.clusterset.local\r\n\r\n"
    counted(admin, rf"listener\.{part}\.no_filter_chain_match", lambda: say(address, request), b"")


def test_a_server_with_another_identity_than_expected_is_refused_by_the_caller(sites: Sites) -> None:
    """The pod behind ``masked`` holds a good certificate of an accepted trust domain, of another account."""
    name = port_name("masked", MASKED).replace(".", r"\.")
    counter = rf"cluster\.{name}\.ssl\.fail_verify_san"
    before = sites.caller.admin.counter(counter)
    assert get(sites.caller.address, MASKED)[0] == 503
    assert sites.caller.admin.counter(counter) > before


def xds(cluster: Cluster, token: str | None, node: str = "sidecar~demo~x~1", address: str = "127.0.0.1") -> DeltaClient:
    """A client of the controller's xDS server that says it is that node."""
    return DeltaClient(
        f"unix:{cluster.directory / 'state' / 'xds.sock'}",
        node=node,
        token=token,
        metadata=node_metadata(SidecarNode(address, INBOUND_PORT)),
    )


@pytest.mark.parametrize("token", [None, "", "wrong", "x" * 43], ids=["none", "empty", "short", "well formed"])
async def test_a_node_without_a_valid_token_gets_nothing(sites: Sites, token: str | None) -> None:
    """No token, no configuration, and it is counted."""
    before = sites.west.metric("xds_auth_refused_total")
    async with xds(sites.west, token, sites.server.sidecar.node) as client:
        await client.subscribe(pb.SECRET, "default")
        code, _ = await client.status()
    assert code is grpc.StatusCode.UNAUTHENTICATED
    assert sites.west.metric("xds_auth_refused_total") == before + 1


def test_an_envoy_with_a_token_of_its_own_making_gets_nothing(sites: Sites) -> None:
    """The same on a real Envoy: it stays without listeners and certificate."""
    forged = sites.directory / "forged"
    (forged / "tokens").mkdir(parents=True)
    (forged / "cluster.yaml").write_text((sites.west.directory / "cluster.yaml").read_text())
    token = forged / "tokens" / "demo.echo.token"
    token.write_text("x" * 43)
    token.chmod(0o600)
    socket_path = sites.west.directory / "state" / "xds.sock"
    intruder = sites.west.sidecar(
        "intruder",
        sites.west.host(66),
        "echo",
        clusterDirectory=str(forged),
        xds={"address": f"unix:{socket_path}"},
    )
    before = sites.west.metric("xds_auth_refused_total")
    intruder.start()
    try:
        eventually(lambda: sites.west.metric("xds_auth_refused_total") > before, "the controller refuses")
        eventually(lambda: intruder.admin.read("/server_info"), "the Envoy runs")
        assert intruder.admin.read("/certs") == {"certificates": []}
        assert intruder.admin.read("/listeners?format=json") == {}
    finally:
        intruder.child.end()


async def test_a_borrowed_node_id_brings_nobody_elses_certificate(sites: Sites) -> None:
    """Who says to be another workload's sidecar, address and all, gets the certificate of whom its token proves."""
    token = sites.west.token("demo.mallory")
    victim = sites.server.sidecar
    async with xds(sites.west, token, victim.node, victim.address) as client:
        await client.subscribe(pb.SECRET, "default")
        response = await client.receive()
        secret = pb.Secret.FromString(response.resources[0].resource.value)
    leaf = x509.load_pem_x509_certificates(secret.tls_certificate.certificate_chain.inline_bytes)[0]
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.UniformResourceIdentifier) == [identity("west", "mallory")]


async def test_asking_for_another_identitys_secret_is_denied_and_counted(sites: Sites) -> None:
    """There is no name by which one workload could get another's key."""
    before = sites.west.metric("xds_denied_secrets_total")
    wanted = identity("west", "echo")
    async with xds(sites.west, sites.west.token("demo.mallory")) as client:
        await client.subscribe(pb.SECRET, wanted)
        response = await client.receive()
    assert (list(response.resources), list(response.removed_resources)) == ([], [wanted])
    assert sites.west.metric("xds_denied_secrets_total") == before + 1


async def test_a_gateways_token_makes_no_sidecar(sites: Sites) -> None:
    """A gateway decrypts nothing and has no identity: whoever steals its token can't be any workload."""
    before = sites.west.metric("xds_auth_refused_total")
    victim = sites.server.sidecar
    async with xds(sites.west, sites.west.token("gateway"), victim.node, victim.address) as client:
        await client.subscribe(pb.SECRET, "default")
        code, _ = await client.status()
    assert code is grpc.StatusCode.PERMISSION_DENIED
    assert sites.west.metric("xds_auth_refused_total") == before + 1


def signed(signer: Cluster, claims: str, version: Version, changes: Changes) -> bytes:
    """A batch in the name of the member ``claims``, signed with the key of ``signer``."""
    seed = signer.key.private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption())
    envelope = Envelope(BlobKind.BATCH, ClusterId(claims), version, encode_batch(changes))
    return sign(envelope, CLUSTERSET, MemberKey(seed))


def rejected(sites: Sites, reason: str) -> float:
    return sites.east.metric("records_rejected_total", peer="west", reason=reason)


def reported(sites: Sites) -> Any:
    """What `federation status -o json` says of west, seen from east."""
    done = cli("status", "--dir", str(sites.east.directory), "-o", "json")
    assert done.returncode == 0, done.stderr
    return next(peer for peer in json.loads(done.stdout)["peers"] if peer["cluster"] == "west")


@pytest.fixture
def exchange(sites: Sites) -> Iterator[Redis]:
    """The real Redis, as whoever may write to it sees it."""
    assert sites.set.redis is not None
    with Redis.from_url(sites.set.redis.url) as client:
        yield client


@pytest.mark.parametrize(
    ("claims", "reason"),
    [("west", "BadSignature"), ("north", "WrongMember")],
    ids=["in another's name", "in its own name under another's key"],
)
def test_a_record_signed_by_another_member_is_refused(sites: Sites, exchange: Redis, claims: str, reason: str) -> None:
    """North, a member too, withdraws west's service: refused, counted and named, and the service stays."""
    before = rejected(sites, reason)
    epoch, seq = map(int, sites.east.peer("west")["version"].split("-"))
    forged = Changes({}, (export_key(ServiceKey("demo", "echo")),))
    blob = signed(sites.north, claims, Version(epoch, seq + 1), forged)
    exchange.publish(Keys(CLUSTERSET, ClusterId("west")).channel, blob)
    eventually(lambda: rejected(sites, reason) == before + 1, "the forgery is counted")
    status = reported(sites)
    assert status["rejected"][reason] == before + 1
    assert reason in [rejection["reason"] for rejection in status["lastRejections"]]
    assert (status["state"], "echo" in sites.east.services()) == ("Live", True)
    assert get(sites.caller.address, ECHO)[0] == 200


def test_a_replayed_record_is_refused(sites: Sites, exchange: Redis) -> None:
    """What west once signed and has taken back since does not come back by sending it again."""
    hosts = [sites.server.sidecar.address]
    log = Keys(CLUSTERSET, ClusterId("west")).log
    sites.west.export("bygone", {"http": ECHO}, hosts)
    eventually(lambda: "bygone" in sites.east.services(), "the service is imported")
    _, fields = exchange.xrevrange(log, count=1)[0]
    (sites.west.directory / "bygone.yaml").unlink()
    eventually(lambda: "bygone" not in sites.east.services(), "the service is withdrawn")
    before = rejected(sites, "Replayed")
    exchange.publish(Keys(CLUSTERSET, ClusterId("west")).channel, fields[b"b"])
    eventually(lambda: rejected(sites, "Replayed") == before + 1, "the replay is counted")
    status = reported(sites)
    assert status["rejected"]["Replayed"] == before + 1
    assert status["lastRejections"][-1]["reason"] == "Replayed"
    assert "bygone" not in sites.east.services()
    # Nobody else suffers, nor does west: its next word is heard.
    sites.west.export("anew", {"http": ECHO}, hosts)
    eventually(lambda: "anew" in sites.east.services(), "west is heard")
