"""What follows for one service: whom we meet, what is imported from whom, and when nothing follows at all."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from controllers.peers import MAX_GATEWAY_NAMES
from controllers.projection import Projection, ServiceResult, Surroundings, meet, moved, project_service
from federation.exchange.base import ExchangeSnapshot, MemberSnapshot
from federation.model.locality import Site
from federation.model.names import ClusterId, ServiceKey
from federation.model.records import DirectEndpoint, GatewayAddress, ImportType, Record
from federation.model.state import ClusterState, ServiceState, ServiceType
from support.builders import (
    CREATED,
    EAST,
    ECHO,
    NORTH,
    WEST,
    after,
    cluster_state,
    endpoint,
    endpoint_slice,
    endpoints_record,
    export_record,
    exported_state,
    gateway_record,
    key,
    port,
    service,
    service_export,
    spiffe_id,
)

OWN = Site(EAST, "eu", "east")


def peers(*, synced: bool = True, **records: list[Record]) -> ExchangeSnapshot:
    """Members by name, each with its records."""
    return ExchangeSnapshot(
        {
            ClusterId(name): MemberSnapshot(
                ClusterId(name), records={record.record_key: record for record in said}, synced=synced
            )
            for name, said in records.items()
        }
    )


def around(*, trusted: tuple[ClusterId, ...] = (), snapshot: ExchangeSnapshot | None = None) -> Surroundings:
    return meet(OWN, "east.test", 15006, snapshot or ExchangeSnapshot(), trusted)


def exporting(peer: ClusterId) -> list[Record]:
    return [export_record(identities=[spiffe_id(peer)]), endpoints_record(), gateway_record("192.0.2.1", region="us")]


def test_peers_are_met_by_trust_and_gateway() -> None:
    """A peer counts where its bundle is accepted and its gateway known; its site is what its gateway says."""
    snapshot = peers(west=[gateway_record("192.0.2.1", region="us", network="lan")], north=[gateway_record()], far=[])
    met = around(trusted=(WEST, ClusterId("far")), snapshot=snapshot)
    assert met.sites == {WEST: Site(WEST, "us", "lan")}
    assert met.gateways == {WEST: (GatewayAddress("192.0.2.1", 15443),)}


@pytest.mark.parametrize(
    ("later", "concerned"),
    [
        ([gateway_record("192.0.2.1")], set()),
        ([gateway_record("192.0.2.2")], {WEST}),
        ([gateway_record("192.0.2.1", region="us")], {WEST}),
        ([gateway_record("192.0.2.1", network="other")], {WEST}),
        ([], {WEST}),
    ],
    ids=["nothing", "address", "region", "network", "gone"],
)
def test_a_peer_moves_with_what_services_depend_on(later: list[Record], concerned: set[ClusterId]) -> None:
    """A gateway's address, region or network concerns the services behind it, and so does its coming and going."""
    before = around(trusted=(WEST,), snapshot=peers(west=[gateway_record("192.0.2.1")]))
    now = around(trusted=(WEST,), snapshot=peers(west=later))
    assert moved(before, now) == concerned == moved(now, before)


@pytest.mark.parametrize("standing", ["demoted", "withdrawn"])
def test_a_peer_moves_with_what_it_is_judged(standing: str) -> None:
    """Who comes to be called last, or not at all, concerns the services behind it and no others."""
    snapshot = peers(west=[gateway_record("192.0.2.1")], north=[gateway_record("192.0.2.2")])
    before = around(trusted=(WEST, NORTH), snapshot=snapshot)
    now = replace(before, **{standing: frozenset({WEST, ClusterId("far")})})
    assert moved(before, now) == {WEST} == moved(now, before)


