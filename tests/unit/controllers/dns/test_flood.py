"""The budgets of sources: how many questions each may ask, and how much is remembered."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from controllers.dns.flood import SourceBudgets


def test_a_source_may_ask_its_burst_and_then_what_time_refills() -> None:
    """Four at once, then two a second; a pause never gives more than the burst."""
    budgets = SourceBudgets(per_second=2, burst=4, sources=10)

    assert [budgets.take("a", 0.0) for _ in range(5)] == [True, True, True, True, False]
    assert [budgets.take("a", 0.5), budgets.take("a", 0.5)] == [True, False]
    assert [budgets.take("a", 100.0) for _ in range(5)] == [True, True, True, True, False]


def test_one_source_takes_nothing_from_another() -> None:
    """Who is not asking too much is answered whatever others do."""
    budgets = SourceBudgets(per_second=1, burst=1, sources=10)

    assert [budgets.take(source, 0.0) for source in ("a", "a", "b", "a", "b")] == [True, False, True, False, False]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 20), st.floats(0, 1)), max_size=60))
def test_no_more_sources_are_kept_than_allowed(questions: list[tuple[int, float]]) -> None:
    """Of more sources than the bound, those that were silent longest are forgotten."""
    budgets = SourceBudgets(per_second=1, burst=2, sources=5)
    now = 0.0
    for source, passed in questions:
        now += passed
        budgets.take(str(source), now)
        assert len(budgets) <= 5


def test_whoever_asked_last_is_remembered() -> None:
    """A third source takes the place of the one that was silent longest, not of itself."""
    budgets = SourceBudgets(per_second=0.001, burst=1, sources=2)

    assert [budgets.take(source, 0.0) for source in ("a", "b", "c", "c", "b", "a")] == [
        True,
        True,
        True,
        False,
        False,
        True,
    ]


def test_a_refused_question_keeps_its_source_among_the_latest() -> None:
    """A source that goes on asking is not forgotten for it, so that a flood doesn't renew its own budget."""
    budgets = SourceBudgets(per_second=0.001, burst=1, sources=2)
    asked = [budgets.take(source, 0.0) for source in ("flood", "b", "flood", "c", "flood")]

    assert asked == [True, True, False, True, False]
