"""A sidecar of Istio and one of ours call each other, through the real gateways, by the objects that are rendered.

West's mesh is Istio: a CA of its own, of which only the root is known here, and an Envoy set up as istiod would have it
by the rendered ServiceEntry, DestinationRule, AuthorizationPolicies and the fragment of the mesh configuration. East is
all ours. South is a member whose CA is at hand, to try what callers of other trust domains may not do.
"""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from controllers.mcs.objects import derived_id
from controllers.mesh.base import Whole
from controllers.mesh.detect import DetectedMesh, IstioSetup, MeshKind
from controllers.mesh.istio import IstioAdapter
from controllers.mesh.istio_mesh_config import MeshConfig, check_trust, mesh_config_fragment, parse_mesh_config
from controllers.projection import Surroundings, meet, own_site
from federation.app.offline import OfflineSite, load_site, project
from federation.app.programs import find_envoy
from federation.exchange.base import ExchangeSnapshot, MemberSnapshot
from federation.model.names import ServiceKey
from federation.model.state import ServiceState
from support import istio_sidecar as istio
from support.certificates import Ca, Leaf, make_ca, make_leaf
from support.clusterset import Cluster, ClusterSet, Pod, all_ready, app_command, get, identity, port_name
from support.processes import Child, eventually

pytestmark = [pytest.mark.envoy, pytest.mark.timeout(120)]

HTTP, TCP, METRICS = 8080, 9000, 9090
AS_HTTP11, AS_HTTP2, AS_TCP, AS_IMPOSTOR = 8001, 8002, 8003, 8004
ECHO = ServiceKey("demo", "echo")
REFUSED = b""


