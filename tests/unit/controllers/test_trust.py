"""Whose bundles are accepted: from what they say, and from what was accepted before."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

import pytest

from controllers.liveness import State, Verdict
from controllers.trust import (
    Acceptance,
    Acknowledgement,
    accept_bundles,
    acknowledged,
    held_sequences,
    lagging,
)
from federation.exchange.base import ExchangeSnapshot, MemberSnapshot
from federation.model.names import ClusterId
from federation.model.records import BundleRecord, TrustRecord
from gateway.xds.status import StreamStatus
from gateway.xds.stream import TypeStatus
from support.builders import EAST, NORTH, WEST, bundle_record, member
from support.certificates import make_ca
from support.clock import START
from support.control import bundle, ca_of
from trustbundle.bundle import NO_CLAIMS, TrustBundle, TrustView
from trustbundle.identity import TrustDomain

OWN = TrustBundle(TrustDomain("east.test"), 1, (ca_of(EAST).der,))
HOUR = timedelta(hours=1)


def judge(
    said: Mapping[ClusterId, BundleRecord | None], before: Acceptance | None = None, hours: int = 0
) -> Acceptance:
    """Judge what North and West say; a member that is left out is not among the peers at all."""
    snapshot = ExchangeSnapshot(
        {
            cluster: MemberSnapshot(cluster, records={} if record is None else {record.record_key: record}, synced=True)
            for cluster, record in said.items()
        }
    )
    view, claims = (TrustView(), NO_CLAIMS) if before is None else (before.view, before.claims)
    # Configured in this order, judged in that of their names.
    return accept_bundles(OWN, [member(WEST), member(NORTH)], snapshot, view, claims, START + hours * HOUR)


def test_good_bundles_are_accepted_beside_our_own() -> None:
    """Every member with an authority in force is trusted; the own bundle is always in the view."""
    found = judge({WEST: bundle(WEST), NORTH: bundle(NORTH)})
    assert (found.trusted, found.problems) == ({WEST, NORTH}, ())
    assert sorted(found.view.bundles) == ["east.test", "north.test", "west.test"]


def test_a_member_that_said_nothing_is_not_trusted() -> None:
    """Neither a member without a bundle nor one that is unknown at the exchange is trusted; that is no problem yet."""
    found = judge({WEST: None})
    assert (found.trusted, found.problems, sorted(found.view.bundles)) == (frozenset(), (), ["east.test"])


def test_a_refused_bundle_leaves_the_last_good_in_place() -> None:
    """A replay is reported, and the member stays trusted by what it said last."""
    good = judge({WEST: bundle(WEST, sequence=5)})
    found = judge({WEST: bundle(WEST, sequence=4)}, good)
    assert [(problem.subject, problem.reason) for problem in found.problems] == [("bundle of west", "SequenceWentBack")]
    assert (found.trusted, found.view.bundles) == ({WEST}, good.view.bundles)


def test_a_first_bundle_that_is_refused_is_no_trust() -> None:
    """Without a last good one, a refused bundle leaves its member untrusted."""
    found = judge({WEST: bundle_record(WEST, b"no certificate")})
    assert (found.trusted, len(found.problems)) == (frozenset(), 1)


def test_a_withdrawn_bundle_ends_the_trust() -> None:
    """Last good is for what can't be used, not for what its member took back."""
    good = judge({WEST: bundle(WEST)})
    for said in ({WEST: None}, {}):
        found = judge(said, good)
        assert (found.trusted, sorted(found.view.bundles)) == (frozenset(), ["east.test"])


def test_expired_authorities_end_the_trust() -> None:
    """A member whose authorities all ran out is not trusted, though its bundle stays known."""
    said = {WEST: bundle(WEST, ca_of(WEST, 2, hours=1))}
    found = judge(said, judge(said), hours=2)
    assert (found.trusted, found.problems) == (frozenset(), ())
    assert found.view.bundles[TrustDomain("west.test")].authorities == ()


def test_nobody_takes_the_ca_key_of_another_member() -> None:
    """A CA that one member was accepted with is refused to another, even to one that comes first by name."""
    shared = make_ca(START, name="without a trust domain")
    owner = judge({WEST: bundle(WEST, shared)})
    found = judge({NORTH: bundle(NORTH, shared), WEST: bundle(WEST, shared)}, owner)
    assert found.trusted == {WEST}
    assert [(problem.subject, problem.reason) for problem in found.problems] == [("bundle of north", "SharedAuthority")]


def test_of_two_who_claim_a_ca_key_at_once_the_first_by_name_has_it() -> None:
    """Where nothing was accepted before, the outcome is the same in whatever order members are configured."""
    shared = make_ca(START, name="without a trust domain")
    assert judge({WEST: bundle(WEST, shared), NORTH: bundle(NORTH, shared)}).trusted == {NORTH}


SHARED = make_ca(START, name="without a trust domain")
CLAIMED = {NORTH: bundle(NORTH, SHARED), WEST: bundle(WEST, SHARED)}


def restarted(before: Acceptance) -> Acceptance:
    """What a controller that was started anew begins with: of all that was accepted, whose the keys are."""
    return Acceptance(TrustView(), frozenset(), before.claims, ())


def test_a_restart_gives_a_ca_key_to_nobody_else() -> None:
    """Who was accepted with it keeps it, for the claims outlive the view; also in another certificate of the key."""
    owner = restarted(judge({WEST: bundle(WEST, SHARED)}))
    renewed = make_ca(START, name="renewed", key=SHARED.key)
    assert judge(CLAIMED, owner).trusted == {WEST}
    assert judge({NORTH: bundle(NORTH, renewed), WEST: bundle(WEST, SHARED)}, owner).trusted == {WEST}


