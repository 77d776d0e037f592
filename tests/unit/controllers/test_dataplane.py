"""The data plane: which node sees what, and that a change touches nothing else."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

import pytest
from msgspec.structs import replace as replace_node

from federation.membership.tokens import NodePrincipal
from federation.model.errors import TrustError
from federation.model.names import export_key, sni
from federation.model.state import ServiceState
from gateway.nodes import GatewayNode, Listen, LocalPort, SidecarNode
from gateway.xds.translate.egress import egress_name
from support.builders import (
    ECHO,
    WEST,
    endpoint,
    endpoint_slice,
    endpoints_record,
    export_record,
    exported_state,
    gateway_record,
    key,
    port,
    spiffe_id,
)
from support.control import GATEWAY, GATEWAYS, SIDECAR, WEB, Changes, ControlLoop, bundle, svid
from trustbundle.authority import Svid

HTTP = sni(ECHO, 80)
LOCAL = LocalPort("demo", "echo", 80, Listen("127.0.0.1", 8001))
EGRESS_GATEWAY = GatewayNode(Listen("127.0.0.1", 15443), egress=True)
REDIRECT = SidecarNode(address="10.0.0.3", inbound_port=15006, redirect_port=15001)


@pytest.fixture
def loop(tmp_path: Path) -> ControlLoop:
    """A control loop past its first pass; the peer West exports the sample service."""
    loop = ControlLoop(tmp_path)
    loop.own({})
    loop.say(
        WEST,
        export_record(identities=[spiffe_id(WEST)]),
        endpoints_record(),
        gateway_record("192.0.2.1"),
        bundle(WEST),
    )
    loop.step()
    return loop


def refuse(principal: NodePrincipal) -> Svid:
    raise TrustError("no CA can sign")


def local_filter(loop: ControlLoop) -> str:
    (chain,) = loop.message("web", "LDS", "local|127.0.0.1|8001").filter_chains
    return str(chain.filters[0].name)


def own(*addresses: str, ready: bool = True, inbound_port: int | None = None) -> ServiceState:
    endpoints = (endpoint(address, ready=ready) for address in addresses)
    return exported_state(endpoint_slice(*endpoints, inbound_port=inbound_port))


# What each kind of node sees


def test_a_sidecar_sees_imports_and_its_own_secrets(loop: ControlLoop) -> None:
    """Every sidecar has the clusters, endpoints and routes of all imports, its certificate, and the bundles."""
    loop.connect("web", SIDECAR)
    assert {kind: loop.names("web", kind) for kind in ("CDS", "EDS", "LDS", "RDS", "SDS")} == {
        "CDS": [HTTP],
        "EDS": [HTTP],
        "LDS": ["http-proxy"],
        "RDS": ["outbound"],
        "SDS": ["ALL", "default", "tickets"],
    }


def test_a_gateway_sees_exports_and_no_secret(loop: ControlLoop) -> None:
    """A gateway has what its own cluster exports and its listener; no import, no key, no bundle."""
    loop.connect("gateway", GATEWAY)
    assert list(loop.seen("gateway")) == [("LDS", "gateway")]
    loop.own({key("demo/web"): exported_state(endpoint_slice(of=key("demo/web")), of=key("demo/web"))})
    loop.step()
    served = sni(key("demo/web"), 80)
    assert [("CDS", served), ("EDS", served), ("LDS", "gateway")] == list(loop.seen("gateway"))


def test_a_redirecting_sidecar_has_a_listener_for_every_clusterset_ip(loop: ControlLoop) -> None:
    """The first redirecting sidecar fills its group with all there is; later imports come and go like elsewhere."""
    loop.connect("web", REDIRECT, WEB)
    assert loop.names("web", "LDS") == ["redirect", f"vip|{HTTP}"]
    assert loop.names("web", "CDS") == [HTTP, "passthrough"]
    address = loop.message("web", "LDS", f"vip|{HTTP}").address.socket_address
    assert (address.address, address.port_value) == (str(loop.journal.vips[ECHO]), 80)

    other = key("demo/other")
    loop.say(WEST, export_record(other, identities=[spiffe_id(WEST)]))
    loop.withdraw(WEST, export_key(ECHO))
    loop.step()
    assert loop.names("web", "LDS") == ["redirect", f"vip|{sni(other, 80)}"]
    assert loop.names("web", "CDS") == [sni(other, 80), "passthrough"]


def test_a_clusterset_ip_of_either_family_has_a_listener(loop: ControlLoop) -> None:
    """Both families are intercepted, each by a listener of its own where the sidecar's pod has IPv6."""
    loop.connect("web", replace_node(REDIRECT, redirect_ipv6=True), WEB)
    loop.controller.on_vips({ECHO: IPv4Address("240.96.0.5")}, {ECHO: IPv6Address("fd00::5")})
    loop.step()
    assert loop.names("web", "LDS") == ["redirect", "redirect-ipv6", f"vip6|{HTTP}", f"vip|{HTTP}"]
    address = loop.message("web", "LDS", f"vip6|{HTTP}").address.socket_address
    assert (address.address, address.port_value) == ("fd00::5", 80)

    loop.controller.on_vips({ECHO: IPv4Address("240.96.0.5")}, {})
    loop.step()
    assert loop.names("web", "LDS") == ["redirect", "redirect-ipv6", f"vip|{HTTP}"]


