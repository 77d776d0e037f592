"""Recorder: takes what the caller's process reports and keeps it by phase. It judges nothing and draws nothing."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable

import msgspec

from federation.demo.calls import Call
from federation.demo.phases import Phase, PhaseNumbers, PhaseRecord


class Recorder:
    """A call belongs to the phase in which it ended: that is when its caller noticed."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._finished: list[PhaseNumbers] = []
        self._counted = False
        self.current: PhaseRecord | None = None

    def add(self, call: Call) -> None:
        """Count a call; one that ends between phases is dropped."""
        if self.current is not None:
            self.current.calls.append(call)

    def warm_up(self, phase: Phase) -> PhaseRecord:
        """Begin a phase that will not be among the numbers."""
        self.current = PhaseRecord(phase, began=self._clock())
        self._counted = False
        return self.current

    def begin(self, phase: Phase) -> PhaseRecord:
        """Begin a phase; the one before ends at the same moment, so that no call falls between."""
        self.end()
        self.current = PhaseRecord(phase, began=self._clock())
        self._counted = True
        return self.current

    def end(self) -> None:
        """End the current phase, if there is one."""
        if self.current is not None and self._counted:
            self._finished.append(self.current.numbers(self._clock()))
        self.current = None

    def strike(self) -> None:
        """Note that the current phase's fault begins."""
        if self.current is not None:
            self.current.struck_at = self._clock()

    def fault_done(self) -> None:
        """Note that the current phase's fault is complete."""
        if self.current is not None:
            self.current.fault_done_at = self._clock()

    @property
    def elapsed(self) -> float:
        """Seconds since the current phase began; 0 where there is none."""
        return 0.0 if self.current is None else self._clock() - self.current.began

    def numbers(self) -> tuple[PhaseNumbers, ...]:
        """Every phase up to now, the current one as far as it has come."""
        going_on = () if self.current is None or not self._counted else (self.current.numbers(self._clock()),)
        return (*self._finished, *going_on)


async def read_calls(descriptor: int, add: Callable[[Call], None]) -> None:
    """Read the caller's lines from a pipe until it is closed; the descriptor is closed too."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    decoder = msgspec.json.Decoder(Call)
    pipe = os.fdopen(descriptor, "rb", buffering=0)
    transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), pipe)
    try:
        # A caller that is killed leaves half a line.
        while (line := await reader.readline()).endswith(b"\n"):
            add(decoder.decode(line))
    finally:
        transport.close()
