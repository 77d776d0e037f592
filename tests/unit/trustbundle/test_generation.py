"""Generations of trust: what makes the next one, and what must not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from federation.model.names import ClusterId
from federation.model.records import Member
from support.certificates import MemoryKeystore, make_ca
from support.clock import START
from trustbundle.authority import CertificateAuthority
from trustbundle.bundle import BundleSource, TrustBundle, TrustView, accept
from trustbundle.generation import TrustGeneration, next_generation, withdrawn
from trustbundle.identity import TrustDomain
from trustbundle.rotation import Reach, RotationPolicy

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
        found = next_generation(found, seen, now)
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


MINUTES = [timedelta(minutes=each) for each in (1, 5, 60, 240)]
ACTED = Reach(lacking=False, unknown=False)


@pytest.mark.parametrize("leaf_ttl", MINUTES)
@pytest.mark.parametrize("forced", [False, True], ids=["by itself", "by hand"])
def test_a_rotation_of_the_built_in_ca_costs_nothing(leaf_ttl: timedelta, forced: bool) -> None:
    """Whatever the lifetime of its leaves is, which is not the reader's, and if the reader looks every half minute."""
    now, found = START, TrustGeneration()
    policy = RotationPolicy(leaf_ttl, timedelta(days=2), timedelta(minutes=10))
    authority = CertificateAuthority(WEST, policy, MemoryKeystore())
    authority.tick(now)
    first = authority.bundle().authorities
    if forced:
        authority.request_rotation(now, urgent=True)
    while first[0] in authority.bundle().authorities:
        authority.mark_published(authority.bundle().sequence, now)
        authority.tick(now, ACTED)
        found = next_generation(found, seen(authority, now), now)
        now = max(now, authority.next_wakeup(now, ACTED)) + timedelta(seconds=5)
    assert (next_generation(found, seen(authority, now), now).number, len(first)) == (0, 1)


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
    found = next_generation(TrustGeneration(), seen(authority, now, older=older), now)
    authority.taint(tainted.short_id, now)
    while tainted.certificate in authority.bundle().authorities:
        authority.mark_published(authority.bundle().sequence, now)
        authority.tick(now, ACTED)
        found = next_generation(found, seen(authority, now, older=older), now)
        now += timedelta(seconds=61)
    assert next_generation(found, seen(authority, now, older=older), now).number == 1


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
    found = next_generation(before, seen, now)
    assert found.number - before.number == int(bool(withdrawn(before, seen, now)))
    assert next_generation(found, seen, now + LATER) == found


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
