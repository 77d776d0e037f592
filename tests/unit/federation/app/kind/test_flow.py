"""How steps are carried out: what begins when, and what is left after a failure."""

from __future__ import annotations

import asyncio

import pytest

from federation.app.kind.flow import Outcome, Result, carry_out
from federation.app.kind.plan import Deed, Step, StepId
from federation.model.errors import FederationError

A, B, C, D = (StepId(deed) for deed in (Deed.HOST, Deed.IMAGE, Deed.CLUSTER, Deed.CALL))
# B and C wait for A; D waits for both.
STEPS = (Step(A, frozenset()), Step(B, frozenset({A})), Step(C, frozenset({A})), Step(D, frozenset({B, C})))


class Doer:
    """Notes what is asked for. ``there`` is true already, ``broken`` fails, ``gates`` are awaited before."""

    def __init__(self, *, there: frozenset[StepId] = frozenset(), broken: frozenset[StepId] = frozenset()) -> None:
        self.begun: list[StepId] = []
        self.gates: dict[StepId, asyncio.Event] = {}
        self._there, self._broken = there, broken

    async def is_true(self, step: StepId) -> bool:
        return step in self._there

    async def make_true(self, step: StepId) -> None:
        self.begun.append(step)
        if step in self.gates:
            await self.gates[step].wait()
        if step in self._broken:
            raise FederationError(f"{step} is broken")


def found(results: tuple[Result, ...]) -> dict[StepId, Outcome]:
    return {result.step: result.outcome for result in results}


async def run(doer: Doer, *, keep_going: bool = False) -> dict[StepId, Outcome]:
    return found(await carry_out(STEPS, doer, lambda _: None, keep_going=keep_going))


async def test_steps_that_wait_for_nothing_of_each_other_run_side_by_side() -> None:
    """Both have begun before either has ended."""
    doer = Doer()
    doer.gates = {B: asyncio.Event(), C: asyncio.Event()}
    running = asyncio.ensure_future(run(doer))
    while len(doer.begun) < 3:
        await asyncio.sleep(0)
    assert doer.begun == [A, B, C]
    for gate in doer.gates.values():
        gate.set()
    assert set((await running).values()) == {Outcome.DONE}


async def test_what_is_true_is_not_done() -> None:
    """And counts as done for those that wait for it."""
    doer = Doer(there=frozenset({A, C}))
    assert await run(doer) == {A: Outcome.THERE, B: Outcome.DONE, C: Outcome.THERE, D: Outcome.DONE}
    assert doer.begun == [B, D]


@pytest.mark.parametrize("keep_going", [False, True])
async def test_after_a_failure(keep_going: bool) -> None:
    """What is under way ends; what has not begun is left, or with ``keep_going`` only what waits for it."""
    steps = (*STEPS, Step(StepId(Deed.DNS), frozenset({C})))
    doer = Doer(broken=frozenset({B}))
    doer.gates = {B: asyncio.Event(), C: asyncio.Event()}
    told: list[str] = []
    running = asyncio.ensure_future(carry_out(steps, doer, told.append, keep_going=keep_going))
    while len(doer.begun) < 3:
        await asyncio.sleep(0)
    doer.gates[B].set()
    while "image: failed" not in told:
        await asyncio.sleep(0)
    doer.gates[C].set()
    results = await running

    last = Outcome.DONE if keep_going else Outcome.LEFT
    assert list(found(results).values()) == [Outcome.DONE, Outcome.FAILED, Outcome.DONE, Outcome.LEFT, last]
    assert [str(result.error) for result in results if result.error] == ["image is broken"]


async def test_a_bug_is_not_an_outcome() -> None:
    """Only expected errors are; anything else ends the run."""

    class Broken(Doer):
        async def is_true(self, step: StepId) -> bool:
            raise KeyError(step)

    with pytest.raises(ExceptionGroup):
        await run(Broken())


async def test_progress_is_told() -> None:
    """A line when a step begins, and one when it ends."""
    told: list[str] = []
    await carry_out(STEPS, Doer(there=frozenset({A}), broken=frozenset({D})), told.append, keep_going=False)
    assert told[:2] == ["host: there", "image: build the image …"]
    assert told[-1] == "call: failed"
