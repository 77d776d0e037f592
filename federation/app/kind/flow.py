"""Carries out steps, each as soon as what it waits for is true, side by side.

A step is looked at first and done only where it is not true yet, so that a run which was cut off goes on where it
stopped. When one fails, those under way end and no other begins; with ``keep_going`` only those stay undone that wait
for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from federation.app.kind.plan import TITLES, Step, StepId
from federation.model.errors import FederationError

Tell = Callable[[str], None]


class Outcome(StrEnum):
    """What became of a step."""

    THERE = "there"
    """It was true already."""
    DONE = "done"
    FAILED = "failed"
    LEFT = "left"
    """Another one failed."""


@dataclass(frozen=True, slots=True)
class Result:
    """What became of one step."""

    step: StepId
    outcome: Outcome
    error: FederationError | None = None

    @property
    def good(self) -> bool:
        return self.outcome in {Outcome.THERE, Outcome.DONE}


class Doer(Protocol):
    """Who looks and does."""

    async def is_true(self, step: StepId) -> bool:
        """Whether there is nothing to do; raises FederationError where that can't be told."""
        ...

    async def make_true(self, step: StepId) -> None:
        """Raises FederationError where it fails."""
        ...


async def carry_out(steps: Sequence[Step], doer: Doer, tell: Tell, *, keep_going: bool) -> tuple[Result, ...]:
    """What became of each step, in their order."""
    flow = _Flow(doer, tell, keep_going=keep_going)
    async with asyncio.TaskGroup() as tasks:
        for step in steps:
            # A step waits for those before it alone, so their tasks are known.
            flow.tasks[step.id] = tasks.create_task(flow.carried_out(step))
    return tuple(flow.tasks[step.id].result() for step in steps)


class _Flow:
    def __init__(self, doer: Doer, tell: Tell, *, keep_going: bool) -> None:
        self.tasks: dict[StepId, asyncio.Task[Result]] = {}
        self._doer = doer
        self._tell = tell
        self._keep_going = keep_going
        self._failed = False

    async def carried_out(self, step: Step) -> Result:
        before = [await self.tasks[one] for one in sorted(step.after)]
        if not all(result.good for result in before) or (self._failed and not self._keep_going):
            return Result(step.id, Outcome.LEFT)
        try:
            if await self._doer.is_true(step.id):
                self._tell(f"{step.id}: there")
                return Result(step.id, Outcome.THERE)
            self._tell(f"{step.id}: {TITLES[step.id.deed]} …")
            await self._doer.make_true(step.id)
        except FederationError as error:
            self._failed = True
            self._tell(f"{step.id}: failed")
            return Result(step.id, Outcome.FAILED, error)
        self._tell(f"{step.id}: done")
        return Result(step.id, Outcome.DONE)
