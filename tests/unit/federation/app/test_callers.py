"""Whose turn it is: once a second each, in turns, those expected first, and bounded."""

from __future__ import annotations

from federation.app.callers import MAX_STRANGERS, Callers
from federation.model.names import ClusterId

A, B, C, X, Y = (ClusterId(name) for name in ("a", "b", "c", "x", "y"))


def looks(callers: Callers, now: float) -> list[str]:
    """All who are looked at now, in turn."""
    found = []
    while (cluster := callers.next(now)[0]) is not None:
        found.append(cluster)
    return found


def expecting(*clusters: ClusterId) -> Callers:
    callers = Callers()
    callers.expect(clusters)
    return callers


def test_whoever_calls_is_looked_at_once() -> None:
    """However often it called; strangers after all who are expected."""
    callers = expecting(A, B)
    assert [callers.call(cluster) for cluster in (X, B, B, A, X, Y)] == [True, True, False, True, False, True]
    assert looks(callers, 0) == [B, A, X, Y]
    assert callers.next(0) == (None, None)


def test_one_look_at_each_in_a_second() -> None:
    """Who calls again too early waits for the rest of the second, and is not forgotten."""
    callers = expecting(A)
    callers.call(A)
    callers.call(X)
    assert looks(callers, 10.0) == [A, X]
    assert [callers.call(cluster) for cluster in (A, A, X)] == [True, False, True]
    assert callers.next(10.25) == (None, 0.75)
    assert (looks(callers, 11.0), looks(callers, 12.0)) == ([A, X], [])


def test_a_look_without_a_call_keeps_nobody_waiting() -> None:
    """Who calls right after everybody was looked at is looked at again, once."""
    callers = expecting(A, B)
    callers.call_expected()
    assert callers.call(B)
    assert looks(callers, 0) == [A, B]
    assert [callers.call(cluster) for cluster in (A, B)] == [True, True]
    assert (looks(callers, 0.1), looks(callers, 1.1)) == ([A], [B])


def test_those_expected_come_in_turns() -> None:
    """Where looking was cut short, it goes on with those who were not looked at for longest."""
    callers = expecting(A, B, C)
    callers.call_expected()
    assert callers.next(0) == (A, None)
    callers.dismiss()
    assert looks(callers, 1) == []
    callers.call_expected()
    assert looks(callers, 2) == [B, C, A]
    callers.expect([A, B, X])
    callers.call_expected()
    assert looks(callers, 4) == [X, B, A]


def test_strangers_are_bounded_and_become_expected() -> None:
    """Only so many invented names are looked at until the ledger is read again; who is expected is heard all the same,
    also if it called before."""
    callers = expecting(A)
    called = [callers.call(ClusterId(f"s{number}")) for number in range(MAX_STRANGERS + 5)]
    assert (called.count(True), callers.call(A)) == (MAX_STRANGERS, True)
    callers.expect([A, ClusterId("s7")])
    callers.call(ClusterId("s7"))
    found = looks(callers, 0)
    assert (found[:2], len(found), found.count("s7")) == ([A, "s7"], MAX_STRANGERS + 1, 1)
    assert [callers.call(ClusterId(f"t{number}")) for number in range(MAX_STRANGERS + 5)].count(True) == MAX_STRANGERS
