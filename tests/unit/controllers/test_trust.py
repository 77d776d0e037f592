"""Whose bundles are accepted: from what they say, and from what was accepted before."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

from controllers.trust import Acceptance, accept_bundles
from federation.exchange.base import ExchangeSnapshot, MemberSnapshot
from federation.model.names import ClusterId
from federation.model.records import BundleRecord
from support.builders import EAST, NORTH, WEST, bundle_record, member
from support.certificates import make_ca
from support.clock import START
from support.control import bundle, ca_of
from trustbundle.bundle import TrustBundle, TrustView
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
    view = TrustView() if before is None else before.view
    # Configured in this order, judged in that of their names.
    return accept_bundles(OWN, [member(WEST), member(NORTH)], snapshot, view, START + hours * HOUR)


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


def test_nobody_takes_our_own_ca_key() -> None:
    """A member that publishes the own cluster's CA is refused: it could speak for our workloads."""
    own = make_ca(START, name="ours")
    ours = TrustBundle(TrustDomain("east.test"), 1, (own.der,))
    record = bundle(WEST, own)
    snapshot = ExchangeSnapshot({WEST: MemberSnapshot(WEST, records={record.record_key: record}, synced=True)})
    found = accept_bundles(ours, [member(WEST)], snapshot, TrustView(), START)
    assert (found.trusted, [problem.reason for problem in found.problems]) == (frozenset(), ["SharedAuthority"])
