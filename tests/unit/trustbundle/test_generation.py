"""Generations of trust: what makes the next one, and what must not."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import cache
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from federation.model.names import ClusterId
from federation.model.records import BundleRecord, Member
from support.certificates import MemoryKeystore, make_ca
from support.clock import START
from trustbundle.authority import CertificateAuthority
from trustbundle.bundle import BundleSource, TrustBundle, TrustView, accept
from trustbundle.generation import BURST, INTERVAL, TrustGeneration, next_generation, withdrawn
from trustbundle.identity import TrustDomain
from trustbundle.rotation import Reach, RotationPolicy
from trustbundle.x509 import parse_authority

EAST, WEST = TrustDomain("east.test"), TrustDomain("west.test")
LEAF_TTL = timedelta(hours=1)
LIFETIME = timedelta(days=30)
Step = tuple[timedelta, dict[TrustDomain, tuple[str, ...]]]


@cache
def der(name: str) -> bytes:
    """The CA certificate of this name, the same for the whole run."""
    return make_ca(START, name=name, lifetime=LIFETIME).der


def bundle(domain: TrustDomain, *names: str, until: Mapping[str, float] | None = None) -> TrustBundle:
    """``until``: seconds after START, of the authorities whose domain says when their leaves end."""
    stated = {name: int((START + timedelta(seconds=seconds)).timestamp()) for name, seconds in (until or {}).items()}
    ends = tuple(stated.get(name, int((START + LIFETIME).timestamp())) for name in names) if stated else ()
    return TrustBundle(domain, 1, tuple(map(der, names)), ends)


def view(**domains: tuple[str, ...]) -> TrustView:
    return of({TrustDomain(f"{name}.test"): authorities for name, authorities in domains.items()})


def of(domains: Mapping[TrustDomain, tuple[str, ...]]) -> TrustView:
    found = TrustView()
    for domain, authorities in domains.items():
        found = found.with_bundle(bundle(domain, *authorities))
    return found


def after(*steps: tuple[timedelta, TrustView]) -> TrustGeneration:
    """The generation after these views were trusted, each this long after the one before."""
    found, now = TrustGeneration(), START
    for wait, seen in steps:
        now += wait
        found = next_generation(found, seen, (), now)
    return found


NOW, LATER = timedelta(0), timedelta(hours=1)
BOTH = view(east=("e",), west=("w",))


@pytest.mark.parametrize(
    ("steps", "number"),
    [
        ([(NOW, BOTH)], 0),
        ([(NOW, view(east=("e",))), (NOW, BOTH)], 0),
        ([(NOW, BOTH), (NOW, view(east=("e",)))], 1),
        ([(NOW, BOTH), (NOW, view(east=("e",), west=()))], 1),
        ([(NOW, BOTH), (NOW, view(east=("e",))), (NOW, BOTH), (NOW, BOTH)], 1),
        ([(NOW, BOTH), (NOW, view(east=("e",), west=("other",)))], 1),
        ([(NOW, BOTH), (NOW, TrustView())], 1),
        ([(NOW, BOTH), (NOW, view(east=("e",))), (NOW, TrustView())], 2),
    ],
    ids=[
        "the first sight",
        "a domain came",
        "a domain went",
        "a bundle was emptied",
        "it came back",
        "its CA was replaced at once",
        "two at once",
        "one after the other",
    ],
)
def test_a_generation_ends_when_trust_is_withdrawn(steps: list[tuple[timedelta, TrustView]], number: int) -> None:
    """Domains that come end nothing; domains that go do, once for what goes together."""
    assert after(*steps).number == number


RETIRED = LEAF_TTL.total_seconds()
"""How long after START the last leaf of a CA that was retired then is valid."""


@pytest.mark.parametrize(
    ("wait", "number"),
    [(LEAF_TTL + timedelta(seconds=1), 0), (LEAF_TTL, 1)],
    ids=["when its leaves have ended", "before"],
)
def test_the_old_ca_of_a_rotation_goes_without_a_trace_when_its_leaves_have_ended(wait: timedelta, number: int) -> None:
    """By the word of its domain, at whatever place of the bundle it is: one that leaves early was revoked."""
    rotated = TrustView().with_bundle(bundle(WEST, "next", "old", until={"old": RETIRED}))
    assert after((NOW, rotated), (wait, view(west=("next",)))).number == number


@pytest.mark.parametrize("dropped", ["first", "second", "third"])
def test_an_authority_that_nothing_is_said_of_may_sign(dropped: str) -> None:
    """At whatever place: bundles of a CA elsewhere, and of older programs, do not tell who signs."""
    all_of_them = ("first", "second", "third")
    kept = tuple(each for each in all_of_them if each != dropped)
    week = timedelta(days=7)
    assert after((NOW, view(west=all_of_them)), (week, view(west=kept))).number == 1


def test_an_authority_that_ended_by_itself_goes_without_a_trace() -> None:
    """So rotates a CA elsewhere whose old root stays in its bundle to its end; nothing of it can be valid."""
    at_its_end = LIFETIME, view(west=("next",))
    afterwards = LIFETIME + timedelta(seconds=1), view(west=("next",))
    both = NOW, view(west=("old", "next"))
    assert (after(both, at_its_end).number, after(both, afterwards).number) == (1, 0)


def test_what_is_said_last_counts() -> None:
    """A CA that retires has an end; one that is tainted then may have leaves of a thief, until it ends itself."""
    signing = NOW, view(west=("old", "next"))
    retired = NOW, TrustView().with_bundle(bundle(WEST, "next", "old", until={"old": RETIRED}))
    gone = LEAF_TTL + timedelta(seconds=1), view(west=("next",))
    assert (after(signing, retired, gone).number, after(signing, retired, signing, gone).number) == (0, 1)


def test_nobody_states_an_end_beyond_that_of_the_authority() -> None:
    """Else a certificate that ended could not be left out without ending connections."""
    boasting = TrustView().with_bundle(bundle(WEST, "next", "old", until={"old": 10 * LIFETIME.total_seconds()}))
    assert after((NOW, boasting), (LIFETIME + timedelta(seconds=1), view(west=("next",)))).number == 0


# The whole way of a peer's CA, as a reader sees it


def seen(authority: BundleSource, now: datetime, *, older: bool = False) -> TrustView:
    """A reader's view of a member; ``older``: it runs a program that says nothing of leaves."""
    record = authority.bundle().record
    record = replace(record, leaves_until=()) if older else record
    judged = accept(record, Member(ClusterId("west"), WEST, bytes(32)), None, now)
    assert isinstance(judged, TrustBundle)
    return TrustView().with_bundle(judged)