def test_a_ca_key_stays_claimed_while_its_member_says_nothing() -> None:
    """A bundle that was lost or withdrawn is no reason to believe another about its key."""
    owner = judge({WEST: bundle(WEST, SHARED)})
    silent = judge({NORTH: bundle(NORTH, SHARED), WEST: None}, owner)
    assert (silent.trusted, judge(CLAIMED, silent).trusted) == (frozenset(), {WEST})


def test_a_ca_key_is_free_when_its_member_has_another_or_is_gone() -> None:
    """First come has it no longer than it uses it."""
    moved_on = judge({NORTH: None, WEST: bundle(WEST, sequence=2)}, judge({WEST: bundle(WEST, SHARED)}))
    taken = judge({NORTH: bundle(NORTH, SHARED), WEST: bundle(WEST, sequence=2)}, moved_on)
    assert (taken.trusted, taken.problems) == ({NORTH, WEST}, ())
    evicted = accept_bundles(OWN, [member(NORTH)], ExchangeSnapshot({}), TrustView(), moved_on.claims, START)
    assert sorted(evicted.claims) == ["east.test"]


def test_nobody_takes_our_own_ca_key() -> None:
    """A member that publishes the own cluster's CA is refused: it could speak for our workloads."""
    own = make_ca(START, name="ours")
    ours = TrustBundle(TrustDomain("east.test"), 1, (own.der,))
    record = bundle(WEST, own)
    snapshot = ExchangeSnapshot({WEST: MemberSnapshot(WEST, records={record.record_key: record}, synced=True)})
    found = accept_bundles(ours, [member(WEST)], snapshot, TrustView(), NO_CLAIMS, START)
    assert (found.trusted, [problem.reason for problem in found.problems]) == (frozenset(), ["SharedAuthority"])


def peers_with(**records: TrustRecord | None) -> ExchangeSnapshot:
    """Peers, each with what it acknowledges."""
    return ExchangeSnapshot(
        {
            ClusterId(cluster): MemberSnapshot(
                ClusterId(cluster), records={} if record is None else {record.record_key: record}, synced=True
            )
            for cluster, record in records.items()
        }
    )


def who(said: TrustRecord | None, state: State, *, trusted: bool = True) -> Acknowledgement:
    """Who has bundle 7 of east, of a west that says that and is in that state."""
    verdicts = {WEST: Verdict(state)}
    return acknowledged("east.test", 7, peers_with(west=said), verdicts, {WEST} if trusted else set())


HAS_6, HAS_7 = (TrustRecord((("east.test", sequence),)) for sequence in (6, 7))
NOBODY = Acknowledgement()


@pytest.mark.parametrize("state", list(State))
def test_who_has_the_bundle_is_waited_for_by_nobody(state: State) -> None:
    """An acknowledgement of this sequence or a later one counts, whatever else is known of the peer."""
    assert who(HAS_7, state) == who(TrustRecord((("east.test", 8),)), state) == NOBODY


@pytest.mark.parametrize("said", [HAS_6, TrustRecord(), TrustRecord((("north.test", 9),))])
def test_a_living_peer_without_the_bundle_lacks_it(said: TrustRecord) -> None:
    """Also where its gateway does not answer us, and where it says that it has none of ours."""
    lacking = Acknowledgement(lacking=(WEST,))
    assert who(said, State.LIVE) == who(said, State.UNREACHABLE) == lacking


def test_a_peer_that_does_not_say_is_left_to_time() -> None:
    """An older program publishes no acknowledgement; and who can't be heard could not tell."""
    unknown = Acknowledgement(unknown=(WEST,))
    assert who(None, State.LIVE) == who(None, State.UNREACHABLE) == unknown
    assert who(HAS_6, State.UNHEARD) == who(HAS_6, State.BLIND) == who(HAS_6, State.UNKNOWN) == unknown


def test_the_dead_the_absent_and_the_untrusted_are_waited_for_by_nobody() -> None:
    """A cluster that is gone must not keep the CA of the others from rotating."""
    assert who(HAS_6, State.DEAD) == who(None, State.ABSENT) == NOBODY
    assert who(HAS_6, State.LIVE, trusted=False) == NOBODY


def test_what_is_held_is_every_bundle_but_our_own() -> None:
    """Sorted by trust domain, as the record wants it."""
    view = judge({WEST: bundle(WEST, sequence=5), NORTH: bundle(NORTH, sequence=3)}).view
    assert held_sequences(view, "east.test") == (("north.test", 3), ("west.test", 5))


def stream(node: str, **taken: str) -> StreamStatus:
    """A stream of a node that has accepted these versions of secrets."""
    status = TypeStatus("secrets", wildcard=False, names=len(taken), resources=0, acked=1, nacks=(), taken=taken)
    return StreamStatus(node, "", START, (status,))


def test_a_node_lags_until_it_has_accepted_every_secret_that_it_asked_for() -> None:
    """One that never asked for its certificate lacks nothing, and one that is gone from the cache is not asked."""
    wanted = {node: {"svid": "2", "bundles": "5"} for node in ("current", "older", "refusing", "elsewhere")}
    streams = [
        stream("current", svid="2", bundles="5"),
        stream("older", svid="1", bundles="5"),
        stream("refusing", svid="2", bundles=""),
        stream("elsewhere"),
        stream("elsewhere", svid="2"),
        stream("forgotten", svid="1"),
    ]
    assert lagging(streams, wanted) == ("older", "refusing")
