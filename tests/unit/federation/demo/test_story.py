"""Story: its phases, and how each is played."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from federation.demo import story
from federation.demo.calls import Call, Stream
from federation.demo.phases import CLUSTER_DIES, HARMLESS, Phase, PhaseNumbers, PhaseRecord
from federation.demo.recording import Recorder
from federation.demo.sites import EU_WEST, US_EAST, US_WEST
from federation.demo.story import Chapter, chapters, tell
from federation.model.errors import FederationError


class Clock:
    """Time that moves on whenever it is looked at."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 0.5
        return self.now


class FakeStage:
    """Notes what is done to it."""

    def __init__(self, on_check: Callable[[], None] = lambda: None) -> None:
        self.done: list[str] = []
        self.sites = {US_EAST: None, US_WEST: None, EU_WEST: None}
        self.check = on_check

    def __getattr__(self, name: str) -> Callable[..., object]:
        async def act(*arguments: object) -> None:
            self.done.append(" ".join([name, *map(str, arguments)]))

        def act_at_once(*arguments: object) -> None:
            self.done.append(" ".join([name, *map(str, arguments)]))

        plain = name.startswith(("thaw", "start_controllers", "start_redis", "kill_redis"))
        return act_at_once if plain else act


class FakeNarrator:
    def __init__(self) -> None:
        self.told: list[str] = []

    def began(self, phase: Phase) -> None:
        self.told.append(f"began {phase.key}")

    def ended(self, numbers: PhaseNumbers) -> None:
        self.told.append(f"ended {numbers.phase.key}")


def test_without_chaos_there_is_only_the_beginning() -> None:
    """Nothing is broken without chaos; with it, the same beginning comes first."""
    (normal,) = chapters(chaos=False)
    assert (normal.phase.key, normal.act) == ("normal", None)
    assert chapters(chaos=True)[0] == normal


def test_only_dying_servers_may_cost_anything() -> None:
    """Redis, the controllers and the CA must cost no caller anything; a whole cluster at most one GET of a thousand."""
    rules = {chapter.phase.key: chapter.phase.rules for chapter in chapters(chaos=True)}
    for key in ("normal", "redis-killed", "controllers-killed", "all-back", "ca-rotated"):
        assert rules[key] == HARMLESS
    assert [key for key, found in rules.items() if found == CLUSTER_DIES] == ["cluster-killed"]


async def test_what_is_done_in_each_phase() -> None:
    """The faults are what their titles say, in this order."""
    done = {}
    for chapter in chapters(chaos=True):
        stage = FakeStage()
        if chapter.act is not None:
            await chapter.act(stage)  # type: ignore[arg-type]
        done[chapter.phase.key] = stage.done
    back = done.pop("all-back")
    assert done == {
        "normal": [],
        "local-killed": ["kill_pods us-east"],
        "local-back": ["replace_pods us-east"],
        "local-frozen": ["freeze_pods us-east"],
        "local-thawed": ["thaw_pods us-east"],
        "local-killed-again": ["kill_pods us-east"],
        "cluster-killed": ["kill_cluster us-west"],
        "redis-killed": ["kill_redis"],
        "controllers-killed": ["kill_controllers ('us-east', 'eu-west')"],
        "ca-rotated": ["rotate_ca us-east"],
    }
    assert back[0] == "start_redis"
    assert {"start_gateway us-west", "replace_pods us-west", "replace_pods us-east"} < set(back)


PHASES = [Phase(key, key, "", HARMLESS, {}, seconds=0.0) for key in ("first", "second")]


async def test_phases_are_played_in_order_and_told() -> None:
    """Each phase begins, has its fault, settles and ends; the fault is timed."""
    seen: list[PhaseRecord | None] = []
    recorder = Recorder(Clock())

    async def strike(_: object) -> None:
        assert recorder.current is not None
        assert recorder.current.struck_at is not None
        assert recorder.current.fault_done_at is None
        seen.append(recorder.current)

    narrator = FakeNarrator()
    story_told = (Chapter(PHASES[0]), Chapter(PHASES[1], strike))
    await tell(story_told, FakeStage(), recorder, narrator)  # type: ignore[arg-type]
    assert narrator.told == ["began first", "ended first", "began second", "ended second"]
    assert [record is not None and record.fault_done_at is not None for record in seen] == [True]
    assert [numbers.phase for numbers in recorder.numbers()] == PHASES


async def test_a_phase_that_does_not_settle_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the answers don't come from where they should, the story is broken off, naming the phase and the place."""
    monkeypatch.setattr(story, "SETTLE_SECONDS", 0.01)
    phase = Phase("first", "pods killed", "", HARMLESS, {Stream.GET: US_WEST}, seconds=0.0)
    with pytest.raises(FederationError, match="answers in phase 'pods killed': echo GET from us-west"):
        await tell((Chapter(phase),), FakeStage(), Recorder(Clock()), FakeNarrator())  # type: ignore[arg-type]


async def test_a_process_that_dies_unasked_ends_the_story() -> None:
    """Every phase ends with a look at the processes."""

    def died() -> None:
        raise FederationError("us-east-gateway ended with 1")

    with pytest.raises(FederationError, match="us-east-gateway ended"):
        await tell((Chapter(PHASES[0]),), FakeStage(died), Recorder(Clock()), FakeNarrator())  # type: ignore[arg-type]


async def test_the_load_warms_up_before_the_first_phase(monkeypatch: pytest.MonkeyPatch) -> None:
    """What fails before everything is connected is not counted."""
    monkeypatch.setattr(story, "SETTLE_SECONDS", 0.01)
    recorder = Recorder(Clock())
    recorder.add(Call(Stream.GET, 0, 0.1, error="refused"))
    with pytest.raises(FederationError, match="the first calls across clusters"):
        await story.warm_up(recorder)
    assert recorder.numbers() == ()
