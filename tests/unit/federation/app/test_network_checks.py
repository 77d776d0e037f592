"""Judgements of gateways, ports and addresses."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from controllers.checks import Check, Level
from federation.app.network_checks import (
    Presence,
    Reach,
    TakenPort,
    judge_addresses,
    judge_gateway,
    judge_gateway_address,
    judge_peer_gateways,
    judge_ports,
    own_presence,
    presence_of,
)
from federation.model.addresses import HostPort
from federation.model.names import ClusterId, ServiceKey
from federation.model.records import EndpointAddress, EndpointsRecord, GatewayAddress, GatewayRecord
from federation.model.state import ClusterState, Endpoint, EndpointSlice, ServiceState

EAST, WEST, NORTH = ClusterId("east"), ClusterId("west"), ClusterId("north")
LOOPBACK, ROUTED = HostPort("127.0.0.1", 15443), HostPort("192.0.2.1", 15443)
NAMED = HostPort("gateway.example", 15443)
OTHER = HostPort("192.0.2.2", 15443)


def presence(network: str, *workloads: str, gateways: tuple[HostPort, ...] = ()) -> Presence:
    return Presence(network, frozenset(gateways), frozenset(workloads))


@pytest.mark.parametrize(
    ("own", "peer", "local", "level"),
    [
        (LOOPBACK, LOOPBACK, True, "ok"),
        (LOOPBACK, ROUTED, True, "note"),
        (LOOPBACK, LOOPBACK, False, "note"),
        (ROUTED, LOOPBACK, False, "ok"),
        (NAMED, LOOPBACK, False, "ok"),
        (LOOPBACK, NAMED, True, "note"),
    ],
)
def test_loopback_is_published_where_all_are_on_one_host(
    own: HostPort, peer: HostPort, local: bool, level: str
) -> None:
    """A peer or the exchange that is elsewhere makes it a note."""
    assert judge_gateway_address([own], {WEST: presence("n", gateways=(peer,))}, local=local).level == level


@pytest.mark.parametrize(
    ("reach", "runs", "level"),
    [
        (Reach.ANSWERS, True, "ok"),
        (Reach.ANSWERS, False, "ok"),
        (Reach.SILENT, True, "failed"),
        (Reach.SILENT, False, "failed"),
        (Reach.CLOSED, True, "failed"),
        (Reach.CLOSED, False, "note"),
        (Reach.UNRESOLVED, True, "failed"),
        (Reach.UNRESOLVED, False, "failed"),
    ],
)
def test_a_gateway_that_runs_must_answer(reach: Reach, runs: bool, level: str) -> None:
    """One that does not run is a note; something that is silent is never right."""
    check = judge_gateway({ROUTED: reach}, runs=runs)
    assert (check.level, bool(check.fix), str(ROUTED) in check.message) == (level, level != "ok", True)


def test_ports_that_are_taken_are_named_by_their_settings() -> None:
    """All in one line."""
    taken = [TakenPort("http.listen", LOOPBACK, "taken"), TakenPort("gateway.admin", ROUTED, "no address of this host")]
    check = judge_ports(taken)
    assert (check.level, check.message) == (
        "failed",
        "http.listen 127.0.0.1:15443: taken; gateway.admin 192.0.2.1:15443: no address of this host",
    )
    assert judge_ports([]).level == "ok"


def test_a_peer_whose_name_does_not_resolve_is_told_so() -> None:
    """That is for whoever has the DNS to mend, before any firewall."""
    (check,) = judge_peer_gateways({WEST: {NAMED: Reach.UNRESOLVED}})

    assert (check.level, check.message) == (
        "failed",
        "west does not answer at gateway.example:15443 (does not resolve)",
    )
    assert check.fix.startswith("does the DNS of this host know the names of west?")


def test_peers_whose_gateways_answer_share_a_line() -> None:
    """Each other has its own: down, half down, and without any."""
    up, down = Reach.ANSWERS, Reach.CLOSED
    reached: Mapping[ClusterId, Mapping[HostPort, Reach]] = {
        EAST: {ROUTED: up},
        ClusterId("four"): {},
        NORTH: {ROUTED: up, OTHER: Reach.SILENT},
        WEST: {OTHER: down},
        ClusterId("well"): {LOOPBACK: up},
    }
    assert [(check.level, check.message) for check in judge_peer_gateways(reached)] == [
        ("note", "four has published none"),
        ("note", "north answers, but not at 192.0.2.2:15443"),
        ("failed", "west does not answer at 192.0.2.2:15443"),
        ("ok", "east, well answer"),
    ]
    assert list(judge_peer_gateways({})) == []


@pytest.mark.parametrize(
    ("members", "messages"),
    [
        ({EAST: presence("flat", "10.0.0.1"), WEST: presence("flat", "10.0.0.2")}, []),
        ({EAST: presence("one", "10.0.0.1"), WEST: presence("two", "10.0.0.1")}, []),
        ({EAST: presence("", "10.0.0.1"), WEST: presence("", "10.0.0.1")}, []),
        ({EAST: presence("flat", "127.0.0.1", "::1"), WEST: presence("flat", "127.0.0.1", "::1")}, []),
        (
            {name: presence("flat", "10.0.0.1", "10.0.0.7") for name in (EAST, NORTH, WEST)},
            [
                f"{one} and {other} are on network flat and both have workloads at 10.0.0.1, 10.0.0.7"
                for one, other in (("east", "north"), ("east", "west"), ("north", "west"))
            ],
        ),
        (
            {EAST: presence("one", gateways=(ROUTED,)), WEST: presence("two", gateways=(ROUTED, OTHER))},
            ["east and west both publish the gateway 192.0.2.1:15443"],
        ),
    ],
)
def test_addresses_that_two_members_have_are_named_by_pair(
    members: dict[ClusterId, Presence], messages: list[str]
) -> None:
    """Workloads' on one network, gateways' anywhere; loopback is each host's own, no network is nobody's."""
    checks = list(judge_addresses(members))
    if not messages:
        assert checks == [Check("addresses", Level.OK, "no two members have the same")]
    else:
        assert [(check.level, check.message) for check in checks] == [("failed", message) for message in messages]


def test_many_addresses_are_counted() -> None:
    """The first five are named."""
    many = [f"10.0.0.{number}" for number in range(1, 9)]
    (check,) = judge_addresses({EAST: presence("flat", *many), WEST: presence("flat", *many)})
    assert check.message.endswith("10.0.0.1, 10.0.0.2, 10.0.0.3, 10.0.0.4, 10.0.0.5 and 3 more")


def test_a_presence_is_read_from_records_and_from_manifests() -> None:
    """Network and gateways, and each address of each endpoint."""
    key = ServiceKey("demo", "db")
    records = [
        GatewayRecord((GatewayAddress("192.0.2.1", 15443),), "us", "flat"),
        EndpointsRecord(key, (), (EndpointAddress(("10.0.0.1", "fd00::1")), EndpointAddress(("10.0.0.2",)))),
    ]
    endpoints = (Endpoint(("10.0.0.1", "fd00::1")), Endpoint(("10.0.0.2",), ready=False))
    slices = (EndpointSlice("demo", "db-1", key, "IPv4", (), endpoints),)
    expected = presence("flat", "10.0.0.1", "fd00::1", "10.0.0.2", gateways=(ROUTED,))
    assert presence_of(records) == expected
    assert own_presence("flat", [ROUTED], ClusterState({key: ServiceState(slices=slices)})) == expected
    assert presence_of([]) == Presence("")