def test_a_withdrawn_peer_is_not_called_and_stays_known() -> None:
    """Import, backends and identities are as before, so that only endpoints change; priorities have no gap."""
    snapshot = peers(west=exporting(WEST), north=exporting(NORTH))
    met = meet(OWN, "east.test", 15006, snapshot, {WEST, NORTH}, withdrawn=frozenset({WEST}))
    usual = project_service(ECHO, ServiceState(), snapshot, around(trusted=(WEST, NORTH), snapshot=snapshot), CREATED)
    result = project_service(ECHO, ServiceState(), snapshot, met, CREATED)
    (imported,), (usually,) = result.imports, usual.imports
    assert (result.merged, imported.identities) == (usual.merged, usually.identities)
    assert [(each.priority, each.cluster) for each in imported.localities] == [(0, NORTH)]


def test_a_service_of_a_withdrawn_peer_alone_is_imported_with_nobody_to_call() -> None:
    """Callers fail at once, and the port does not go."""
    snapshot = peers(west=exporting(WEST))
    met = meet(OWN, "east.test", 15006, snapshot, {WEST}, withdrawn=frozenset({WEST}))
    (imported,) = project_service(ECHO, ServiceState(), snapshot, met, CREATED).imports
    assert (imported.identities, imported.localities) == ((spiffe_id(WEST),), ())


def test_a_demoted_peer_is_called_behind_those_that_are_farther() -> None:
    """Nearness counts among those whose gateway answers."""
    near = [export_record(identities=[spiffe_id(WEST)]), endpoints_record(), gateway_record("192.0.2.1", region="eu")]
    snapshot = peers(west=near, north=exporting(NORTH))
    met = meet(OWN, "east.test", 15006, snapshot, {WEST, NORTH}, demoted=frozenset({WEST}))
    (imported,) = project_service(ECHO, ServiceState(), snapshot, met, CREATED).imports
    assert [(each.priority, each.cluster) for each in imported.localities] == [(0, NORTH), (1, WEST)]


def test_a_service_of_ours_and_of_a_peer_is_called_at_both() -> None:
    """Own pods come first, then the peer's gateways; both identities are expected."""
    snapshot = peers(west=exporting(WEST))
    local = exported_state(endpoint_slice(endpoint("10.0.0.1")))
    result = project_service(ECHO, local, snapshot, around(trusted=(WEST,), snapshot=snapshot), CREATED)
    (imported,) = result.imports
    assert imported.identities == (spiffe_id(EAST), spiffe_id(WEST))
    assert [(each.priority, each.cluster) for each in imported.localities] == [(0, EAST), (1, WEST)]
    assert sorted(result.records) == ["endpoints/demo/echo", "export/demo/echo"]
    assert [served.port for served in result.exports] == [80]


def test_an_untrusted_peer_is_merged_but_not_called() -> None:
    """The import shows who exports it; an identity to expect and an address to call come with trust only."""
    snapshot = peers(west=exporting(WEST))
    result = project_service(ECHO, ServiceState(), snapshot, around(snapshot=snapshot), CREATED)
    assert result.merged is not None
    assert [backend.cluster for backend in result.merged.backends] == [WEST]
    assert result.imports == ()


def test_endpoints_without_export_import_nothing() -> None:
    """A peer's endpoints record alone says nothing of a service."""
    snapshot = peers(west=[endpoints_record(), gateway_record()])
    result = project_service(ECHO, ServiceState(), snapshot, around(trusted=(WEST,), snapshot=snapshot), CREATED)
    assert (result.merged, result.imports) == (None, ())


def test_an_export_that_is_invalid_serves_nothing() -> None:
    """A ServiceExport without a Service has its condition, and neither records nor gateway ports."""
    result = project_service(ECHO, ServiceState(export=service_export()), ExchangeSnapshot(), around(), CREATED)
    assert (result.records, result.exports, result.merged) == ({}, (), None)
    assert [condition.status for condition in result.exported.conditions] == ["False"]


def test_an_external_name_is_served_by_no_gateway() -> None:
    """A Service that can't be exported is not served either, whatever slices carry its name."""
    external = service(type=ServiceType.EXTERNAL_NAME)
    local = ServiceState(external, service_export(), (endpoint_slice(endpoint("10.0.0.1")),))
    result = project_service(ECHO, local, ExchangeSnapshot(), around(), CREATED)
    assert (result.records, result.exports) == ({}, ())