def assert_believed(said: list[BundleRecord]) -> None:
    """Peers refuse another bundle of a sequence that they have (``federation.exchange.replica``)."""
    assert [later.sequence > record.sequence for record, later in pairwise(said) if later != record] == [
        True for record, later in pairwise(said) if later != record
    ]


MINUTES = [timedelta(minutes=each) for each in (1, 5, 60, 240)]
ACTED = Reach(lacking=False, unknown=False)


@pytest.mark.parametrize("leaf_ttl", MINUTES)
@pytest.mark.parametrize("forced", [False, True], ids=["by itself", "by hand"])
def test_a_rotation_of_the_built_in_ca_costs_nothing(leaf_ttl: timedelta, forced: bool) -> None:
    """Whatever the lifetime of its leaves is, of which the reader knows nothing else."""
    now, looked, found = START, START, TrustGeneration()
    policy = RotationPolicy(leaf_ttl, timedelta(days=2), timedelta(minutes=10))
    authority = CertificateAuthority(WEST, policy, MemoryKeystore())
    authority.tick(now)
    first = authority.bundle().authorities
    if forced:
        authority.request_rotation(now, urgent=True)
    said = []
    while first[0] in authority.bundle().authorities:
        authority.tick(now, ACTED)
        authority.mark_published(authority.bundle().sequence, now)
        said.append(authority.bundle().record)
        found = next_generation(found, seen(authority, now), (), now)
        looked, now = now, max(now, authority.next_wakeup(now, ACTED)) + timedelta(seconds=5)
    assert_believed(said)
    assert (found.number, looked < parse_authority(first[0]).not_after) == (0, True)


