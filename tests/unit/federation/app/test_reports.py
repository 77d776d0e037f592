"""Reports: what status, readiness and metrics are made of."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import dns.message
import msgspec
import pytest

from controllers.dns.server import DnsServer
from controllers.engine import Engine
from controllers.gateway_names import GatewayNames
from controllers.status import DnsStatus, MembershipStatus
from federation.app.bundles import Authorities
from federation.app.nodes import NodeDesk
from federation.app.reports import Reports
from federation.app.trust import TrustKeeper
from federation.exchange.base import ExchangeSnapshot, MemberSnapshot, Rejected
from federation.membership.tokens import TokenStore
from federation.model.addresses import HostPort
from federation.model.names import ClusterId
from federation.model.problems import Problem
from federation.model.records import TrustRecord
from gateway.xds.server import XdsServer
from support.builders import (
    EAST,
    ECHO,
    NORTH,
    WEST,
    endpoint_slice,
    export_record,
    exported_state,
    gateway_record,
    spiffe_id,
)
from support.clock import ManualClock
from support.control import GATEWAY, ControlLoop, bundle, ca_of

MEMBERSHIP = MembershipStatus(serial=7, members=3, seat="east", authority="a1", member_key="b2")


class FakeSession:
    """A seat at an exchange that is not heard, where nothing is known of north and west."""

    connected = False
    publications = 0
    losses = 0
    recent_rejections = (Rejected(WEST, "BadSignature", "signature does not match"),) * 2

    @property
    def rejections(self) -> dict[tuple[ClusterId, str], int]:
        return {(WEST, "BadSignature"): 2}

    @property
    def synced(self) -> bool:
        return False

    def snapshot(self) -> ExchangeSnapshot:
        return ExchangeSnapshot({peer: MemberSnapshot(peer) for peer in (WEST, NORTH)})


async def nobody(*_: object) -> None:
    """Authenticates nobody and has no view for anybody."""


@pytest.fixture
async def loop(tmp_path: Path) -> ControlLoop:
    return ControlLoop(tmp_path, clock=ManualClock())


@pytest.fixture
async def reports(loop: ControlLoop, tmp_path: Path) -> Reports:
    session = FakeSession()
    tokens = TokenStore.load(tmp_path / "tokens")
    xds = XdsServer(loop.cache, authenticate=nobody, on_node=nobody, now=loop.clock)
    keeper = TrustKeeper(
        loop.settings,
        authorities=Authorities(loop.authority, loop.authority),
        session=session,
        controller=loop.controller,
        dataplane=loop.dataplane,
        desk=NodeDesk(loop.dataplane, tokens, loop.authority, "east.test", loop.clock),
        cache=loop.cache,
        xds=xds,
        bundle_file=tmp_path / "bundle.pem",
        mark=lambda: None,
        clock=loop.clock,
    )
    return Reports(
        settings=loop.settings,
        controller=loop.controller,
        engine=Engine(loop.controller.step),
        session=session,
        membership=lambda: MEMBERSHIP,
        roster_problems=tuple,
        probes=loop.gateways,
        gateway_names=GatewayNames({}, loop.controller.on_gateway_names, rng=random.Random(1)),
        authority=loop.authority,
        dataplane=loop.dataplane,
        journal=loop.journal,
        cluster_problems=lambda: tokens.problems,
        xds=xds,
        keeper=keeper,
        clock=loop.clock,
    )


def with_echo(loop: ControlLoop) -> None:
    loop.own({ECHO: exported_state(endpoint_slice())})
    loop.step()


async def test_it_says_what_it_waits_for(loop: ControlLoop, reports: Reports) -> None:
    """Before the manifests are read that is it; then the peers of whom nothing is known."""
    before = reports.ready()
    loop.peers.synced = False
    loop.own({ECHO: exported_state(endpoint_slice())})
    loop.controller.step()
    assert [before, reports.ready()] == [
        (False, "waiting for the first whole read of the manifests"),
        (False, "waiting for the first whole read of north, west from the exchange, which can't be reached"),
    ]


async def test_after_the_first_pass_it_is_ready(loop: ControlLoop, reports: Reports) -> None:
    """Readiness, status and metrics agree."""
    with_echo(loop)
    assert (reports.ready(), reports.status().ready, reports.numbers().ready) == ((True, "ok"), True, True)


async def test_services_are_counted_and_listed(loop: ControlLoop, reports: Reports) -> None:
    """An exported service of the own cluster is exported, imported and listed with its address."""
    with_echo(loop)
    status, numbers, services = reports.status(), reports.numbers(), reports.services()
    assert (status.exported, status.imported, numbers.exported, numbers.imported) == (1, 1, 1, 1)
    assert [(one.name, one.vip, [backend.cluster for backend in one.backends]) for one in services] == [
        ("echo", str(loop.journal.vips[ECHO]), [EAST])
    ]


async def test_problems_of_all_parts_are_told_together(loop: ControlLoop, reports: Reports) -> None:
    """A missing directory of tokens is among the problems, sorted, in words."""
    with_echo(loop)
    assert [problem for problem in reports.status().problems if "tokens can't be read" in problem] != []


async def test_a_full_disk_and_who_is_held_back_are_told(loop: ControlLoop, reports: Reports) -> None:
    """Until the disk can be written, and until connections have ended for what the member withdrew."""
    with_echo(loop)
    loop.journal.broken = True
    for turn in range(4):
        loop.say(WEST, bundle(WEST, ca_of(WEST, turn % 2 + 2), sequence=turn + 2))
        loop.step()
    told = [reports.status().problems]
    loop.journal.broken = False
    loop.clock.advance(timedelta(minutes=1))
    loop.controller.on_time()
    loop.step()
    told.append(reports.status().problems)
    reasons = ("NotSaved", "WithdrawnTooOften")
    assert [sorted(each for each in reasons if each in " ".join(problems)) for problems in told] == [[*reasons], []]


async def test_peers_come_with_what_was_rejected_of_them(reports: Reports) -> None:
    """Rejections are counted by reason for each peer, the last ones with their messages."""
    north, west = reports.status().peers
    assert (north.rejected, west.rejected) == ({}, {"BadSignature": 2})
    assert [one.message for one in west.last_rejections] == ["signature does not match"] * 2
    assert reports.numbers().rejected == {("west", "BadSignature"): 2}


async def test_losses_of_the_own_records_are_told(reports: Reports) -> None:
    """How often the exchange lost the own records is told; not that they were published anew for another reason."""
    reports.session.publications, reports.session.losses = 4, 2
    assert reports.status().republished == 2


async def test_peers_are_what_the_controller_judges_them(loop: ControlLoop, reports: Reports) -> None:
    """State and reason are told as judged at the moment; whether a gateway answers, of those that are probed."""
    with_echo(loop)
    loop.say(WEST, export_record(identities=[spiffe_id(WEST)]), gateway_record("192.0.2.1"), bundle(WEST))
    loop.step()
    loop.judge(WEST, leased=False, gateway=False)
    north, west = reports.status().peers
    assert (north.state, west.state, "withdrawn" in west.reason) == ("Absent", "Dead", True)
    numbers = reports.numbers()
    assert (numbers.peers_up, numbers.peers_state) == ({WEST: False}, {NORTH: "Absent", WEST: "Dead"})


async def test_the_bundle_is_told_but_no_key(loop: ControlLoop, reports: Reports) -> None:
    """Of the CA there is its sequence, the number of authorities, and when it next changes."""
    authority = reports.status().authority
    assert authority is not None
    assert (authority.trust_domain, authority.sequence, authority.authorities) == (
        "east.test",
        loop.authority.bundle().sequence,
        1,
    )
    assert authority.next_change >= loop.clock.now()


async def test_what_the_keeper_warns_of_is_told(reports: Reports) -> None:
    """Apart from what is not used: nothing is refused yet."""
    problem = Problem("bundle 7", "NotAcknowledged", "west lives, and does not verify by it")
    reports.keeper.problems = (problem,)
    assert (reports.status().warnings, str(problem) in reports.status().problems) == ((str(problem),), False)


async def test_a_lost_place_is_not_ready_whatever_else_holds(loop: ControlLoop, reports: Reports) -> None:
    """Readiness, status and metrics say so, and what the seat says needs attention."""
    with_echo(loop)
    loop.step()
    assert (reports.ready(), reports.status().ready) == ((True, "ok"), True)
    problem = Problem("membership", "NotAMember", "this cluster was evicted")
    lost = replace(
        reports,
        membership=lambda: msgspec.structs.replace(MEMBERSHIP, lost=True),
        roster_problems=lambda: (problem,),
    )
    assert (lost.ready()[0], "a place in clusterset test" in lost.ready()[1]) == (False, True)
    assert (lost.status().ready, lost.numbers().ready, lost.status().warnings) == (False, False, (str(problem),))


async def test_trust_is_counted(loop: ControlLoop, reports: Reports) -> None:
    """The own CA by its state, the bundles of trusted peers, and what a peer says of ours."""
    with_echo(loop)
    loop.say(WEST, bundle(WEST), TrustRecord((("east.test", 4),)))
    loop.step()
    numbers = reports.numbers()
    assert (list(numbers.ca_seconds_left), list(numbers.peers_bundle_seconds_left)) == (["signing"], [WEST])


async def test_no_certificate_no_life_left(loop: ControlLoop, reports: Reports) -> None:
    """While only a gateway is connected, which has no certificate, that metric has no value."""
    with_echo(loop)
    loop.connect("gateway", GATEWAY)
    assert reports.numbers().svid_seconds_left is None


async def test_a_dns_server_is_reported_where_there_is_one(loop: ControlLoop, reports: Reports) -> None:
    """Without one there is nothing to say; with one, where it listens, what it knows and what it did."""
    server = DnsServer(HostPort("127.0.0.1", 15053), 5, lambda: loop.controller.zone, lambda: 0.0)
    serving = replace(reports, dns=server)
    before = serving.status().dns
    with_echo(loop)
    server.reply(dns.message.make_query("clusterset.local", "SOA").to_wire(), "127.0.0.1", udp=True)
    server.counters.dropped["flood"] += 2

    assert (reports.status().dns, reports.numbers().dns) == (None, None)
    assert before == DnsStatus("127.0.0.1:15053", None, 0)
    assert serving.status().dns == DnsStatus("127.0.0.1:15053", 1, 1, {"flood": 2})
    assert serving.numbers().dns is server.counters
