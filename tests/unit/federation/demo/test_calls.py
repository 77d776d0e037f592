"""Calls: what a stream's calls come to."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation.demo.calls import Call, Stream, by_stream, quantile, summarise


def call(due: float, seconds: float = 0.001, *, cluster: str = "us-east", error: str = "") -> Call:
    return Call(Stream.GET, due, due + seconds, "" if error else cluster, error)


def test_latency_counts_from_when_a_call_was_due() -> None:
    """A call that was sent late is as slow as its caller found it."""
    assert Call(Stream.GET, due=10.0, ended=10.5, cluster="us-east").seconds == 0.5


def test_numbers_of_a_stream() -> None:
    """Calls are counted by answering cluster and by error; latencies are those of the calls that succeeded."""
    calls = [call(0, 0.001), call(1, 0.003, cluster="eu-west"), call(2, 5.0, error="503"), call(3, 0.5)]
    numbers = summarise(calls)
    assert (numbers.calls, numbers.failed, numbers.slow) == (4, 1, 1)
    assert numbers.answered_by == {"eu-west": 1, "us-east": 2}
    assert numbers.errors == {"503": 1}
    assert (numbers.p50, numbers.p99, numbers.worst) == pytest.approx((0.003, 0.5, 0.5))


def test_no_calls_have_no_latency() -> None:
    """Without a call that succeeded there is no latency to tell."""
    assert (summarise([]).p50, summarise([call(0, error="x")]).worst) == (None, None)


def test_settled_after_the_last_call_that_was_disturbed() -> None:
    """A fault is over at the end of the last call that failed or was slow, counted from when it struck."""
    calls = [call(9.0, 0.6), call(10.5, 0.6), call(11.0, 1.0, error="503"), call(12.5)]
    assert summarise(calls, struck_at=10.0, fault_done_at=10.1).settled_after == pytest.approx(2.0)


def test_nothing_to_settle() -> None:
    """What was disturbed before the fault is not its doing."""
    assert summarise([call(1.0, 0.6), call(11.0)], struck_at=10.0, fault_done_at=10.0).settled_after is None


def test_calls_under_way_when_the_fault_struck_are_told_apart() -> None:
    """Excused are failed calls that were due before the fault was done, and no others."""
    calls = [call(due, 0.3, error="reset") for due in (9.9, 10.05, 10.2)]
    numbers = summarise(calls, struck_at=10.0, fault_done_at=10.1)
    assert (numbers.failed, numbers.excused) == (3, 2)


@given(st.lists(st.floats(0, 10), min_size=1), st.floats(0, 1))
def test_quantile_bounds_its_share(values: list[float], share: float) -> None:
    """At least the asked share of the values is not above the quantile, and it is one of them."""
    found = quantile(sorted(values), share)
    assert found in values
    assert sum(value <= found for value in values) >= share * len(values) - 1e-9


def test_every_stream_is_there() -> None:
    """A stream without calls has an empty list, so that nobody has to ask."""
    assert by_stream([call(0)]) == {stream: ([call(0)] if stream is Stream.GET else []) for stream in Stream}
