"""A steady, open load of HTTP GETs: calls leave on schedule, whether or not earlier ones were answered."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import aiohttp

# Far longer than any answer may take: it only keeps a lost call from being awaited for ever.
_GIVE_UP_SECONDS = 20.0


@dataclass(slots=True)
class Outcome:
    """What became of the calls to one target."""

    answers: Counter[str] = field(default_factory=Counter)
    """By the application that answered."""
    failures: list[str] = field(default_factory=list)

    @property
    def calls(self) -> int:
        return self.answers.total() + len(self.failures)

    def answered_by(self, cluster: str) -> int:
        """Answers of the applications whose name begins with the cluster's."""
        return sum(count for name, count in self.answers.items() if name.startswith(cluster))


@asynccontextmanager
async def steady_load(targets: Mapping[str, float]) -> AsyncIterator[dict[str, Outcome]]:
    """Call each URL at its rate (calls per second) while the context lasts, and await all answers at its end."""
    outcomes = {url: Outcome() for url in targets}
    timeout = aiohttp.ClientTimeout(total=_GIVE_UP_SECONDS)
    connector = aiohttp.TCPConnector(limit=0, force_close=False)
    stopping = asyncio.Event()
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session, asyncio.TaskGroup() as tasks:

        async def call(url: str) -> None:
            outcome = outcomes[url]
            try:
                async with session.get(url) as response:
                    text = await response.text()
                if response.status == 200:
                    outcome.answers[json.loads(text)["app"]] += 1
                else:
                    outcome.failures.append(f"{response.status} {text[:100]}")
            except (aiohttp.ClientError, OSError, TimeoutError) as error:
                outcome.failures.append(repr(error)[:200])

        async def generate(url: str, rate: float) -> None:
            loop = asyncio.get_running_loop()
            due = loop.time()
            while not stopping.is_set():
                tasks.create_task(call(url))
                due += 1 / rate
                await asyncio.sleep(max(due - loop.time(), 0))

        for url, rate in targets.items():
            tasks.create_task(generate(url, rate))
        try:
            yield outcomes
        finally:
            stopping.set()


async def calls_reach(outcome: Outcome, count: int, seconds: float = 30.0) -> None:
    """Wait until ``count`` more calls than now have ended."""
    wanted = outcome.calls + count
    async with asyncio.timeout(seconds):
        while outcome.calls < wanted:
            await asyncio.sleep(0.05)
