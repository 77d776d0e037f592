"""A cluster that brings its own CA: West has one that no controller of ours knows the key of, and a mesh of its own.

Its workloads are plain TLS programs in the place of sidecars, with certificates of that CA; between them and East's
sidecars are the real gateways. A rotation of the file loses no call, and a CA that is not in it is refused.
"""

from __future__ import annotations

import contextlib
import socket
import socketserver
import ssl
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from federation.model.configuration import BundleEndpointSource
from support.certificates import Ca, Leaf, make_ca, make_leaf
from support.clusterset import (
    GATEWAY_PORT,
    INBOUND_PORT,
    Cluster,
    ClusterSet,
    Pod,
    Sidecar,
    all_ready,
    identity,
    port_name,
)
from support.processes import eventually
from trustbundle.bundle import parse_jwks
from trustbundle.bundle_endpoint import BundleEndpoint
from trustbundle.identity import TrustDomain

pytestmark = [pytest.mark.envoy, pytest.mark.timeout(120)]

LEDGER, ECHO, BUNDLES = 9000, 9001, 8443
SERVED = b"served"
REFUSED = "refused"


def context(leaf: Leaf, side: int, directory: Path, peers: str) -> ssl.SSLContext:
    """Mutual TLS 1.3 of a mesh that is not ours: an own certificate, and the peers' CA certificates (PEM)."""
    found = ssl.SSLContext(side)
    found.check_hostname = False
    found.verify_mode = ssl.CERT_REQUIRED
    found.minimum_version = ssl.TLSVersion.TLSv1_3
    path = directory / "leaf.pem"
    path.write_text(leaf.key_pem + leaf.chain_pem)
    found.load_cert_chain(path)
    found.load_verify_locations(cadata=peers)
    return found


class _Ledger(socketserver.ThreadingTCPServer):
    """West's server: answers any caller that East's CA vouches for."""

    allow_reuse_address = True
    daemon_threads = True
    tls: ssl.SSLContext


class _Handler(socketserver.BaseRequestHandler):
    server: _Ledger

    def handle(self) -> None:
        with (
            contextlib.suppress(OSError),
            self.server.tls.wrap_socket(self.request, server_side=True) as connection,
        ):
            if connection.recv(64):
                connection.sendall(SERVED)


@dataclass
class Sites:
    east: Cluster
    west: Cluster
    caller: Sidecar
    server: Pod
    ledger: _Ledger
    directory: Path
    old: Ca
    new: Ca

    @property
    def east_roots(self) -> str:
        return (self.east.directory / "state" / "bundle.pem").read_text()

    def bring(self, *cas: Ca) -> None:
        """Put West's bundle into place, and wait until East verifies by it."""
        before = self.own()["sequence"]
        aside = self.west.directory / "root.new"
        aside.write_text("".join(ca.pem for ca in cas))
        aside.replace(self.west.directory / "root.pem")
        eventually(lambda: self.own()["sequence"] > before, "west has taken the file")
        eventually(
            lambda: self.domain("east")["acknowledged"] == self.own()["sequence"], "east verifies by west's bundle"
        )

    def own(self) -> Any:
        return self.domain("west")

    def domain(self, cluster: str) -> Any:
        domains = self.west._owner("/v1/trust")["domains"]
        return next(domain for domain in domains if domain["cluster"] == cluster)

    def serve_as(self, ca: Ca) -> None:
        leaf = make_leaf(ca, datetime.now(UTC), uris=[identity("west", "ledger")])
        self.ledger.tls = context(leaf, ssl.PROTOCOL_TLS_SERVER, self.directory, self.east_roots)

    def caller_of(self, ca: Ca) -> Callable[[], str]:
        """A program of West's, with a certificate of that CA, that calls East through East's gateway."""
        leaf = make_leaf(ca, datetime.now(UTC), uris=[identity("west", "clerk")])
        tls = context(leaf, ssl.PROTOCOL_TLS_CLIENT, self.directory, self.east_roots)

        def call() -> str:
            try:
                with (
                    socket.create_connection((self.east.host(1), GATEWAY_PORT), 10) as plain,
                    tls.wrap_socket(plain, server_hostname=port_name("echo", ECHO)) as connection,
                ):
                    connection.sendall(b"hello")
                    return connection.recv(5).decode() or REFUSED
            except OSError:
                return REFUSED

        return call

    def call_west(self) -> str:
        """A program of East's calls West through its own sidecar and West's gateway."""
        try:
            with socket.create_connection((self.caller.address, LEDGER), 10) as connection:
                connection.sendall(b"hello")
                return connection.recv(64).decode() or REFUSED
        except OSError:
            return REFUSED