def test_an_undated_export_has_the_age_it_is_given() -> None:
    """The journal's date stands in where the manifest has none."""
    local = ServiceState(service(), service_export(created=None))
    result = project_service(ECHO, local, ExchangeSnapshot(), around(), after(60))
    assert result.merged is not None
    assert result.merged.backends[0].created == after(60)


def test_a_pass_returns_what_changed() -> None:
    """Changes are (before, after); equal results are no change, and what comes to nothing is not kept."""
    projection = Projection()
    first = projection.update([ECHO, key("demo/none")], cluster_state(), ExchangeSnapshot(), around(), {}, CREATED)
    result = projection.results[ECHO]
    again = projection.update([ECHO], cluster_state(), ExchangeSnapshot(), around(), {}, CREATED)
    gone = projection.update([ECHO], ClusterState(), ExchangeSnapshot(), around(), {}, CREATED)

    assert (first, again, gone) == ({ECHO: (None, result)}, {}, {ECHO: (result, None)})
    assert projection.results == {}


def test_a_pass_that_raises_leaves_every_result_as_it_was() -> None:
    """Results of one pass come together, so that the next pass finds the same changes again."""
    projection = Projection()

    def first_good_then_bad() -> Iterator[ServiceKey]:
        yield ECHO
        raise RuntimeError("no more keys")

    with pytest.raises(RuntimeError):
        projection.update(first_good_then_bad(), cluster_state(), ExchangeSnapshot(), around(), {}, CREATED)
    assert projection.results == {}


def test_the_services_behind_a_peer_are_known_whether_it_is_trusted_or_not() -> None:
    """When trust comes, the services it concerns are found by their backends."""
    projection = Projection()
    snapshot = peers(west=exporting(WEST), north=[export_record(key("demo/web"))])
    keys = [ECHO, key("demo/web")]
    projection.update(keys, ClusterState(), snapshot, around(snapshot=snapshot), {}, CREATED)
    assert projection.backed_by({WEST}) == {ECHO}
    assert projection.backed_by({WEST, NORTH}) == set(keys)
    assert projection.backed_by(set()) == set()


def test_a_port_that_is_not_tcp_is_exported_but_not_served() -> None:
    """UDP travels in records, for DNS; neither gateway nor sidecar carries it."""
    local = ServiceState(service(ports=[port(53, "dns", "UDP")]), service_export(), (endpoint_slice(),))
    result = project_service(ECHO, local, ExchangeSnapshot(), around(), CREATED)
    assert result.exported.export is not None
    assert (result.imports, result.exports) == ((), ())


def test_a_headless_service_says_whose_endpoints_are_called_by_address() -> None:
    """Ours before theirs, without those who are not trusted or withdrawn; of other services nothing is said."""
    said = [export_record(type=ImportType.HEADLESS), endpoints_record(), gateway_record("192.0.2.1", region="us")]
    snapshot = peers(west=said, north=said)
    local = ServiceState(service(headless=True), service_export(), (endpoint_slice(endpoint()),))
    met = around(trusted=(WEST,), snapshot=snapshot)
    nearest = [
        project_service(ECHO, state, snapshot, surroundings, CREATED).nearest
        for state, surroundings in (
            (local, met),
            (local, replace(met, withdrawn=frozenset({WEST}))),
            (exported_state(endpoint_slice(endpoint())), met),
        )
    ]
    assert nearest == [((EAST,), (WEST,)), ((EAST,),), ()]


def flat(*, terminate: bool = False, network: str = "east") -> ServiceResult:
    """The sample service of the own cluster, beside a peer of that network."""
    snapshot = peers(west=[gateway_record("192.0.2.1", network=network)])
    state = exported_state(endpoint_slice(endpoint("10.0.0.1", zone="a")))
    assert state.export is not None
    state = replace(state, export=replace(state.export, terminate=terminate))
    met = replace(around(trusted=(WEST,), snapshot=snapshot), own=replace(OWN, network="east"))
    return project_service(ECHO, state, snapshot, met, CREATED)


