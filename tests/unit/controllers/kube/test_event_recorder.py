"""Sending of Events where the API server refuses, is away, or there are too many: by clients that answer for it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

from controllers.kube.client import KubeError
from controllers.kube.event_recorder import EventRecorder
from controllers.kube.events import Note
from controllers.mcs.objects import export_id
from federation.model.names import ServiceKey
from support.builders import CREATED
from support.virtual_time import run_virtually


class Answers:
    """An API server that takes Events, or does to them what ``fault`` raises."""

    def __init__(self) -> None:
        self.fault: KubeError | None = None
        self.taken: list[str] = []
        self.opened = 0

    @asynccontextmanager
    async def client(self) -> AsyncIterator[Answers]:
        self.opened += 1
        yield self

    async def apply(self, document: Any, subresource: str | None = None, *, timeout_seconds: float) -> Any:
        if self.fault is not None:
            raise self.fault
        self.taken.append(f"{document['involvedObject']['name']} {document['reason']} {document['count']}")
        return document


def note(name: str = "echo", type_: str = "Warning", reason: str = "NoService") -> Note:
    return Note(export_id(ServiceKey("demo", name)), "u1", "multicluster.x-k8s.io/v1beta1", type_, reason, "x")


def recorded(story: Callable[[Answers, EventRecorder], Any], *, leading: Callable[[], bool] = lambda: True) -> None:
    """Tell a story of a recorder that runs."""

    async def main() -> None:
        api = Answers()
        recorder = EventRecorder(api.client, lambda: CREATED, "pod-a", leading=leading)
        task = asyncio.get_running_loop().create_task(recorder.run())
        await story(api, recorder)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task

    run_virtually(main())


def test_warnings_go_first() -> None:
    """And in each type what was recorded first."""

    async def story(api: Answers, recorder: EventRecorder) -> None:
        for one in (note("a", "Normal"), note("b", "Normal"), note("c"), note("d"), note("c")):
            recorder.record(one)
        await asyncio.sleep(5)

        assert api.taken == ["c NoService 1", "d NoService 1", "c NoService 2", "a NoService 1", "b NoService 1"]
        assert (recorder.dropped, recorder.problems) == (0, ())

    recorded(story)


def test_what_is_too_much_is_dropped_and_counted() -> None:
    """Recording never waits; a flood of what is normal keeps no warning out, and few are sent in a second."""

    async def story(api: Answers, recorder: EventRecorder) -> None:
        for number in range(3000):
            recorder.record(note(f"n{number}", "Normal"))
        recorder.record(note("last"))
        await asyncio.sleep(1.0)
        second = len(api.taken)
        await asyncio.sleep(60.0)

        assert api.taken[0] == "last NoService 1"
        assert (second <= 21, len(api.taken), recorder.dropped) == (True, 101, 2900)
        recorder.record(note("later", "Normal"))
        await asyncio.sleep(1.0)
        assert api.taken[-1] == "later NoService 1"

    recorded(story)


def test_what_is_refused_is_dropped() -> None:
    """A namespace that is about to go, or an Event that is no good: the next one is sent all the same."""

    async def story(api: Answers, recorder: EventRecorder) -> None:
        for number, code in enumerate((404, 409, 422)):
            api.fault = KubeError("no", status=code)
            recorder.record(note(f"n{number}"))
            await asyncio.sleep(1)
        api.fault = KubeError("no", status=403, causes=(("NamespaceTerminating", "metadata.namespace"),))
        recorder.record(note("going"))
        await asyncio.sleep(1)
        api.fault = None
        recorder.record(note("last"))
        await asyncio.sleep(1)

        assert (api.taken, recorder.dropped, api.opened) == (["last NoService 1"], 4, 1)
        assert recorder.problems == ()

    recorded(story)


def test_a_right_that_is_missing_is_told() -> None:
    """With the rule that the role must have, until it is there."""

    async def story(api: Answers, recorder: EventRecorder) -> None:
        api.fault = KubeError("the API server refuses: forbidden", status=403)
        recorder.record(note("a"))
        await asyncio.sleep(1)
        told = [str(one) for one in recorder.problems]
        api.fault = None
        recorder.record(note("b"))
        await asyncio.sleep(1)

        rule = 'apiGroups: [""], resources: ["events"], verbs: [create, patch]'
        assert told == [
            f"Event: the API server refuses: forbidden; the role must have the rule {rule} (Forbidden)",
        ]
        assert recorder.problems == ()

    recorded(story)


def test_trouble_is_waited_out_with_another_client() -> None:
    """The note that met it is dropped, those that came meanwhile are sent."""

    async def story(api: Answers, recorder: EventRecorder) -> None:
        api.fault = KubeError("the token has expired", status=401)
        recorder.record(note("a"))
        await asyncio.sleep(1)
        api.fault = None
        recorder.record(note("b"))
        await asyncio.sleep(10)

        assert (api.taken, recorder.dropped, api.opened) == (["b NoService 1"], 1, 2)

    recorded(story)


def test_a_standby_tells_nothing() -> None:
    """What waited when the lead was lost is another's to tell."""
    lead = {"is": False}

    async def story(api: Answers, recorder: EventRecorder) -> None:
        recorder.record(note("a"))
        await asyncio.sleep(1)
        lead["is"] = True
        recorder.record(note("b"))
        await asyncio.sleep(1)

        assert api.taken == ["b NoService 1"]

    recorded(story, leading=lambda: lead["is"])
