"""The story: the phases in their order, and what is done to the stage in each. The plot of the demo, top to bottom."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

from federation.demo.calls import Stream
from federation.demo.phases import CLUSTER_DIES, ENDPOINTS_DIE, HARMLESS, Phase, PhaseNumbers
from federation.demo.processes import wait_until
from federation.demo.recording import Recorder
from federation.demo.sites import EU_WEST, US_EAST, US_WEST
from federation.demo.stage import Stage

SETTLE_SECONDS = 40.0
"""How long a phase may take until the answers come from where they should; a few seconds are usual."""


class Narrator(Protocol):
    """Tells the story to whoever watches."""

    def began(self, phase: Phase) -> None:
        """A phase begins; its fault comes next."""
        ...

    def ended(self, numbers: PhaseNumbers) -> None:
        """A phase is over."""
        ...


@dataclass(frozen=True, slots=True)
class Chapter:
    """A phase and what is done in it."""

    phase: Phase
    act: Callable[[Stage], Awaitable[None]] | None = None


_NORMAL = Chapter(
    Phase(
        "normal",
        "all is well",
        "us-east calls. Its own pods answer echo, eu-west billing (nobody else has it), us-west ledger (TCP).",
        HARMLESS,
        {
            Stream.GET: US_EAST,
            Stream.POST: US_EAST,
            Stream.SLOW: US_EAST,
            Stream.BILLING: EU_WEST,
            Stream.TCP: US_WEST,
        },
        seconds=4.0,
        calm=True,
    )
)


async def _kill_local_pods(stage: Stage) -> None:
    await stage.kill_pods(US_EAST)


async def _replace_local_pods(stage: Stage) -> None:
    await stage.replace_pods(US_EAST)


async def _freeze_local_pods(stage: Stage) -> None:
    await stage.freeze_pods(US_EAST)


async def _thaw_local_pods(stage: Stage) -> None:
    stage.thaw_pods(US_EAST)


async def _kill_us_west(stage: Stage) -> None:
    await stage.kill_cluster(US_WEST)


async def _kill_redis(stage: Stage) -> None:
    stage.kill_redis()


async def _kill_controllers(stage: Stage) -> None:
    await stage.kill_controllers((US_EAST, EU_WEST))


async def _bring_all_back(stage: Stage) -> None:
    stage.start_redis()
    stage.start_controllers(stage.sites)
    await asyncio.gather(
        stage.controllers_ready(stage.sites),
        stage.start_gateway(US_WEST),
        stage.replace_pods(US_EAST),
        stage.replace_pods(US_WEST),
    )


async def _rotate_ca(stage: Stage) -> None:
    await stage.rotate_ca(US_EAST)


_FAULTS = (
    Chapter(
        Phase(
            "local-killed",
            "local pods killed",
            "kill -9 of both echo pods of us-east, sidecars and all. us-west, in the same region, takes over.",
            ENDPOINTS_DIE,
            {Stream.GET: US_WEST, Stream.SLOW: US_WEST},
            seconds=4.0,
        ),
        _kill_local_pods,
    ),
    Chapter(
        Phase(
            "local-back",
            "local pods return",
            "New pods take their place, as a Deployment would have it. Calls come home to us-east.",
            HARMLESS,
            {Stream.GET: US_EAST},
            seconds=3.0,
        ),
        _replace_local_pods,
    ),
    Chapter(
        Phase(
            "local-frozen",
            "local pods frozen",
            "SIGSTOP of both echo pods: connections stay open and nothing answers, which is worse than dead.",
            ENDPOINTS_DIE,
            {Stream.GET: US_WEST, Stream.SLOW: US_WEST},
            seconds=4.0,
        ),
        _freeze_local_pods,
    ),
    Chapter(
        Phase(
            "local-thawed",
            "local pods thawed",
            "The pods go on as if nothing had been. Calls come home.",
            HARMLESS,
            {Stream.GET: US_EAST},
            seconds=2.0,
        ),
        _thaw_local_pods,
    ),
    Chapter(
        Phase(
            "local-killed-again",
            "local pods killed again",
            "kill -9 of us-east's echo pods once more, so that us-west carries all of it when the next blow falls.",
            ENDPOINTS_DIE,
            {Stream.GET: US_WEST},
            seconds=2.0,
        ),
        _kill_local_pods,
    ),
    Chapter(
        Phase(
            "cluster-killed",
            "us-west killed",
            "kill -9 of the whole cluster us-west: controller, gateway and pods at once. eu-west is what is left.",
            CLUSTER_DIES,
            {Stream.GET: EU_WEST, Stream.SLOW: EU_WEST, Stream.TCP: EU_WEST},
            seconds=5.0,
        ),
        _kill_us_west,
    ),
    Chapter(
        Phase(
            "redis-killed",
            "Redis killed",
            "kill -9 of Redis. Nobody calls through it: every cluster goes on with the last good picture.",
            HARMLESS,
            {Stream.GET: EU_WEST, Stream.TCP: EU_WEST},
            seconds=3.0,
        ),
        _kill_redis,
    ),
    Chapter(
        Phase(
            "controllers-killed",
            "controllers killed",
            "kill -9 of the controllers that are left. The Envoys go on with what they were told last.",
            HARMLESS,
            {Stream.GET: EU_WEST, Stream.TCP: EU_WEST},
            seconds=3.0,
        ),
        _kill_controllers,
    ),
    Chapter(
        Phase(
            "all-back",
            "everything returns",
            "Redis comes back empty, then the controllers, us-west, and new pods. Calls come home.",
            HARMLESS,
            {Stream.GET: US_EAST, Stream.BILLING: EU_WEST},
            seconds=3.0,
        ),
        _bring_all_back,
    ),
    Chapter(
        Phase(
            "ca-rotated",
            "us-east's CA rotates",
            "A new CA for us-east: first the peers learn it, then it signs, then every sidecar gets a new certificate.",
            HARMLESS,
            {Stream.GET: US_EAST, Stream.BILLING: EU_WEST, Stream.TCP: US_WEST},
            seconds=3.0,
        ),
        _rotate_ca,
    ),
)


def chapters(*, chaos: bool) -> tuple[Chapter, ...]:
    """The whole story, or only its beginning."""
    return (_NORMAL, *_FAULTS) if chaos else (_NORMAL,)


async def warm_up(recorder: Recorder) -> None:
    """Wait, with the load on, until every kind of call is answered from where it should be."""
    record = recorder.warm_up(_NORMAL.phase)
    await wait_until(record.settled, "the first calls across clusters", SETTLE_SECONDS)


async def tell(
    story: tuple[Chapter, ...], stage: Stage, recorder: Recorder, narrator: Narrator, *, scale: float = 1.0
) -> None:
    """Play the story, every phase until it has settled and lasted its time (multiplied by ``scale``).

    Raises FederationError where a phase does not settle; whether its rules were kept is for the verdict.
    """
    for chapter in story:
        phase = chapter.phase
        record = recorder.begin(phase)
        narrator.began(phase)
        if chapter.act is not None:
            recorder.strike()
            await chapter.act(stage)
            recorder.fault_done()
        wanted = ", ".join(f"{stream} from {cluster}" for stream, cluster in phase.answered_by.items())
        await wait_until(record.settled, f"answers in phase {phase.title!r}: {wanted}", SETTLE_SECONDS)
        await asyncio.sleep(max(0.0, phase.seconds * scale - recorder.elapsed))
        stage.check()
        recorder.end()
        narrator.ended(recorder.numbers()[-1])