@dataclass
class Sites:
    east: Cluster
    west: Cluster
    server: Pod
    caller: str
    """Where East's caller reaches its sidecar's local ports."""
    mesh: str
    """Where West's workload in the mesh takes calls, and where it calls from."""
    directory: Path
    roots: dict[str, Ca]
    leaves: dict[str, Leaf]

    def speak(self, host: str, port: int, text: bytes = b"hello") -> bytes:
        """What a plain TCP client hears."""
        with contextlib.suppress(OSError), socket.create_connection((host, port), 10) as connection:
            connection.sendall(text)
            connection.shutdown(socket.SHUT_WR)
            return connection.makefile("rb").read()
        return REFUSED

    def present(self, who: str, port: int, sni: str, alpn: Sequence[str] = ("istio",)) -> bytes:
        """What a client with a certificate of its own hears of the workload in the mesh."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.load_verify_locations(cadata=self.roots["west"].pem)
        path = self.directory / f"{who}.pem"
        path.write_text(self.leaves[who].key_pem + self.leaves[who].chain_pem)
        context.load_cert_chain(path)
        if alpn:
            context.set_alpn_protocols(list(alpn))
        with (
            contextlib.suppress(OSError),
            socket.create_connection((self.mesh, port), 10) as plain,
            context.wrap_socket(plain, server_hostname=sni) as connection,
        ):
            connection.sendall(b"hello")
            return connection.recv(64)
        return REFUSED


@pytest.fixture(scope="module")
def sites(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sites]:
    """East with a server and a caller; West with a gateway, a controller, and the mesh."""
    directory = tmp_path_factory.mktemp("istio")
    now = datetime.now(UTC)
    roots = {name: make_ca(now, name=f"root of {name}") for name in ("west", "south")}
    with ClusterSet(directory) as clusters, contextlib.ExitStack() as stack:
        east = clusters.add("east", "eu")
        west = clusters.add("west", "us", ca={"bundleFile": "root.pem"}, mesh={"sidecarPort": 0})
        clusters.introduce()
        (west.directory / "root.pem").write_text(roots["west"].pem)
        server = east.pod(11, f"http:{HTTP}", f"tcp:{TCP}")
        east.export("echo", {"http": HTTP, "tcp": TCP}, [server.sidecar.address])
        mesh, strict = west.host(11), west.host(12)
        # The ports of the Services are others than those of the workload: by the latter Istio tells them apart.
        for name, host in (("ledger", mesh), ("vault", strict)):
            west.export(name, {"http": 80, "tcp": 90}, [host], account="ledger", targets={"http": HTTP, "tcp": TCP})
        caller = east.host(21)
        listens = {("ledger", 80): 8101, ("ledger", 90): 8102, ("vault", 80): 8103, ("vault", 90): 8104}
        sidecar = east.sidecar(
            "caller",
            caller,
            "caller",
            outbound=[
                {"service": f"demo/{name}", "port": port, "listen": f"{caller}:{listen}"}
                for (name, port), listen in listens.items()
            ],
        )
        app = Child("app", app_command("ledger", west.host(13), f"http:{HTTP}", f"tcp:{TCP}"), directory / "app.log")
        stack.callback(app.end)
        for child in (east.controller, west.controller, east.gateway, west.gateway, app):
            child.start()
        server.start()
        sidecar.start()
        all_ready(east, west)
        leaves = {
            "west": make_leaf(roots["west"], now, uris=[identity("west", "ledger")]),
            "south": make_leaf(roots["south"], now, uris=[identity("south", "clerk")]),
        }
        envoy = _mesh_sidecar(directory, east, west, roots, leaves["west"])
        stack.callback(envoy.end)
        envoy.start()
        found = Sites(east, west, server, caller, mesh, directory, roots, leaves)
        for host, listen in ((mesh, AS_TCP), (caller, 8102), (caller, 8104)):
            eventually(lambda there=host, port=listen: found.speak(there, port), f"{host}:{listen} leads to its server")
        for host, listen in ((mesh, AS_HTTP11), (mesh, AS_HTTP2), (caller, 8101), (caller, 8103)):
            eventually(lambda there=host, port=listen: get(there, port)[0] == 200, f"{host}:{listen} is answered")
        yield found


def _mesh_sidecar(directory: Path, east: Cluster, west: Cluster, roots: dict[str, Ca], leaf: Leaf) -> Child:
    """West's Envoy, from what the adapter renders for West."""
    own, other = load_site(west.directory), load_site(east.directory)
    results = dict(project(own, [other]).results)
    around = _around(own, other)
    anchors = {"east.test": _ders(east), "south.test": (roots["south"].der,)}
    config = parse_mesh_config({"data": {"mesh": mesh_config_fragment("west.test", anchors)}})
    assert check_trust(config, anchors, trust_domain="west.test", multiroot=True) == []
    adapter = _adapter(config)
    derived = {derived_id(ECHO): {"spec": {"clusterIPs": ["10.96.0.10"]}}}
    rendered = adapter.objects(ECHO, results[ECHO], ServiceState(), derived, around)
    rule, entry = (dict(apply.document) for apply in rendered.applied)
    policies = [
        dict(apply.document)
        for apply in adapter.shared(Whole(results, own.state.services, around, anchors)).applied
        if apply.id.namespace in {"istio-system", "demo"}
    ]
    secrets = istio.Secrets(directory / "mesh")
    pooled = roots["west"].pem + "".join(ssl.DER_cert_to_PEM_cert(der) for ders in anchors.values() for der in ders)
    secrets.write(leaf.chain_pem, leaf.key_pem, pooled)
    calls = [(AS_HTTP11, HTTP, istio.HTTP11_ALPN), (AS_HTTP2, HTTP, istio.HTTP2_ALPN), (AS_TCP, TCP, istio.TCP_ALPN)]
    mesh = west.host(11)
    clusters = [
        istio.outbound_cluster(entry, rule, port, alpn, secrets, f"to-{listen}") for listen, port, alpn in calls
    ]
    other_rule = json.loads(json.dumps(rule).replace("/sa/echo", "/sa/other"))
    clusters.append(istio.outbound_cluster(entry, other_rule, TCP, istio.TCP_ALPN, secrets, f"to-{AS_IMPOSTOR}"))
    listeners = [istio.outbound_listener(mesh, listen, f"to-{listen}", http=port == HTTP) for listen, port, _ in calls]
    listeners.append(istio.outbound_listener(mesh, AS_IMPOSTOR, f"to-{AS_IMPOSTOR}", http=False))
    clusters += [istio.app_cluster("app-http", west.host(13), HTTP), istio.app_cluster("app-tcp", west.host(13), TCP)]
    for host, strict in ((mesh, False), (west.host(12), True)):
        for port, http in ((HTTP, True), (TCP, False), (METRICS, False)):
            listeners.append(
                istio.inbound_listener(
                    host,
                    port,
                    "app-http" if http else "app-tcp",
                    http=http,
                    strict=strict,
                    domains=config.accepted_domains,
                    policies=policies,
                    secrets=secrets,
                )
            )
    path = directory / "mesh.json"
    path.write_text(json.dumps(istio.bootstrap((mesh, 15000), clusters, listeners)))
    command = [str(find_envoy()), "-c", str(path), "--concurrency", "1", "--base-id", "0", "--use-dynamic-base-id"]
    return Child("mesh", command, directory / "mesh.log")


