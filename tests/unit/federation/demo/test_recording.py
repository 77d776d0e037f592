"""Recorder: calls by the phase in which they end."""

from __future__ import annotations

import asyncio
import os

import msgspec

from federation.demo.calls import Call, Stream
from federation.demo.phases import HARMLESS, Phase
from federation.demo.recording import Recorder, read_calls

FIRST = Phase("first", "first", "", HARMLESS, {}, seconds=1.0)
SECOND = Phase("second", "second", "", HARMLESS, {}, seconds=1.0)


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def get(due: float, ended: float) -> Call:
    return Call(Stream.GET, due, ended, "us-east")


def test_a_call_counts_where_it_ends() -> None:
    """Calls of the warm-up and between phases are dropped; the others belong to the phase that goes on."""
    clock = Clock()
    recorder = Recorder(clock)
    recorder.add(get(99, 100))
    recorder.warm_up(FIRST)
    recorder.add(get(99, 101))
    recorder.begin(FIRST)
    recorder.add(get(99, 102))
    clock.now = 104.0
    recorder.begin(SECOND)
    recorder.add(get(101, 105))
    recorder.add(get(104, 105))
    clock.now = 105.5
    recorder.end()
    recorder.add(get(105, 106))
    found = [(numbers.phase.key, numbers.calls, numbers.seconds) for numbers in recorder.numbers()]
    assert found == [("first", 1, 4.0), ("second", 2, 1.5)]


def test_the_current_phase_is_among_the_numbers() -> None:
    """While a phase goes on, its numbers up to now can be seen."""
    clock = Clock()
    recorder = Recorder(clock)
    recorder.warm_up(FIRST)
    assert recorder.numbers() == ()
    recorder.begin(FIRST)
    clock.now += 2.5
    assert (recorder.elapsed, [numbers.seconds for numbers in recorder.numbers()]) == (2.5, [2.5])


def test_the_fault_has_a_beginning_and_an_end() -> None:
    """When the fault strikes and when it is done is noted on the current phase."""
    clock = Clock()
    recorder = Recorder(clock)
    record = recorder.begin(FIRST)
    clock.now = 101.0
    recorder.strike()
    clock.now = 101.25
    recorder.fault_done()
    assert (record.struck_at, record.fault_done_at) == (101.0, 101.25)


async def test_lines_of_the_caller_are_read_to_the_end() -> None:
    """Every whole line becomes a call; half a line, of a caller that was killed, is left out."""
    ours, theirs = os.pipe()
    sent = [get(1.0, 2.0), Call(Stream.TCP, 3.0, 4.0, error="reset")]
    for call in sent:
        os.write(theirs, msgspec.json.encode(call) + b"\n")
    os.write(theirs, b'{"stream":')
    os.close(theirs)
    found: list[Call] = []
    async with asyncio.timeout(10):
        await read_calls(ours, found.append)
    assert found == sent
