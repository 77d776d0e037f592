"""The backlog: who is next, and how long what failed waits."""

from __future__ import annotations

import pytest

from controllers.kube.backlog import Backlog
from federation.model.names import ServiceKey

A, B = ServiceKey("demo", "a"), ServiceKey("demo", "b")


@pytest.fixture
def backlog() -> Backlog:
    return Backlog(1.0, 5.0)


def test_each_is_taken_once_the_oldest_mark_first(backlog: Backlog) -> None:
    """However often it was marked."""
    backlog.mark([A, B])
    backlog.mark([A])

    assert [backlog.take(0.0), backlog.take(0.0), backlog.take(0.0)] == [A, B, None]
    assert not backlog.empty
    backlog.done(A)
    backlog.done(B)
    assert backlog.empty


def test_a_mark_during_the_work_is_another_round_after_it(backlog: Backlog) -> None:
    """One service is never worked on twice at once."""
    backlog.mark([A])
    backlog.take(0.0)
    backlog.mark([A])

    assert (A in backlog, backlog.take(0.0), backlog.wait_seconds(0.0)) == (True, None, None)
    backlog.done(A)
    assert backlog.take(0.0) == A


def test_what_fails_waits_longer_each_time(backlog: Backlog) -> None:
    """Up to a limit; success makes it start over."""
    backlog.mark([A])
    waits, now = [], 0.0
    for _ in range(5):
        assert backlog.take(now) == A
        backlog.failed(A, now)
        assert backlog.take(now) is None
        wait = backlog.wait_seconds(now)
        assert wait is not None
        waits.append(wait)
        now += wait
    backlog.take(now)
    backlog.done(A)
    backlog.mark([A])
    backlog.take(now)
    backlog.failed(A, now)

    assert waits == [1.0, 2.0, 4.0, 5.0, 5.0]
    assert backlog.wait_seconds(now) == 1.0


def test_a_mark_ends_the_wait(backlog: Backlog) -> None:
    """Whether it comes before the failure or after it."""
    backlog.mark([A])
    backlog.take(0.0)
    backlog.mark([A])
    backlog.failed(A, 0.0)
    early = backlog.take(0.0)
    backlog.failed(A, 0.0)
    backlog.mark([A])

    assert (early, backlog.take(0.0)) == (A, A)
