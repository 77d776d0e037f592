"""When authorities end, and what is said before they do."""

from __future__ import annotations

from datetime import datetime, timedelta

from controllers.expiry import (
    UNACKNOWLEDGED,
    expiry_problems,
    life_of,
    next_expiry,
    taint_problems,
    unacknowledged_problems,
)
from support.builders import EAST, NORTH, WEST
from support.clock import START
from support.control import ca_of, started_authority
from trustbundle.authority import CertificateAuthority
from trustbundle.bundle import TrustBundle, TrustView
from trustbundle.identity import TrustDomain
from trustbundle.rotation import REISSUE_BOUND, CaState, Reach, authority_id

HOUR = timedelta(hours=1)
INSTANT = timedelta.resolution
OWN = "east.test"


def view(**bundles: tuple[bytes, ...]) -> TrustView:
    """Bundles by the name of their cluster."""
    found = TrustView()
    for cluster, authorities in bundles.items():
        found = found.with_bundle(TrustBundle(TrustDomain(f"{cluster}.test"), 1, authorities))
    return found


def told(state: CaState | None, seen: TrustView, now: datetime) -> list[tuple[str, str]]:
    return [(problem.subject, problem.reason) for problem in expiry_problems(state, seen, OWN, now)]


def test_the_life_of_an_authority_is_read_from_its_certificate() -> None:
    """Its name is what `federation trust` calls it; it is late when a sixth is left."""
    life = life_of(ca_of(WEST, 1, 6).der)
    assert (life.id, life.not_after) == (authority_id(ca_of(WEST, 1, 6).der), START + 6 * HOUR)
    due = life.not_before + (life.not_after - life.not_before) * 5 / 6
    assert [life.late(due - INSTANT), life.late(due + timedelta(milliseconds=1))] == [False, True]


def test_the_next_expiry_is_the_first_of_any_peer() -> None:
    """A certificate is good in its last second; the own ones are the CA's business, and the past is past."""
    seen = view(
        east=(ca_of(EAST, 1, 1).der,),
        west=(ca_of(WEST, 1, 24).der, ca_of(WEST, 2, 2).der),
        north=(ca_of(NORTH, 1, 3).der,),
    )
    ends = [next_expiry(seen, OWN, START + hours * HOUR) for hours in (0, 2, 2.5, 23, 25)]
    assert ends == [
        START + 2 * HOUR + INSTANT,
        START + 2 * HOUR + INSTANT,
        START + 3 * HOUR + INSTANT,
        START + 24 * HOUR + INSTANT,
        None,
    ]


def test_a_peers_last_authority_is_told_of_when_a_sixth_is_left() -> None:
    """Not while another one of its bundle lasts longer, and not of one that has none left."""
    one, two = ca_of(WEST, 1, 12).der, ca_of(WEST, 2, 48).der
    late = START + 11 * HOUR
    assert told(None, view(west=(one,)), late) == [("bundle of west.test", "NoSuccessor")]
    assert told(None, view(west=(one,)), START + 9 * HOUR) == []
    assert told(None, view(west=(one, two), north=()), late) == []


def test_the_own_ca_is_told_of_while_it_has_no_successor() -> None:
    """A next CA that could not be made is said; once there is one, its own rules see to the rest."""
    authority: CertificateAuthority = started_authority()
    late = START + 22 * HOUR
    assert told(authority.state, TrustView(), START + 19 * HOUR) == []
    assert told(authority.state, TrustView(), late) == [("CA of east.test", "NoSuccessor")]
    authority.tick(late)
    assert told(authority.state, TrustView(), late) == []


def test_who_lacks_a_bundle_for_long_is_told_of() -> None:
    """After a minute, one word for each peer; before that it is on its way."""
    due = START + UNACKNOWLEDGED
    assert list(unacknowledged_problems(7, {WEST: START}, due)) == []
    assert list(unacknowledged_problems(7, {WEST: START + INSTANT}, due + INSTANT)) == []
    found = list(unacknowledged_problems(7, {WEST: START, NORTH: START}, due + INSTANT))
    assert [(problem.subject, problem.message.split()[0]) for problem in found] == [
        ("bundle 7", "north"),
        ("bundle 7", "west"),
    ]


def test_nodes_that_hold_up_a_taint_are_named() -> None:
    """With the time at which the CA leaves whatever they do; an old CA that nobody tainted is no trouble."""
    authority = started_authority()
    name = authority.taint(None, START)
    authority.tick(START)
    authority.mark_published(authority.bundle().sequence, START)
    authority.tick(START, Reach(unknown=False))
    (problem,) = taint_problems(authority.state, ("one", "two"))
    assert (problem.subject, problem.reason) == (f"CA {name}", "Tainted")
    assert f"at {START + REISSUE_BOUND:%Y-%m-%d %H:%M:%SZ} at the latest" in problem.message
    assert problem.message.endswith("by one, two")
    assert list(taint_problems(authority.state, ())) == list(taint_problems(None, ("one",))) == []
