"""Who has taken a drain over, and who is waited for."""

from __future__ import annotations

import msgspec
import pytest

from controllers.drain_report import DrainReport, drain_report
from controllers.drains import Drains, Slope
from controllers.liveness import State, Verdict
from federation.exchange.base import ExchangeSnapshot, MemberSnapshot
from federation.model.addresses import HostPort
from federation.model.names import TRUST_KEY, ClusterId
from federation.model.records import TrustRecord
from support.builders import EAST, WEST
from support.clock import START

ONE = HostPort("192.0.2.1", 15443)


def report(
    drains: Drains, *routed: tuple[str, int], state: State = State.LIVE, trusted: tuple[ClusterId, ...] = (WEST,)
) -> DrainReport:
    """East's report, where west says this of what it calls by."""
    member = MemberSnapshot(WEST, synced=True, records={TRUST_KEY: TrustRecord((), routed)})
    return drain_report(
        EAST,
        (ONE,),
        drains,
        revision=7,
        published=True,
        peers=ExchangeSnapshot({WEST: member}),
        verdicts={WEST: Verdict(state)},
        trusted=trusted,
        settled=True,
        only_here=(),
        now=START,
    )


DRAINED = Drains(cluster=Slope(100, 0, START))


@pytest.mark.parametrize(
    ("routed", "state", "expected"),
    [
        ([("east", 7)], State.LIVE, "acknowledged"),
        ([("east", 7)], State.BLIND, "acknowledged"),
        ([("east", 6)], State.LIVE, "waiting_for"),
        ([], State.UNREACHABLE, "waiting_for"),
        ([("north", 7)], State.BLIND, "silent"),
        ([], State.UNHEARD, "silent"),
        ([("east", 7)], State.DEAD, "dead"),
    ],
)
def test_a_peer_is_told_by_its_word_and_its_state(routed: list[tuple[str, int]], state: State, expected: str) -> None:
    """Its word counts as long as it lives, however old; who is dead is waited for by nobody."""
    found = report(DRAINED, *routed, state=state)
    assert {name: getattr(found, name) for name in ("acknowledged", "waiting_for", "silent", "dead")} == {
        **dict.fromkeys(("acknowledged", "waiting_for", "silent", "dead"), ()),
        expected: (WEST,),
    }


def test_nobody_waits_for_a_peer_without_trust() -> None:
    assert report(DRAINED, trusted=()).waiting_for == ()


def test_what_is_on_its_way_has_not_arrived() -> None:
    """Neither the cluster nor a gateway may be short of its goal."""
    assert (report(DRAINED).arrived, report(DRAINED).is_drained) == (True, True)
    assert (report(Drains()).arrived, report(Drains()).is_drained) == (True, False)
    slow = Drains().order(ONE, 0, START, START - START.replace(year=2000))
    found = report(slow)
    assert (found.arrived, found.gateways[0].drain.share, found.gateways[0].drain.goal) == (False, 90, 0)
    assert not msgspec.structs.replace(report(DRAINED), published=False).arrived