def test_a_redirecting_sidecar_that_came_before_the_first_pass_is_served_by_it(tmp_path: Path) -> None:
    """The group of redirecting sidecars is whole from the first pass on, whoever came first."""
    loop = ControlLoop(tmp_path)
    loop.connect("web", REDIRECT)
    assert loop.seen("web") == {}
    loop.own({})
    loop.say(WEST, export_record(identities=[spiffe_id(WEST)]), gateway_record(), bundle(WEST))
    loop.step()
    assert loop.names("web", "LDS") == ["redirect", f"vip|{HTTP}"]


def test_another_clusterset_ip_is_another_listener_and_nothing_else(loop: ControlLoop) -> None:
    """What else the service came to keeps its version, and is still there when the service changes after that."""
    loop.connect("web", REDIRECT)
    before = loop.seen("web")
    loop.controller.on_vips({ECHO: IPv4Address("240.96.0.5")})
    loop.step()
    after = loop.seen("web")
    listener = loop.message("web", "LDS", f"vip|{HTTP}")

    assert listener.address.socket_address.address == "240.96.0.5"
    assert before.keys() == after.keys()
    assert {key[1] for key, version in after.items() if before[key] != version} == {f"vip|{HTTP}"}

    loop.withdraw(WEST, export_key(ECHO))
    loop.step()
    assert loop.names("web", "CDS") == ["passthrough"]


def test_sidecars_that_do_not_redirect_have_no_listener_per_import(loop: ControlLoop) -> None:
    """Listeners of clusterset IPs cost memory; who takes no redirected traffic has none of them."""
    loop.connect("redirect", REDIRECT)
    loop.connect("web", SIDECAR)
    assert loop.names("web", "LDS") == ["http-proxy"]


# Callers without a sidecar


def test_a_gateway_with_egress_has_a_listener_for_every_import(loop: ControlLoop) -> None:
    """The first one fills its group with all there is, under names that no SNI has; later imports come and go."""
    loop.connect("gateway", EGRESS_GATEWAY)
    name = egress_name(HTTP)
    assert {kind: loop.names("gateway", kind) for kind in ("CDS", "EDS", "LDS", "SDS")} == {
        "CDS": [name],
        "EDS": [name],
        "LDS": [name, "gateway"],
        "SDS": ["ALL", "default", "tickets"],
    }
    address = loop.message("gateway", "LDS", name).address.socket_address
    assert (address.address, address.port_value) == (str(loop.journal.vips[ECHO]), 80)

    other = key("demo/other")
    loop.say(WEST, export_record(other, identities=[spiffe_id(WEST)]))
    loop.withdraw(WEST, export_key(ECHO))
    loop.step()
    assert loop.names("gateway", "CDS") == [egress_name(sni(other, 80))]
    assert loop.names("gateway", "LDS") == [egress_name(sni(other, 80)), "gateway"]