def _adapter(config: MeshConfig) -> IstioAdapter:
    kinds = {
        "AuthorizationPolicy": "security.istio.io/v1",
        "DestinationRule": "networking.istio.io/v1",
        "ServiceEntry": "networking.istio.io/v1",
    }
    setup = IstioSetup(config, multiroot=True)
    return IstioAdapter(DetectedMesh(MeshKind.ISTIO, "", "istio-system", "west.test", "", kinds, setup))


def _around(own: OfflineSite, other: OfflineSite) -> Surroundings:
    there = other.settings.cluster
    peers = ExchangeSnapshot({there: MemberSnapshot(there, records=other.records, synced=True)})
    return meet(own_site(own.settings), "west.test", 0, peers, {there})


def _ders(cluster: Cluster) -> tuple[bytes, ...]:
    pem = (cluster.directory / "state" / "bundle.pem").read_text()
    ends = "-----END CERTIFICATE-----\n"
    return tuple(ssl.PEM_cert_to_DER_cert(one + ends) for one in pem.split(ends) if one.strip())


@pytest.mark.parametrize("listen", [AS_HTTP11, AS_HTTP2])
def test_istio_calls_http_of_ours_end_to_end(sites: Sites, listen: int) -> None:
    """By either version of HTTP that its callers speak; the server is told the caller's identity in Istio."""
    status, body = get(sites.mesh, listen, "/from-istio")
    seen = json.loads(body)
    assert (status, seen["app"], seen["path"]) == (200, "east-11", "/from-istio")
    assert f"URI={identity('west', 'ledger')}" in seen["headers"]["x-forwarded-client-cert"]


def test_istio_calls_tcp_of_ours_end_to_end(sites: Sites) -> None:
    """Bytes pass both ways, and the end of one direction by itself."""
    assert sites.speak(sites.mesh, AS_TCP, b"some bytes") == b"some bytes|east-11 10"


def test_istio_accepts_only_the_identities_of_the_rule(sites: Sites) -> None:
    """The same call under a rule that expects another account finds nobody."""
    assert sites.speak(sites.mesh, AS_IMPOSTOR) == REFUSED


@pytest.mark.parametrize("listen", [8101, 8103], ids=["permissive", "strict"])
def test_ours_calls_http_in_istio_end_to_end(sites: Sites, listen: int) -> None:
    """Whether the workload takes plaintext as well or not; the application is told the caller's identity in East."""
    status, body = get(sites.caller, listen, "/to-istio")
    seen = json.loads(body)
    assert (status, seen["app"], seen["path"]) == (200, "ledger", "/to-istio")
    assert f"URI={identity('east', 'caller')}" in seen["headers"]["x-forwarded-client-cert"]


@pytest.mark.parametrize("listen", [8102, 8104], ids=["permissive", "strict"])
def test_ours_calls_tcp_in_istio_end_to_end(sites: Sites, listen: int) -> None:
    """Opaque bytes, by the ALPN that tells a caller of the mesh from an application that speaks TLS itself."""
    assert sites.speak(sites.caller, listen, b"some bytes") == b"some bytes|ledger 10"


def test_a_caller_that_offers_no_mesh_is_taken_for_tls_of_the_application(sites: Sites) -> None:
    """So Istio's default mode is why sidecars of ours offer what they do."""
    assert sites.present("south", TCP, port_name("ledger", 90)) == b"hello"
    assert sites.present("south", TCP, port_name("ledger", 90), alpn=()) == REFUSED


def test_callers_of_other_domains_reach_exported_ports_alone(sites: Sites) -> None:
    """On the same workload a port that no export has is theirs of the own mesh only."""
    sni = port_name("ledger", 90)
    heard = {(who, port): sites.present(who, port, sni) for who in ("south", "west") for port in (TCP, METRICS)}
    assert heard == {
        ("south", TCP): b"hello",
        ("south", METRICS): REFUSED,
        ("west", TCP): b"hello",
        ("west", METRICS): b"hello",
    }


def test_callers_of_other_domains_use_names_of_the_clusterset(sites: Sites) -> None:
    """A call to a name of the cluster's own is none that the federation brought."""
    sni = "outbound_.90_._.ledger.demo.svc.cluster.local"
    assert sites.present("south", TCP, sni) == REFUSED
    assert sites.present("west", TCP, sni) == b"hello"
