"""Phases: the verdict on what they cost, and when they have settled."""

from __future__ import annotations

from dataclasses import replace

import pytest

from federation.demo.calls import Call, Stream
from federation.demo.phases import (
    CLUSTER_DIES,
    ENDPOINTS_DIE,
    HARMLESS,
    Phase,
    PhaseNumbers,
    PhaseRecord,
    Rules,
    all_violations,
)

PHASE = Phase("faulty", "a fault", "something breaks.", HARMLESS, {Stream.GET: "us-east"}, seconds=1.0)


def record(rules: Rules = HARMLESS, *, failed: int, of: int = 1000, stream: Stream = Stream.GET) -> PhaseRecord:
    """A phase with this many failed calls, all due after the fault was done."""
    made = PhaseRecord(replace(PHASE, rules=rules), began=0.0, struck_at=1.0, fault_done_at=1.5)
    made.calls = [
        Call(stream, 2.0 + number / 1000, 2.1 + number / 1000, *(("", "503") if number < failed else ("us-east", "")))
        for number in range(of)
    ]
    return made


def violations(made: PhaseRecord) -> tuple[str, ...]:
    return made.numbers(now=5.0).violations


@pytest.mark.parametrize("rules", [HARMLESS, ENDPOINTS_DIE])
@pytest.mark.parametrize("stream", [Stream.GET, Stream.SLOW, Stream.BILLING, Stream.TCP])
def test_one_lost_call_is_one_too_many(rules: Rules, stream: Stream) -> None:
    """Where no call may be lost, a single one breaks the rule, and the verdict has the numbers and the cause."""
    assert violations(record(rules, failed=1, stream=stream)) == (
        f"a fault: {stream} lost 1 of 1000 calls, none may be (503)",
    )
    assert violations(record(rules, failed=0, stream=stream)) == ()


def test_one_of_a_thousand_may_die_with_its_cluster() -> None:
    """A whole cluster may take at most 0.1 % of the GETs with it."""
    assert violations(record(CLUSTER_DIES, failed=1)) == ()
    assert violations(record(CLUSTER_DIES, failed=2)) == (
        "a fault: echo GET lost 2 of 1000 calls, at most 0.1% may be (503)",
    )


@pytest.mark.parametrize("rules", [ENDPOINTS_DIE, CLUSTER_DIES])
def test_posts_are_only_counted_where_servers_die(rules: Rules) -> None:
    """A POST that may have reached a server can't be repeated: it is reported, not judged; elsewhere it is."""
    assert violations(record(rules, failed=500, stream=Stream.POST)) == ()
    assert violations(record(HARMLESS, failed=1, stream=Stream.POST)) != ()


def test_a_connection_through_a_dying_process_is_excused() -> None:
    """TCP calls under way when the fault struck don't count, GETs in the same place do."""
    under_way = [Call(Stream.TCP, 1.2, 1.3, error="reset"), Call(Stream.GET, 1.2, 1.3, error="reset")]
    made = PhaseRecord(replace(PHASE, rules=ENDPOINTS_DIE), 0.0, struck_at=1.0, fault_done_at=1.5, calls=under_way)
    assert violations(made) == ("a fault: echo GET lost 1 of 1 calls, none may be (reset)",)


def test_a_connection_begun_after_the_fault_must_succeed() -> None:
    """A TCP call that was due once the processes were gone is not excused."""
    late = [Call(Stream.TCP, 1.6, 1.7, error="reset")]
    made = PhaseRecord(replace(PHASE, rules=ENDPOINTS_DIE), 0.0, struck_at=1.0, fault_done_at=1.5, calls=late)
    assert violations(made) == ("a fault: ledger TCP lost 1 of 1 calls, none may be (reset)",)


def test_calm_phases_are_answered_from_one_place() -> None:
    """In a calm phase more than one answer in a hundred from elsewhere breaks the rules; in others it does not."""
    calls = [Call(Stream.GET, 1.0, 1.1, "eu-west" if number < 2 else "us-east") for number in range(100)]
    calm = PhaseRecord(replace(PHASE, calm=True), 0.0, calls=calls)
    assert violations(calm) == ("a fault: 2 of 100 echo GET were not answered by us-east",)
    assert violations(PhaseRecord(PHASE, 0.0, calls=calls)) == ()
    assert violations(PhaseRecord(replace(PHASE, calm=True), 0.0, calls=[calls[-1], *calls[1:]])) == ()


def answers(clusters: list[str], due: float = 2.0) -> list[Call]:
    return [Call(Stream.GET, due, due + 0.1, cluster, "" if cluster else "503") for cluster in clusters]


def test_settled_once_the_last_answers_come_from_the_right_place() -> None:
    """It takes a run of answers from there, all of calls due after the fault was done, without a failure between."""
    made = PhaseRecord(PHASE, 0.0, struck_at=1.0, fault_done_at=1.5)
    made.calls = answers(["us-east"] * 100, due=1.2)
    assert not made.settled()
    made.calls += answers(["us-west"] * 5 + ["us-east"] * 59)
    assert not made.settled()
    made.calls += answers(["us-east"])
    assert made.settled()
    made.calls += answers([""])
    assert not made.settled()


def test_totals_and_all_violations() -> None:
    """A phase's totals are those of all its streams; the violations of all phases come in their order."""
    first, second = record(failed=1).numbers(5.0), record(failed=2, of=10).numbers(5.0)
    assert (first.calls, first.failed, second.calls, second.failed) == (1000, 1, 10, 2)
    assert all_violations([first, PhaseNumbers(PHASE, 1.0, {}), second]) == first.violations + second.violations