def test_what_a_gateway_passes_through_and_what_it_calls_stand_side_by_side(loop: ControlLoop) -> None:
    """A service that is exported and imported is behind its SNI and, for callers of our own, behind another name."""
    loop.connect("gateway", EGRESS_GATEWAY)
    loop.own({ECHO: own("10.0.0.1")})
    loop.step()
    assert loop.names("gateway", "CDS") == [egress_name(HTTP), HTTP]
    assert not loop.message("gateway", "CDS", HTTP).HasField("transport_socket")
    assert loop.message("gateway", "CDS", egress_name(HTTP)).HasField("transport_socket")


def test_a_gateway_with_egress_that_came_before_the_first_pass_is_served_by_it(tmp_path: Path) -> None:
    """Its group is whole from the first pass on, whoever came first."""
    loop = ControlLoop(tmp_path)
    loop.connect("gateway", EGRESS_GATEWAY)
    assert loop.seen("gateway") == {}
    loop.own({})
    loop.say(WEST, export_record(identities=[spiffe_id(WEST)]), gateway_record(), bundle(WEST))
    loop.step()
    assert loop.names("gateway", "LDS") == [egress_name(HTTP), "gateway"]


def test_a_gateway_without_egress_has_nothing_of_it(loop: ControlLoop) -> None:
    """Beside one that serves callers without a sidecar, one that doesn't stays as small as it was."""
    loop.connect("egress", EGRESS_GATEWAY)
    loop.connect("gateway", GATEWAY)
    assert list(loop.seen("gateway")) == [("LDS", "gateway")]


def test_the_clusterset_ip_of_an_egress_listener_moves(loop: ControlLoop) -> None:
    """Another clusterset IP is another address of the same listener, and nothing else."""
    loop.connect("gateway", EGRESS_GATEWAY)
    before = loop.seen("gateway")
    loop.controller.on_vips({ECHO: IPv4Address("240.96.0.5")})
    loop.step()
    after = loop.seen("gateway")
    listener = loop.message("gateway", "LDS", egress_name(HTTP))
    assert listener.address.socket_address.address == "240.96.0.5"
    assert {of for of, version in after.items() if before[of] != version} == {("LDS", egress_name(HTTP))}


# Servers without a sidecar


def test_a_gateway_that_ends_tls_has_a_certificate_as_long_as_it_does(loop: ControlLoop) -> None:
    """It comes with the first service of that mode and goes with the last: what is passed through needs none."""
    loop.connect("gateway", GATEWAY)
    state = own("10.0.0.1")
    assert state.export is not None
    loop.own({ECHO: replace(state, export=replace(state.export, terminate=True))})
    loop.step()
    assert loop.names("gateway", "SDS") == ["ALL", "default", "tickets"]
    assert loop.names("gateway", "CDS") == [f"terminate|{HTTP}"]
    chains = loop.message("gateway", "LDS", "gateway").filter_chains
    assert [list(chain.filter_chain_match.server_names) for chain in chains][1:] == [[HTTP, f"*.{HTTP}"]]

    loop.own({ECHO: state})
    loop.step()
    assert loop.names("gateway", "SDS") == []
    assert loop.names("gateway", "CDS") == [HTTP]
    assert len(loop.message("gateway", "LDS", "gateway").filter_chains) == 1


def test_withdrawn_trust_ends_what_a_gateway_terminates_and_nothing_else(loop: ControlLoop) -> None:
    """Its chain is another one; that of what passes through stays the same."""
    loop.connect("gateway", GATEWAY)
    state = own("10.0.0.1")
    assert state.export is not None
    loop.own({ECHO: replace(state, export=replace(state.export, terminate=True))})
    loop.step()
    before = loop.message("gateway", "LDS", "gateway").filter_chains
    loop.dataplane.update_trust([], 7)
    after = loop.message("gateway", "LDS", "gateway").filter_chains
    assert [old == new for old, new in zip(before, after, strict=True)] == [True, False]


