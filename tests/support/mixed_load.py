"""An open load of several protocols at once, by callers that can be paused one by one: HTTP/1.1 (GET and POST), gRPC
(single calls and streams) and TCP connections with a TLS handshake each.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import AsyncIterator, Coroutine, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import aiohttp
import grpc.aio

from support.apps import STREAM, UNARY
from support.load import echoed_by

GIVE_UP_SECONDS = 30.0
STREAM_WORDS = 5
_WORD_SECONDS = 0.2


@dataclass
class Tally:
    """What became of the calls of one kind."""

    answers: Counter[str] = field(default_factory=Counter)
    """By the application that answered."""
    failures: list[str] = field(default_factory=list)

    @property
    def calls(self) -> int:
        return self.answers.total() + len(self.failures)


@dataclass(frozen=True)
class Ports:
    """The local ports of a caller that lead to one service."""

    http: int
    grpc: int
    tcp: int


class Caller:
    """An application beside a sidecar: it calls the services at their local ports."""

    def __init__(self, host: str, services: Mapping[str, Ports], rate: float) -> None:
        """``rate``: calls of all kinds per second, in turns among the services."""
        self.host = host
        self._services = tuple(services.values())
        self._rate = rate
        self._going = asyncio.Event()
        self._open: set[asyncio.Task[None]] = set()
        self.tallies: dict[str, Tally] = {}

    async def pause(self) -> None:
        """No more calls; returns when all are answered."""
        self._going.clear()
        while self._open:
            await asyncio.wait(self._open)

    def go_on(self) -> None:
        self._going.set()

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        kinds = {"GET": 8, "POST": 8, "gRPC": 4, "gRPC stream": 1, "TCP": 3}
        turns = itertools.cycle([kind for kind, count in kinds.items() for _ in range(count)])
        services = itertools.cycle(self._services)
        while True:
            await self._going.wait()
            connector = aiohttp.TCPConnector(limit=0)
            timeout = aiohttp.ClientTimeout(total=GIVE_UP_SECONDS)
            # Made anew after each pause, as an application that starts again would.
            async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
                channels = {
                    ports.grpc: grpc.aio.insecure_channel(f"{self.host}:{ports.grpc}") for ports in self._services
                }
                due = loop.time()
                while self._going.is_set():
                    kind, ports = next(turns), next(services)
                    self._begin(kind, self._call(kind, ports, session, channels[ports.grpc]))
                    due += 1 / self._rate
                    await asyncio.sleep(max(due - loop.time(), 0))
                while self._open:
                    await asyncio.wait(self._open)
                for channel in channels.values():
                    await channel.close()

    def _begin(self, kind: str, call: Coroutine[None, None, str]) -> None:
        tally = self.tallies.setdefault(kind, Tally())

        async def counted() -> None:
            try:
                async with asyncio.timeout(GIVE_UP_SECONDS):
                    tally.answers[await call] += 1
            except (aiohttp.ClientError, grpc.aio.AioRpcError, OSError, TimeoutError, ValueError) as error:
                tally.failures.append(f"{kind} by {self.host}: {error!r}"[:300])

        task = asyncio.create_task(counted())
        self._open.add(task)
        task.add_done_callback(self._open.discard)

    async def _call(self, kind: str, ports: Ports, session: aiohttp.ClientSession, channel: grpc.aio.Channel) -> str:
        match kind:
            case "GET" | "POST":
                url = f"http://{self.host}:{ports.http}/"
                async with session.request(kind, url, data=b"body" if kind == "POST" else None) as response:
                    if response.status != 200:
                        raise ValueError(f"{response.status} {(await response.text())[:100]}")
                    return str((await response.json())["app"])
            case "gRPC":
                answer = await channel.unary_unary(UNARY)(b"word")
                return str(answer.decode().partition(": ")[0])
            case "gRPC stream":
                call = channel.stream_stream(STREAM)()
                name = ""
                for _ in range(STREAM_WORDS):
                    await call.write(b"word")
                    name = (await call.read()).decode().partition(": ")[0]
                    await asyncio.sleep(_WORD_SECONDS)
                await call.done_writing()
                if await call.read() is not grpc.aio.EOF:
                    raise ValueError("a stream went on")
                return name
            case _:
                return await echoed_by(self.host, ports.tcp)


@asynccontextmanager
async def mixed_load(callers: Mapping[str, Caller]) -> AsyncIterator[None]:
    """All callers call while the context lasts; at its end all answers are awaited."""
    async with asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(caller.run()) for caller in callers.values()]
        for caller in callers.values():
            caller.go_on()
        try:
            yield
        finally:
            for caller in callers.values():
                await caller.pause()
            for task in running:
                task.cancel()


def failures(callers: Mapping[str, Caller]) -> list[str]:
    return [one for caller in callers.values() for tally in caller.tallies.values() for one in tally.failures]


def answered(callers: Mapping[str, Caller]) -> Counter[str]:
    """Answers by application, of all callers and kinds."""
    return sum((tally.answers for caller in callers.values() for tally in caller.tallies.values()), Counter[str]())


async def answers_reach(callers: Mapping[str, Caller], count: int, seconds: float = 60.0) -> None:
    """Wait until so many more calls than now have ended."""

    def ended() -> int:
        return sum(tally.calls for caller in callers.values() for tally in caller.tallies.values())

    wanted = ended() + count
    async with asyncio.timeout(seconds):
        while ended() < wanted:
            await asyncio.sleep(0.05)


def report(what: str, callers: Mapping[str, Caller]) -> None:
    """Say what was measured (pytest -s shows it)."""
    kinds: dict[str, list[int]] = {}
    for caller in callers.values():
        for kind, tally in caller.tallies.items():
            calls, failed = kinds.setdefault(kind, [0, 0])
            kinds[kind] = [calls + tally.calls, failed + len(tally.failures)]
    total, failed = (sum(numbers[index] for numbers in kinds.values()) for index in (0, 1))
    print(f"{what}: {failed} of {total} calls failed; by kind (calls, failed): {kinds}")
