"""What the demo shows: the live table, the plain lines where there is no terminal, and the summary.

Everything but the two narrators is a function from numbers to text or to a table.
"""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from federation.demo.calls import SLOW_CALL_SECONDS, Stream, StreamNumbers
from federation.demo.phases import Phase, PhaseNumbers
from federation.demo.recording import Recorder
from federation.demo.sites import EU_WEST, US_EAST, US_WEST

_CLUSTERS = (US_EAST, US_WEST, EU_WEST)
_OTHERS = (Stream.POST, Stream.BILLING, Stream.SLOW, Stream.TCP)
_MILLISECONDS_WITHOUT_FRACTION = 20


def milliseconds(seconds: float | None) -> str:
    """A latency for people: ``1.2 ms``, ``310 ms``, ``–`` where there is none."""
    if seconds is None:
        return "–"
    value = seconds * 1000
    return f"{value:.1f} ms" if value < _MILLISECONDS_WITHOUT_FRACTION else f"{value:.0f} ms"


def noticed(numbers: PhaseNumbers) -> str:
    """Whether callers noticed the phase, in a few words: calls that failed, then calls that were slow, and how long."""
    words = [f"{stream.failed} {name} lost" for name, stream in numbers.streams.items() if stream.failed]
    get = numbers.streams[Stream.GET]
    if get.slow:
        words.append(f"{get.slow} slow calls")
    if not words:
        return "no"
    for_seconds = "" if get.settled_after is None else f", over after {get.settled_after:.1f} s"
    return ", ".join(words) + for_seconds


def phase_table(phases: Sequence[PhaseNumbers], *, title: str = "") -> Table:
    """One row per phase: the GETs of echo by answering cluster, those that failed, and their latencies."""
    table = Table(title=title or None, title_justify="left", header_style="bold", expand=False)
    table.add_column("what happened", no_wrap=True)
    for heading in ("echo GETs", *_CLUSTERS, "failed", "p50", "p99", "worst"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("callers noticed")
    for numbers in phases:
        get = numbers.streams[Stream.GET]
        table.add_row(
            Text(numbers.phase.title, style="red" if numbers.violations else ""),
            str(get.calls),
            *(str(get.answered_by[cluster]) if cluster in get.answered_by else "·" for cluster in _CLUSTERS),
            Text(str(get.failed), style="red" if get.failed else "green"),
            milliseconds(get.p50),
            milliseconds(get.p99),
            milliseconds(get.worst),
            noticed(numbers),
        )
    return table


def others_table(phases: Sequence[PhaseNumbers]) -> Table:
    """One row per phase for the lighter streams: failed of all calls, and who answered."""
    table = Table(title="the other calls: failed of all, answered by", title_justify="left", header_style="bold")
    table.add_column("what happened", no_wrap=True)
    for stream in _OTHERS:
        table.add_column(stream)
    for numbers in phases:
        table.add_row(numbers.phase.title, *(_other(numbers.streams[stream]) for stream in _OTHERS))
    return table


def footnotes(phases: Sequence[PhaseNumbers]) -> list[str]:
    """What a reader may stumble over, said only where it is there to be seen."""
    notes = []
    if any(numbers.streams[Stream.GET].slow for numbers in phases):
        notes.append(f"Slow calls: GETs of echo that took longer than {milliseconds(SLOW_CALL_SECONDS)}.")
    if any(numbers.streams[Stream.POST].failed for numbers in phases):
        notes.append(
            "Lost POSTs had reached a server that died or froze: nobody may repeat them unasked. Counted, not judged."
        )
    if any(numbers.streams[Stream.TCP].excused for numbers in phases):
        notes.append("A TCP connection through a process dies with it; every connection begun afterwards must succeed.")
    return notes


def _other(stream: StreamNumbers) -> Text:
    clusters = " ".join(cluster for cluster in _CLUSTERS if cluster in stream.answered_by)
    return Text(f"{stream.failed} of {stream.calls}  {clusters}", style="red" if stream.failed else "")


def plain_line(numbers: PhaseNumbers) -> str:
    """A phase in one line, for logs."""
    get = numbers.streams[Stream.GET]
    answered = ", ".join(f"{cluster} {count}" for cluster, count in get.answered_by.items()) or "nobody"
    return (
        f"  {get.calls} GETs in {numbers.seconds:.1f} s, answered by {answered}; {get.failed} failed; "
        f"p50 {milliseconds(get.p50)}, p99 {milliseconds(get.p99)}, worst {milliseconds(get.worst)}; "
        f"callers noticed: {noticed(numbers)}"
    )


class PlainNarrator:
    """Lines, one when a phase begins and one when it ends."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def began(self, phase: Phase) -> None:
        self._console.print(f"{phase.title}: {phase.words}", highlight=False, soft_wrap=True)

    def ended(self, numbers: PhaseNumbers) -> None:
        self._console.print(plain_line(numbers), highlight=False, soft_wrap=True)


class LiveNarrator:
    """A table on a terminal, drawn anew at every ``refresh``; nothing is drawn from another thread."""

    def __init__(self, console: Console, recorder: Recorder) -> None:
        self._recorder = recorder
        self._words = Text("")
        self.live = Live(console=console, auto_refresh=False, transient=True)

    def began(self, phase: Phase) -> None:
        self._words = Text.assemble((f"▶ {phase.title}: ", "bold yellow"), phase.words)
        self.refresh()

    def ended(self, numbers: PhaseNumbers) -> None:
        self._words = Text(f"✓ {numbers.phase.title}", style="green")
        self.refresh()

    def refresh(self) -> None:
        """Draw the numbers as they are now."""
        self.live.update(Group(phase_table(self._recorder.numbers()), self._words), refresh=True)