def test_a_gateway_that_gets_no_certificate_passes_through_what_needs_none(loop: ControlLoop) -> None:
    """Where the CA is elsewhere it ends no TLS, and says so; all else goes on."""
    state = own("10.0.0.1")
    assert state.export is not None
    loop.own({ECHO: replace(state, export=replace(state.export, terminate=True))})
    loop.step()
    (problem,) = loop.dataplane.connect("gateway", GATEWAY, GATEWAYS, refuse)
    assert (problem.subject, problem.reason) == ("node gateway", "NoCertificate")
    assert len(loop.message("gateway", "LDS", "gateway").filter_chains) == 1


# Inbound


def test_a_workload_has_inbound_ports_while_it_backs_an_exported_service(loop: ControlLoop) -> None:
    """The inbound listener and the application's cluster follow the slices, ready or not."""
    loop.connect("web", SIDECAR)
    loop.own({ECHO: own(SIDECAR.address, ready=False)})
    loop.step()
    assert loop.names("web", "LDS") == ["http-proxy", "inbound"]
    assert loop.names("web", "CDS") == [f"app|{SIDECAR.address}|8080|http", HTTP]
    loop.own({ECHO: own("10.0.0.77", ready=False)})
    loop.step()
    assert loop.names("web", "LDS") == ["http-proxy"]
    assert loop.names("web", "CDS") == [HTTP]


def test_workloads_of_one_address_are_told_apart_by_their_inbound_port(loop: ControlLoop) -> None:
    """A slice with another inbound port is another workload's."""
    loop.connect("web", SIDECAR)
    loop.own({ECHO: own(SIDECAR.address, inbound_port=16006)})
    loop.step()
    assert loop.names("web", "LDS") == ["http-proxy"]


def test_a_workload_of_several_services_serves_all_of_them(loop: ControlLoop) -> None:
    """One inbound listener has the ports of every exported service behind the workload."""
    loop.connect("web", SIDECAR)
    other = key("demo/other")
    second = exported_state(endpoint_slice(endpoint(SIDECAR.address), of=other), of=other)
    loop.own({ECHO: own(SIDECAR.address), other: second})
    loop.step()
    chains = [chain.name for chain in loop.message("web", "LDS", "inbound").filter_chains]
    assert chains == [HTTP, sni(other, 80)]
    loop.own({ECHO: None})
    loop.step()
    assert [chain.name for chain in loop.message("web", "LDS", "inbound").filter_chains] == [sni(other, 80)]


# Nodes come and go


def test_nodes_before_the_first_pass_are_answered_by_it(tmp_path: Path) -> None:
    """A node that connects before anything is known sees nothing, not half of what it needs."""
    loop = ControlLoop(tmp_path)
    loop.connect("web", SIDECAR)
    loop.connect("gateway", GATEWAY)
    loop.dataplane.update_trust((("east.test", "PEM"),))
    assert (loop.seen("web"), loop.seen("gateway")) == ({}, {})
    loop.own({})
    loop.step()
    assert list(loop.seen("gateway")) == [("LDS", "gateway")]
    assert sorted(loop.seen("web")) == [
        ("LDS", "http-proxy"),
        ("RDS", "outbound"),
        ("SDS", "ALL"),
        ("SDS", "default"),
        ("SDS", "tickets"),
    ]


def test_a_node_that_reconnects_finds_everything_as_it_was(loop: ControlLoop) -> None:
    """A broken stream costs no new certificate and no new version of anything."""
    loop.connect("web", SIDECAR)
    before = loop.seen("web")
    assert loop.dataplane.connect("web", SIDECAR, WEB, refuse) == ()
    assert loop.seen("web") == before


