"""What is shown: tables and lines from numbers."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from federation.demo.calls import Call, Stream
from federation.demo.phases import ENDPOINTS_DIE, Phase, PhaseNumbers, PhaseRecord
from federation.demo.recording import Recorder
from federation.demo.table import (
    LiveNarrator,
    PlainNarrator,
    footnotes,
    milliseconds,
    noticed,
    others_table,
    phase_table,
    plain_line,
)

PHASE = Phase("frozen", "pods frozen", "SIGSTOP of both pods.", ENDPOINTS_DIE, {}, seconds=1.0)


def numbers(*calls: Call) -> PhaseNumbers:
    return PhaseRecord(PHASE, 0.0, struck_at=1.0, fault_done_at=1.1, calls=list(calls)).numbers(now=4.0)


QUICK = Call(Stream.GET, 2.0, 2.0015, "us-west")
SLOW = Call(Stream.GET, 1.5, 2.25, "us-west")
LOST_POST = Call(Stream.POST, 1.2, 2.0, error="503")


def shown(item: object) -> str:
    console = Console(file=io.StringIO(), width=200)
    console.print(item)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


@pytest.mark.parametrize(("seconds", "text"), [(None, "–"), (0.00125, "1.2 ms"), (0.0199, "19.9 ms"), (0.31, "310 ms")])
def test_latencies(seconds: float | None, text: str) -> None:
    """Latencies have a digit after the point only where it says something."""
    assert milliseconds(seconds) == text


def test_what_callers_noticed() -> None:
    """Nothing, or how many calls were lost or slow and after how long that was over."""
    assert noticed(numbers(QUICK)) == "no"
    assert noticed(numbers(QUICK, LOST_POST)) == "1 echo POST lost"
    assert noticed(numbers(SLOW, SLOW, LOST_POST)) == "1 echo POST lost, 2 slow calls, over after 1.2 s"


def test_the_table_has_a_row_per_phase() -> None:
    """Calls by answering cluster, failures and latencies stand in one row."""
    (row,) = [line for line in shown(phase_table([numbers(QUICK, SLOW)])).splitlines() if "pods frozen" in line]
    cells = [cell.strip() for cell in row.strip("│").split("│")]
    assert cells == ["pods frozen", "2", "·", "2", "·", "0", "1.5 ms", "750 ms", "750 ms", *cells[-1:]]
    assert cells[-1] == "1 slow calls, over after 1.2 s"


def test_the_other_streams_have_a_table() -> None:
    """Failed of all, and who answered, for the lighter streams."""
    text = shown(others_table([numbers(LOST_POST, Call(Stream.TCP, 2, 2.1, "us-west"))]))
    assert "1 of 1" in text
    assert "0 of 1  us-west" in text


def test_footnotes_only_where_needed() -> None:
    """What is not there to be seen is not explained."""
    assert footnotes([numbers(QUICK)]) == []
    assert [note.split()[0] for note in footnotes([numbers(SLOW, LOST_POST)])] == ["Slow", "Lost"]
    assert [note.split()[1] for note in footnotes([numbers(Call(Stream.TCP, 1.05, 1.2, error="reset"))])] == ["TCP"]


def test_plain_lines() -> None:
    """Without a terminal every phase has a line at its beginning and one at its end."""
    console = Console(file=io.StringIO(), width=40)
    narrator = PlainNarrator(console)
    narrator.began(PHASE)
    narrator.ended(numbers(QUICK))
    assert isinstance(console.file, io.StringIO)
    first, second = console.file.getvalue().splitlines()
    assert first == "pods frozen: SIGSTOP of both pods."
    assert second == plain_line(numbers(QUICK))
    assert "1 GETs in 4.0 s, answered by us-west 1; 0 failed; p50 1.5 ms" in second


def test_the_live_table_shows_the_phase_that_goes_on() -> None:
    """A refresh draws the numbers as they are, and what is going on in words."""
    console = Console(file=io.StringIO(), width=160, force_terminal=True)
    recorder = Recorder(lambda: 10.0)
    narrator = LiveNarrator(console, recorder)
    with narrator.live:
        recorder.begin(PHASE)
        narrator.began(PHASE)
        recorder.add(QUICK)
        narrator.refresh()
        assert isinstance(console.file, io.StringIO)
        text = console.file.getvalue()
    assert "SIGSTOP of both pods." in text
    assert "1.5 ms" in text