@pytest.fixture(scope="module")
def sites(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sites]:
    """East is all ours; West has a gateway and a controller of ours, and nothing else."""
    directory = tmp_path_factory.mktemp("external-ca")
    now = datetime.now(UTC)
    # As Istio's roots are, without a SPIFFE ID of their own.
    old, new = make_ca(now, name="old root"), make_ca(now, name="new root")
    with ClusterSet(directory) as clusters, contextlib.ExitStack() as stack:
        east = clusters.add("east", "eu")
        east.settings["bundleEndpoint"] = {"listen": f"{east.host(1)}:{BUNDLES}"}
        west = clusters.add("west", "eu", ca={"bundleFile": "root.pem"})
        clusters.introduce()
        (west.directory / "root.pem").write_text(old.pem)
        server = east.pod(11, f"tcp:{ECHO}")
        east.export("echo", {"tcp": ECHO}, [server.sidecar.address])
        west.export("ledger", {"tcp": LEDGER}, [west.host(11)], account="ledger")
        listen = f"{east.host(21)}:{LEDGER}"
        caller = east.sidecar(
            "caller",
            east.host(21),
            "caller",
            outbound=[{"service": "demo/ledger", "port": LEDGER, "listen": listen}],
        )
        ledger = stack.enter_context(_Ledger((west.host(11), INBOUND_PORT), _Handler))
        found = Sites(east, west, caller, server, ledger, directory, old, new)
        for cluster in (east, west):
            cluster.controller.start()
            cluster.gateway.start()
        server.start()
        caller.start()
        all_ready(east, west)
        found.serve_as(old)
        threading.Thread(target=ledger.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        stack.callback(ledger.shutdown)
        eventually(lambda: found.call_west() == SERVED.decode(), "east reaches west")
        eventually(lambda: found.caller_of(old)() == "hello", "west reaches east")
        yield found


@contextlib.contextmanager
def calling(*calls: Callable[[], str]) -> Iterator[list[Counter[str]]]:
    """Make the calls over and over, side by side, while the context lasts; what became of each."""
    outcomes = [Counter[str]() for _ in calls]
    stopping = threading.Event()

    def repeat(call: Callable[[], str], outcome: Counter[str]) -> None:
        while not stopping.is_set():
            outcome[call()] += 1
            # The others of this machine want to live too.
            stopping.wait(0.01)

    threads = [threading.Thread(target=repeat, args=pair) for pair in zip(calls, outcomes, strict=True)]
    for thread in threads:
        thread.start()
    try:
        yield outcomes
    finally:
        stopping.set()
        for thread in threads:
            thread.join()


def test_a_certificate_of_a_ca_that_is_not_in_the_file_is_refused(sites: Sites) -> None:
    """In both directions, beside one that is served: an identity of West's is worth what West's file says."""
    stranger = make_ca(datetime.now(UTC), name="old root")

    sites.serve_as(stranger)
    as_server, as_caller = sites.call_west(), sites.caller_of(stranger)()
    sites.serve_as(sites.old)

    assert (as_server, as_caller) == (REFUSED, REFUSED)
    eventually(lambda: sites.call_west() == SERVED.decode(), "east reaches west again")
    assert sites.caller_of(sites.old)() == "hello"


def test_a_sidecar_of_ours_gets_no_certificate_there_and_status_says_why(sites: Sites) -> None:
    """The gateway works without one; who asks for one is named, with the next step."""
    asking = sites.west.sidecar("asking", sites.west.host(31), "asking")
    asking.start()
    try:
        eventually(lambda: "ExternalCa" in sites.west.problems(), "the refusal is in west's status")
    finally:
        asking.child.end()

    (problem,) = [line for line in sites.west.status()["problems"] if "ExternalCa" in line]
    assert problem.startswith(f"certificate of {identity('west', 'asking')}: none is issued")
    assert "remove bundleFile and bundleEndpoint under ca in cluster.yaml" in problem


def test_an_emptied_file_costs_no_call(sites: Sites) -> None:
    """The last good stays in force, also past the death of the controller; status says so until the file is good."""
    path = sites.west.directory / "root.pem"
    good, before = path.read_text(), sites.own()
    path.write_text("")
    eventually(lambda: "(Empty)" in sites.west.problems(), "the empty file is in west's status")
    outcomes = [sites.call_west(), sites.caller_of(sites.old)()]
    sites.west.controller.kill()
    sites.west.controller.start()
    eventually(lambda: "(Empty)" in sites.west.problems(), "the file is still empty for the next controller")
    after = sites.own()
    outcomes += [sites.call_west(), sites.caller_of(sites.old)()]
    path.write_text(good)
    eventually(lambda: "(Empty)" not in sites.west.problems(), "nothing is left to say")

    assert outcomes == [SERVED.decode(), "hello"] * 2
    assert (after["sequence"], after["authorities"]) == (before["sequence"], before["authorities"])
    assert after["source"] == str(path)


async def test_the_bundle_of_the_built_in_ca_is_served_to_others(sites: Sites) -> None:
    """Whoever has East's bundle.pem to start from gets the same by https_spiffe, from the running controller."""
    source = BundleEndpointSource(
        f"https://{sites.east.host(1)}:{BUNDLES}/",
        "https_spiffe",
        "spiffe://east.test/federation/controller",
        sites.east.directory / "state" / "bundle.pem",
    )
    answer = await BundleEndpoint(source, lambda: datetime.now(UTC)).fetch(None)
    served, hint = parse_jwks(answer.content, TrustDomain("east.test"))

    assert served.pem == sites.east_roots
    assert served.sequence == sites.east.status()["authority"]["sequence"]
    assert hint == timedelta(seconds=2)


def test_a_rotation_of_the_file_loses_no_call(sites: Sites) -> None:
    """Old and new; then certificates of the new; then the new alone, after which the old CA is refused."""
    callers = [sites.caller_of(sites.old)]

    def call_east() -> str:
        return callers[-1]()

    with calling(sites.call_west, call_east) as outcomes:
        sites.bring(sites.old, sites.new)
        sites.serve_as(sites.new)
        callers.append(sites.caller_of(sites.new))
        changed = [sum(outcome.values()) for outcome in outcomes]
        eventually(
            lambda: all(sum(o.values()) >= before + 20 for o, before in zip(outcomes, changed, strict=True)),
            "calls by the new certificates",
        )
        sites.bring(sites.new)
        dropped = [sum(outcome.values()) for outcome in outcomes]
        eventually(
            lambda: all(sum(o.values()) >= before + 20 for o, before in zip(outcomes, dropped, strict=True)),
            "calls after the old CA is gone",
        )

    assert [set(outcome) for outcome in outcomes] == [{SERVED.decode()}, {"hello"}]
    eventually(lambda: sites.caller_of(sites.old)() == REFUSED, "the old CA is refused")