@pytest.mark.parametrize("leaf_ttl", MINUTES)
@pytest.mark.parametrize("older", [False, True], ids=["", "older program"])
@pytest.mark.parametrize("name", ["signing", "next", "old"])
def test_a_taint_of_the_built_in_ca_ends_connections(leaf_ttl: timedelta, older: bool, name: str) -> None:
    """Of whichever of its CAs, and however long it took to leave: a thief's leaves last as long as their CA."""
    now = START
    policy = RotationPolicy(leaf_ttl, timedelta(days=2), timedelta(minutes=10))
    authority = CertificateAuthority(WEST, policy, MemoryKeystore())
    authority.tick(now)
    authority.request_rotation(now, urgent=True)
    authority.tick(now, ACTED)
    tainted = authority.state.next if name == "next" else authority.state.current
    if name == "old":
        authority.mark_published(authority.bundle().sequence, now)
        authority.tick(now, ACTED)
    assert tainted is not None
    found = next_generation(TrustGeneration(), seen(authority, now, older=older), (), now)
    authority.taint(tainted.short_id, now)
    said = [authority.bundle().record]
    while tainted.certificate in authority.bundle().authorities:
        authority.mark_published(authority.bundle().sequence, now)
        authority.tick(now, ACTED)
        said.append(authority.bundle().record)
        found = next_generation(found, seen(authority, now, older=older), (), now)
        now += timedelta(seconds=61)
    assert_believed(said)
    assert next_generation(found, seen(authority, now, older=older), (), now).number == 1


def test_the_domains_that_withdrew_trust_are_named() -> None:
    """Others, that came, stayed or rotated, are not."""
    before = after((NOW, view(east=("e",), west=("w",), north=("n",))))
    seen = view(east=("e2", "e"), north=("n2",), south=("s",))
    assert withdrawn(before, seen, START) == {"west.test", "north.test"}


NAMES = ["1", "2", "3"]
AUTHORITIES = st.lists(st.sampled_from(NAMES), unique=True, max_size=3).map(tuple)
VIEWS = st.dictionaries(st.sampled_from([EAST, WEST]), AUTHORITIES, max_size=2).map(of)
WAITS = st.sampled_from([NOW, timedelta(minutes=20), LATER])


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(WAITS, VIEWS), max_size=6), VIEWS, WAITS)
def test_it_grows_exactly_when_a_domain_withdrew_trust(
    history: list[tuple[timedelta, TrustView]], seen: TrustView, wait: timedelta
) -> None:
    """By one; and the same trust seen again, by whoever was started anew, changes nothing at all."""
    before = after(*history)
    now = START + sum((each for each, _ in history), wait)
    found = next_generation(before, seen, (), now)
    assert found.number - before.number == int(bool(withdrawn(before, seen, now)))
    assert next_generation(found, seen, (), now + LATER) == found


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(WAITS, VIEWS), min_size=1, max_size=6), AUTHORITIES, WAITS)
def test_to_trust_more_withdraws_nothing(
    history: list[tuple[timedelta, TrustView]], added: tuple[str, ...], wait: timedelta
) -> None:
    """Whatever was trusted stays, at whatever place of its bundle."""
    before, (_, last) = after(*history), history[-1]
    now = START + sum((each for each, _ in history), wait)
    more = {
        domain: tuple(dict.fromkeys((*added, *(name for name in NAMES if der(name) in held.authorities))))
        for domain, held in last.bundles.items()
        if held.authorities
    }
    assert withdrawn(before, of(more | {TrustDomain("new.test"): ("n",)}), now) == frozenset()


# How often a member may end everybody's connections


MINUTE, SECOND = timedelta(minutes=1), timedelta(seconds=1)
MEMBERS = {EAST, WEST}


def swapping(found: TrustGeneration, now: datetime, name: str, members: Collection[TrustDomain]) -> TrustGeneration:
    """West has no other CA than this any more."""
    return next_generation(found, view(east=("e",), west=(name,)), members, now)


def numbers(seconds: Sequence[int], members: Collection[TrustDomain] = MEMBERS) -> list[int]:
    """The generation at each of these seconds, at which West has another CA."""
    found, told = swapping(TrustGeneration(), START, "first", members), []
    for turn, second in enumerate(seconds):
        found = swapping(found, START + second * SECOND, str(turn % 3), members)
        told.append(found.number)
    return told


