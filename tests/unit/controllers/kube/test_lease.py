"""The election where requests hang or their answers are lost: by clients that answer in an API server's place."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any

from controllers.kube.client import KubeError
from controllers.kube.lease import LeaseElection
from support.builders import CREATED
from support.virtual_time import run_virtually


class OneLease:
    """An API server with one Lease and no network; ``broken`` says what becomes of writes."""

    def __init__(self) -> None:
        self.stored: dict[str, Any] | None = None
        self.broken = ""
        self.asked: list[str] = []

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[OneLease]:
        if self.broken == "closed":
            await asyncio.Event().wait()
        yield self

    async def get(self, path: str, query: Mapping[str, str], *, timeout_seconds: float) -> dict[str, Any]:
        self.asked.append("get")
        if self.stored is None:
            raise KubeError("not found", status=404)
        return self.stored

    async def create(self, document: Any, *, timeout_seconds: float) -> Any:
        return await self._write("create", document, timeout_seconds)

    async def replace(self, document: Any, *, timeout_seconds: float) -> Any:
        return await self._write("replace", document, timeout_seconds)

    async def _write(self, verb: str, document: Any, timeout_seconds: float) -> Any:
        self.asked.append(verb)
        if self.broken == "unanswered":
            await asyncio.sleep(timeout_seconds)
            raise KubeError("no answer")
        named, there = (one["metadata"].get("resourceVersion") if one else None for one in (document, self.stored))
        if named != there:
            raise KubeError("conflict", status=409)
        self.stored = {**document, "metadata": {**document["metadata"], "resourceVersion": str(len(self.asked))}}
        if self.broken == "answer lost":
            await asyncio.sleep(timeout_seconds)
            raise KubeError("no answer")
        return self.stored


class Elected:
    """A replica on the loop's own time, and when it began or ceased to lead."""

    def __init__(self, api: OneLease, name: str = "a") -> None:
        self.loop = asyncio.get_running_loop()
        self.began = self.loop.time()
        self.changes: list[tuple[float, bool]] = []
        self.election = LeaseElection(
            api.opened, "n", "n", name, monotonic=self.loop.time, now=lambda: CREATED, on_change=self._changed
        )
        self.task = self.loop.create_task(self.election.run())

    def _changed(self) -> None:
        self.changes.append((round(self.loop.time() - self.began, 3), self.election.leading))

    async def end(self) -> None:
        self.task.cancel()
        with suppress(asyncio.CancelledError):
            await self.task


def test_a_leader_that_is_not_answered_ceases_to_the_second() -> None:
    """Ten seconds after it asked for the last renewal that it got, though all its requests hang."""

    async def main() -> None:
        api = OneLease()
        one = Elected(api)
        await asyncio.sleep(5)
        api.broken = "unanswered"
        await asyncio.sleep(20)

        assert one.changes == [(0.0, True), (14.0, False)]
        assert one.election.problems[0].reason == "LeaseUnavailable"
        await one.end()

    run_virtually(main())


def test_a_client_that_never_opens_does_not_keep_the_leader() -> None:
    """The loop hangs, its time ends all the same, and that is told."""

    async def main() -> None:
        api = OneLease()
        one = Elected(api)
        await asyncio.sleep(5)
        api.broken = "closed"
        api.get = api.replace = _refuse  # type: ignore[assignment,method-assign]
        await asyncio.sleep(20)

        assert one.changes == [(0.0, True), (14.0, False)]
        await one.end()

    run_virtually(main())


async def _refuse(*_: Any, **__: Any) -> Any:
    raise KubeError("gone away")


def test_an_answer_that_was_lost_is_read_from_the_lease() -> None:
    """It was won, but who does not know since when must renew it first."""

    async def main() -> None:
        api = OneLease()
        api.broken = "answer lost"
        one = Elected(api)
        await asyncio.sleep(1)
        held, led = bool(api.stored), one.election.leading
        api.broken = ""
        await asyncio.sleep(10)

        assert (held, led) == (True, False)
        assert [leads for _, leads in one.changes] == [True]
        assert api.asked[:4] == ["get", "create", "get", "replace"]
        await one.end()

    run_virtually(main())


def test_who_ends_in_the_middle_of_a_write_gives_back_what_it_won() -> None:
    """Nobody knows whether it was made: the lease is read, and given back if it says so."""

    async def main() -> None:
        api = OneLease()
        api.broken = "answer lost"
        one = Elected(api)
        await asyncio.sleep(1)
        api.broken = ""
        await one.end()

        assert api.stored is not None
        assert api.stored["spec"]["holderIdentity"] == ""
        assert api.asked == ["get", "create", "get", "replace"]

    run_virtually(main())


def test_who_never_led_leaves_without_a_word() -> None:
    """Its end is nobody's business, and takes no time."""

    async def main() -> None:
        api = OneLease()
        leader, other = Elected(api), Elected(api, "b")
        await asyncio.sleep(5)
        asked = len(api.asked)
        await other.end()

        assert len(api.asked) == asked
        assert other.changes == []
        await leader.end()
        assert leader.changes[-1][1] is False

    run_virtually(main())