def test_a_node_that_was_configured_anew_gets_its_new_listeners(loop: ControlLoop) -> None:
    """The same node with other metadata, even of another group, is made anew."""
    loop.connect("web", SIDECAR)
    loop.connect("web", REDIRECT)
    assert loop.names("web", "LDS") == ["redirect", f"vip|{HTTP}"]
    loop.connect("web", SIDECAR)
    assert loop.names("web", "LDS") == ["http-proxy"]


def test_a_node_that_cannot_have_a_certificate_changes_nothing(loop: ControlLoop) -> None:
    """Where no CA can sign, the node is refused and may come again, as whatever kind of node."""
    with pytest.raises(TrustError):
        loop.dataplane.connect("web", REDIRECT, WEB, refuse)
    assert (loop.dataplane.nodes, loop.cache.nodes()) == ((), ())
    loop.connect("web", SIDECAR)
    loop.connect("redirect", REDIRECT)
    assert loop.names("redirect", "LDS") == ["redirect", f"vip|{HTTP}"]


def test_a_forgotten_node_has_no_view_and_no_certificate(loop: ControlLoop) -> None:
    """After a disconnect nothing is kept of the node, and later changes pass it by."""
    loop.connect("web", SIDECAR)
    loop.dataplane.disconnect("web")
    loop.own({ECHO: own(SIDECAR.address)})
    loop.step()
    assert (loop.dataplane.nodes, loop.dataplane.svids(), loop.cache.nodes()) == ((), (), ())


def test_a_gateway_is_issued_no_certificate(loop: ControlLoop) -> None:
    """A gateway decrypts nothing, so no key is ever made for one."""
    assert loop.dataplane.connect("gateway", GATEWAY, GATEWAYS, refuse) == ()
    assert loop.dataplane.svids() == ()


# Secrets


def test_each_node_has_the_certificate_of_its_own_principal(loop: ControlLoop) -> None:
    """Two nodes see the same secret name with their own content."""
    loop.connect("web", SIDECAR)
    loop.connect("db", SidecarNode("10.0.0.2", 15006), NodePrincipal("sidecar", "demo", "db"))
    keys = {
        node: loop.message(node, "SDS", "default").tls_certificate.private_key.inline_bytes for node in ("web", "db")
    }
    assert keys == {
        "web": b"key of spiffe://east.test/ns/demo/sa/web",
        "db": b"key of spiffe://east.test/ns/demo/sa/db",
    }


def test_renewal_replaces_the_due_certificates_only(loop: ControlLoop) -> None:
    """A renewed node is sent its certificate and another key of tickets; the others, and gateways, nothing."""
    loop.connect("web", SIDECAR)
    loop.connect("db", SidecarNode("10.0.0.2", 15006), NodePrincipal("sidecar", "demo", "db"))
    loop.connect("gateway", GATEWAY)
    changes = Changes(loop, "web", "db", "gateway")

    def issue(principal: NodePrincipal) -> Svid:
        return svid(NodePrincipal("sidecar", principal.namespace, f"{principal.service_account}.renewed"))

    assert loop.dataplane.renew(lambda held: held.spiffe_id.path.endswith("/web"), issue) == 1
    assert {node: changes.of(node) for node in ("web", "db", "gateway")} == {
        "web": [("SDS", "default"), ("SDS", "tickets")],
        "db": [],
        "gateway": [],
    }


def test_bundles_change_for_every_sidecar_once(loop: ControlLoop) -> None:
    """New bundles, and a new key of session tickets, are sent to each sidecar; the same bundles again are nothing."""
    loop.connect("web", SIDECAR)
    loop.connect("gateway", GATEWAY)
    changes = Changes(loop, "web", "gateway")
    domains = (("east.test", "PEM"),)
    assert (loop.dataplane.update_trust(domains), loop.dataplane.update_trust(domains)) == (True, False)
    assert (changes.of("web"), changes.of("gateway")) == ([("SDS", "ALL"), ("SDS", "tickets")], [])