def test_a_member_that_swaps_its_ca_ends_connections_twice_and_then_once_a_minute() -> None:
    """Each second it withdraws another one; all that it may do in three minutes is this."""
    told = numbers(range(180))
    grown = [second for second in range(180) if told[second] != (told[second - 1] if second else 0)]
    assert grown == [0, 1, 60, 120]


def test_what_is_held_back_ends_when_its_time_has_come() -> None:
    """By time alone, once for all that was withdrawn meanwhile."""
    found = swapping(TrustGeneration(), START, "0", MEMBERS)
    for second in (1, 2, 3, 4):
        found = swapping(found, START + second * SECOND, str(second % 3), MEMBERS)
    assert (found.number, found.owed, found.ends_at(WEST)) == (2, {WEST}, START + 61 * SECOND)
    early = swapping(found, START + 60 * SECOND, "1", MEMBERS)
    due = swapping(early, START + 61 * SECOND, "1", MEMBERS)
    assert [(each.number, each.owed) for each in (early, due)] == [(2, {WEST}), (3, frozenset())]


def test_a_member_that_leaves_waits_for_nobody() -> None:
    """An eviction ends connections at once, whatever its domain did before, and all that was held back with them."""
    found = swapping(TrustGeneration(), START, "0", MEMBERS)
    for turn in (1, 2, 3):
        found = swapping(found, START, str(turn), MEMBERS)
    evicted = next_generation(found, view(east=("e",)), {EAST}, START)
    assert (found.number, found.owed) == (2, {WEST})
    assert (evicted.number, evicted.owed, evicted.spent) == (3, frozenset(), {})


def test_a_member_spends_nothing_of_another() -> None:
    """One that is held back holds nobody else back."""
    found = next_generation(TrustGeneration(), view(east=("e",), west=("w",)), MEMBERS, START)
    for turn in (1, 2, 3):
        found = next_generation(found, view(east=("e",), west=(str(turn),)), MEMBERS, START)
    both = next_generation(found, view(east=("e2",), west=("w",)), MEMBERS, START)
    assert (found.number, both.number, both.owed) == (2, 3, {WEST})


def test_the_own_domain_is_believed_at_once() -> None:
    """Who is no member beside us is ourselves: our taints are our own."""
    assert numbers([0, 1, 2, 3], members={EAST}) == [1, 2, 3, 4]


def test_a_clock_that_was_set_back_holds_nobody_back() -> None:
    """Else a withdrawal would wait for a day because of a clock that had been wrong."""
    found = swapping(TrustGeneration(), START, "0", MEMBERS)
    for turn in (1, 2):
        found = swapping(found, START, str(turn), MEMBERS)
    day_before = START - timedelta(days=1)
    again = swapping(found, day_before, "0", MEMBERS)
    assert (again.number, again.owed) == (3, frozenset())
    assert again.spent == {WEST: day_before + MINUTE}


DELAYS = st.sampled_from([0, 1, 10, 59, 60, 61, 200]).map(lambda seconds: seconds * SECOND)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(DELAYS, AUTHORITIES), max_size=12))
def test_whatever_a_member_does_it_ends_no_more_than_it_may_and_nothing_is_lost(
    history: list[tuple[timedelta, tuple[str, ...]]],
) -> None:
    """In any span at most ``BURST`` and one a minute; and after the last word all ends that was withdrawn."""
    found, now, grown, wanted = TrustGeneration(), START, list[datetime](), 0
    for wait, names in [*history, (BURST * INTERVAL, history[-1][1] if history else ())]:
        now += wait
        seen = of({EAST: ("e",), WEST: names})
        if withdrawn(found, seen, now):
            wanted = found.number + 1
        after = next_generation(found, seen, MEMBERS, now)
        grown += [now] * (after.number - found.number)
        found = after
    assert (found.owed, found.number >= wanted) == (frozenset(), True)
    for first, start in enumerate(grown):
        for last, end in enumerate(grown[first:]):
            assert last + 1 <= BURST + (end - start) / INTERVAL
