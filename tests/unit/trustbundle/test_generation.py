"""Generations of trust: what makes the next one, and what must not."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support.clock import START
from trustbundle.bundle import TrustBundle, TrustView
from trustbundle.generation import TrustGeneration, next_generation, withdrawn
from trustbundle.identity import TrustDomain

EAST, WEST = TrustDomain("east.test"), TrustDomain("west.test")
LEAF_TTL = timedelta(hours=1)
Step = tuple[timedelta, dict[TrustDomain, tuple[bytes, ...]]]


def view(**domains: tuple[bytes, ...]) -> TrustView:
    return of({TrustDomain(f"{name}.test"): authorities for name, authorities in domains.items()})


def of(domains: dict[TrustDomain, tuple[bytes, ...]]) -> TrustView:
    found = TrustView()
    for domain, authorities in domains.items():
        found = found.with_bundle(TrustBundle(domain, 1, authorities))
    return found


def after(*steps: tuple[timedelta, TrustView]) -> TrustGeneration:
    """The generation after these views were trusted, each this long after the one before."""
    found, now = TrustGeneration(), START
    for wait, seen in steps:
        now += wait
        found = next_generation(found, seen, now, LEAF_TTL)
    return found


NOW, LATER = timedelta(0), timedelta(hours=1)
BOTH = view(east=(b"e",), west=(b"w",))


@pytest.mark.parametrize(
    ("steps", "number"),
    [
        ([(NOW, BOTH)], 0),
        ([(NOW, view(east=(b"e",))), (NOW, BOTH)], 0),
        ([(NOW, BOTH), (NOW, view(east=(b"e",)))], 1),
        ([(NOW, BOTH), (NOW, view(east=(b"e",), west=()))], 1),
        ([(NOW, BOTH), (NOW, view(east=(b"e",))), (NOW, BOTH), (NOW, BOTH)], 1),
        ([(NOW, BOTH), (NOW, view(east=(b"e",), west=(b"other",)))], 1),
        ([(NOW, BOTH), (NOW, TrustView())], 1),
        ([(NOW, BOTH), (NOW, view(east=(b"e",))), (NOW, TrustView())], 2),
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


ROTATION = [
    (NOW, view(west=(b"old",))),
    (LATER, view(west=(b"old", b"next"))),
    (LATER, view(west=(b"next", b"old"))),
]


@pytest.mark.parametrize(
    ("wait", "number"),
    [(LEAF_TTL, 0), (LEAF_TTL - timedelta(seconds=1), 1)],
    ids=["when its leaves have expired", "before"],
)
def test_the_old_ca_of_a_rotation_goes_without_a_trace_when_it_has_expired_leaves_only(
    wait: timedelta, number: int
) -> None:
    """An old CA that leaves early was revoked: what it signed may be open, and hostile."""
    assert after(*ROTATION, (wait, view(west=(b"next",)))).number == number


def test_a_ca_that_never_signed_goes_without_a_trace() -> None:
    """The next CA, long prepared, is dropped before it signs."""
    assert after(*ROTATION[:2], (LATER, view(west=(b"old",)))).number == 0


def test_the_domains_that_withdrew_trust_are_named() -> None:
    """Others, that came, stayed or rotated, are not."""
    before = after((NOW, view(east=(b"e",), west=(b"w",), north=(b"n",))))
    seen = view(east=(b"e2", b"e"), north=(b"n2",), south=(b"s",))
    assert withdrawn(before, seen, START, LEAF_TTL) == {"west.test", "north.test"}


AUTHORITIES = st.lists(st.sampled_from([b"1", b"2", b"3"]), unique=True, max_size=3).map(tuple)
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
    found = next_generation(before, seen, now, LEAF_TTL)
    assert found.number - before.number == int(bool(withdrawn(before, seen, now, LEAF_TTL)))
    assert next_generation(found, seen, now + LATER, LEAF_TTL) == found


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(WAITS, VIEWS), min_size=1, max_size=6), AUTHORITIES, WAITS)
def test_to_trust_more_withdraws_nothing(
    history: list[tuple[timedelta, TrustView]], added: tuple[bytes, ...], wait: timedelta
) -> None:
    """Whatever was trusted stays, at whatever place of its bundle."""
    before, (_, last) = after(*history), history[-1]
    now = START + sum((each for each, _ in history), wait)
    more = {
        domain: tuple(dict.fromkeys((*added, *bundle.authorities)))
        for domain, bundle in last.bundles.items()
        if bundle.authorities
    }
    assert withdrawn(before, of(more | {TrustDomain("new.test"): (b"n",)}), now, LEAF_TTL) == frozenset()