def test_a_new_generation_of_trust_is_new_listeners_of_what_takes_calls_of_all(loop: ControlLoop) -> None:
    """The proxy port and inbound, in the same change as the bundles; a gateway holds nobody's trust."""
    loop.own({ECHO: exported_state(endpoint_slice(endpoint("10.0.0.1")))})
    loop.step()
    loop.connect("web", SIDECAR)
    loop.connect("gateway", GATEWAY)
    changes = Changes(loop, "web", "gateway")
    assert loop.dataplane.update_trust((("east.test", "PEM"),), 1)
    assert (changes.of("web"), changes.of("gateway")) == (
        [("LDS", "http-proxy"), ("LDS", "inbound"), ("SDS", "ALL"), ("SDS", "tickets")],
        [],
    )


# A change touches nothing else


def test_a_tcp_port_leaves_the_route_table_alone(loop: ControlLoop) -> None:
    """Only HTTP ports are in the route table: an import without one changes clusters and endpoints."""
    loop.connect("web", SIDECAR)
    changes = Changes(loop, "web")
    raw = key("demo/raw")
    loop.say(WEST, export_record(raw, ports=[port(90, "tcp-raw")], identities=[spiffe_id(WEST)]))
    loop.step()
    assert changes.of("web") == [("CDS", sni(raw, 90)), ("EDS", sni(raw, 90))]


def test_a_new_http_port_enters_the_route_table(loop: ControlLoop) -> None:
    """An import that comes later is routed by its host; the others' clusters and endpoints are not sent again."""
    loop.connect("web", SIDECAR)
    changes = Changes(loop, "web")
    other = key("demo/other")
    loop.say(WEST, export_record(other, identities=[spiffe_id(WEST)]))
    loop.step()

    assert changes.of("web") == [("CDS", sni(other, 80)), ("EDS", sni(other, 80)), ("RDS", "outbound")]
    hosts = [host.name for host in loop.message("web", "RDS", "outbound").virtual_hosts]
    assert hosts == [HTTP, sni(other, 80)]


def test_the_route_table_is_the_same_whatever_came_first(loop: ControlLoop) -> None:
    """Joined from the table before, again and again, it has the routes of all services in order, and no others."""
    loop.connect("web", SIDECAR)
    others = [key("demo/zebra"), key("demo/ant"), key("demo/longer-than-the-others"), key("demo/bee")]
    for other in others:
        loop.say(WEST, export_record(other, identities=[spiffe_id(WEST)]))
        loop.step()
    loop.withdraw(WEST, export_record(others[1]).record_key)
    loop.step()

    hosts = loop.message("web", "RDS", "outbound").virtual_hosts
    assert [host.name for host in hosts] == [sni(each, 80) for each in sorted([ECHO, *others[:1], *others[2:]])]
    assert {route.route.cluster for host in hosts for route in host.routes} == {host.name for host in hosts}


def test_a_port_that_turns_opaque_leaves_the_route_table(loop: ControlLoop) -> None:
    """From HTTP to TCP: cluster, route table and local listener change, the endpoints don't."""
    loop.connect("web", SidecarNode("10.0.0.1", 15006, outbound=(LOCAL,)))
    assert local_filter(loop) == "envoy.filters.network.http_connection_manager"
    changes = Changes(loop, "web")
    loop.say(WEST, export_record(ports=[port(80, "raw")], identities=[spiffe_id(WEST)]))
    loop.step()

    assert changes.of("web") == [("CDS", HTTP), ("LDS", "local|127.0.0.1|8001"), ("RDS", "outbound")]
    assert local_filter(loop) == "envoy.filters.network.tcp_proxy"
    assert list(loop.message("web", "RDS", "outbound").virtual_hosts) == []


def test_a_gateway_that_comes_later_is_served_at_once(loop: ControlLoop) -> None:
    """All exports are there for a gateway that connects long after them."""
    loop.own({ECHO: own("10.0.0.9")})
    loop.step()
    loop.connect("gateway", GatewayNode(Listen("127.0.0.1", 15443)))
    assert loop.names("gateway", "EDS") == [HTTP]