def test_sidecars_are_told_of_while_a_trusted_peer_shares_the_network() -> None:
    """With their zone and the ports behind them; never of a service that the gateway ends TLS for."""
    told = [result.exported.endpoints for result in (flat(), flat(network="other"), flat(terminate=True))]
    direct = [None if record is None else record.direct for record in told]
    assert direct == [(DirectEndpoint("10.0.0.1", 15006, "a", ("http",)),), (), ()]


def test_own_services_move_with_who_shares_the_network_and_with_the_own_gateways() -> None:
    """What is told of them, and the way to them, depends on it."""
    alone = replace(around(), own=replace(OWN, network="east"))
    site = Site(WEST, "us", "east")
    assert moved(alone, replace(alone, sites={WEST: site})) == {EAST, WEST}
    assert moved(alone, replace(alone, sites={WEST: replace(site, network="other")})) == {WEST}
    assert moved(alone, replace(alone, own_gateways=(GatewayAddress("192.0.2.7", 15443),))) == {EAST}


def test_a_terminated_service_of_ours_is_called_at_our_gateways() -> None:
    """Its workloads have no sidecar to call; without a gateway there is nobody to call, and priorities have no gap."""
    state = exported_state(endpoint_slice(endpoint("10.0.0.1"), endpoint("10.0.0.2")))
    assert state.export is not None
    state = replace(state, export=replace(state.export, terminate=True))
    there = replace(around(), own_gateways=(GatewayAddress("192.0.2.7", 15443),))
    (imported,) = project_service(ECHO, state, ExchangeSnapshot(), there, CREATED).imports
    assert [[each.address for each in one.upstreams] for one in imported.localities] == [["192.0.2.7"]]
    result = project_service(ECHO, state, ExchangeSnapshot(), around(), CREATED)
    assert [port.localities for port in result.imports] == [()]
    assert result.exports == ()
    assert [[each.address for each in port.upstreams] for port in result.terminated] == [["10.0.0.1", "10.0.0.2"]]


def test_names_of_gateways_are_turned_into_the_addresses_that_are_known() -> None:
    """Each of them is a gateway, once; a name without an address is none, and who has nothing else is not called."""
    record = gateway_record("west.example", "192.0.2.1", "other.example")
    resolved = {"west.example": ("192.0.2.1", "192.0.2.2"), "strange.example": ("192.0.2.9",)}
    member = MemberSnapshot(WEST, records={record.record_key: record}, synced=True)
    met, unknown = (
        meet(OWN, "east.test", 15006, ExchangeSnapshot({WEST: member}), {WEST}, resolved=each)
        for each in (resolved, {})
    )

    assert met.names == unknown.names == {WEST: ("other.example", "west.example")}
    assert met.gateways == {WEST: (GatewayAddress("192.0.2.1", 15443), GatewayAddress("192.0.2.2", 15443))}
    assert unknown.gateways == {WEST: (GatewayAddress("192.0.2.1", 15443),)}
    assert moved(unknown, met) == {WEST}


def test_a_peer_has_so_many_names_at_most() -> None:
    """The first ones count; the others are not asked for, and lead nowhere."""
    record = gateway_record(*(f"g{number}.example" for number in range(2 * MAX_GATEWAY_NAMES)))
    resolved = {address.host: ("192.0.2.1",) for address in record.addresses}
    member = MemberSnapshot(WEST, records={record.record_key: record}, synced=True)
    met = meet(OWN, "east.test", 15006, ExchangeSnapshot({WEST: member}), {WEST}, resolved=resolved)

    assert len(met.names[WEST]) == MAX_GATEWAY_NAMES
    assert met.gateways == {WEST: (GatewayAddress("192.0.2.1", 15443),)}
