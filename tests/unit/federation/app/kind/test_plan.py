"""The steps of a clusterset, and what each waits for."""

from __future__ import annotations

from federation.app.kind.plan import TITLES, Deed, Step, StepId, plan_steps
from federation.app.kind.topology import load_topology
from support.fake_kind import CONFIGS

STEPS = plan_steps(load_topology(CONFIGS))
BY_ID = {step.id: step for step in STEPS}


def before(step: StepId) -> set[StepId]:
    """All that a step waits for, at any distance."""
    near = BY_ID[step].after
    return set(near).union(*(before(one) for one in near))


def test_each_step_is_there_once_behind_what_it_waits_for() -> None:
    """So that it can be carried out in this order, one by one."""
    seen: set[StepId] = set()
    for step in STEPS:
        assert step.after <= seen, step
        seen.add(step.id)
    assert len(seen) == len(STEPS)
    assert {step.id.deed for step in STEPS} == set(Deed) == set(TITLES)


def test_what_must_not_be_too_early() -> None:
    """Nobody joins before the authority runs, nothing is installed without its image, all is there before the call."""
    for name in ("west", "north"):
        assert {StepId(Deed.AUTHORITY, "east"), StepId(Deed.LOAD, name), StepId(Deed.INSTALL, name)} <= before(
            StepId(Deed.JOIN, name)
        )
    assert StepId(Deed.EXCHANGE, "east") in before(StepId(Deed.FOUND, "east"))
    assert before(StepId(Deed.CALL)) == {step.id for step in STEPS} - {StepId(Deed.CALL)}


def test_clusters_are_made_side_by_side() -> None:
    """No cluster waits for another one to be created, nor for the image."""
    for name in ("east", "west", "north"):
        assert before(StepId(Deed.CLUSTER, name)) == {StepId(Deed.HOST)}


def test_one_cluster_alone_has_nobody_to_call() -> None:
    """The sample needs two."""
    steps: tuple[Step, ...] = plan_steps(load_topology(CONFIGS).only(["east"]))
    assert [step.id for step in steps if step.id.deed is Deed.CALL] == []
    assert str(steps[-1].id) == "east: sample"
