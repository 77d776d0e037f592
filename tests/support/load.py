"""A steady, open load, of HTTP GETs or of TCP connections: calls leave on schedule, whether or not earlier ones were
answered.
"""

from __future__ import annotations

import asyncio
import json
import math
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import aiohttp

from federation.model.addresses import HostPort

# Far longer than any answer may take: it only keeps a lost call from being awaited for ever.
_GIVE_UP_SECONDS = 20.0


@dataclass(slots=True)
class Outcome:
    """What became of the calls to one target."""

    answers: Counter[str] = field(default_factory=Counter)
    """By the application that answered."""
    failures: list[str] = field(default_factory=list)
    failed_at: list[float] = field(default_factory=list)
    """When each of the failures was noticed, by the event loop's clock."""
    answered: list[tuple[float, float]] = field(default_factory=list)
    """Of each answer to an HTTP call: when it was called, by the event loop's clock, and how long it took."""

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
            called_at = asyncio.get_running_loop().time()
            try:
                async with session.get(url) as response:
                    text = await response.text()
                if response.status == 200:
                    outcome.answered.append((called_at, asyncio.get_running_loop().time() - called_at))
                    outcome.answers[json.loads(text)["app"]] += 1
                    return
                failure = f"{response.status} {text[:100]}"
            except (aiohttp.ClientError, OSError, TimeoutError) as error:
                failure = repr(error)[:200]
            outcome.failures.append(failure)
            outcome.failed_at.append(asyncio.get_running_loop().time())

        for url, rate in targets.items():
            tasks.create_task(_generate(tasks, lambda url=url: call(url), rate, stopping))
        try:
            yield outcomes
        finally:
            stopping.set()


@asynccontextmanager
async def steady_connections(targets: Mapping[HostPort, float]) -> AsyncIterator[dict[str, Outcome]]:
    """Open a TCP connection to each ``support.apps`` echo at its rate (per second), and await all words at the end.

    Unlike HTTP calls, which share connections, each has a TLS handshake of its own between the sidecars.
    """
    outcomes = {str(target): Outcome() for target in targets}
    stopping = asyncio.Event()
    async with asyncio.TaskGroup() as tasks:

        async def connect(target: HostPort) -> None:
            outcome = outcomes[str(target)]
            try:
                async with asyncio.timeout(_GIVE_UP_SECONDS):
                    outcome.answers[await echoed_by(target.host, target.port)] += 1
                return
            except ValueError as error:
                failure = str(error)
            except (OSError, TimeoutError) as error:
                failure = repr(error)[:200]
            outcome.failures.append(failure)
            outcome.failed_at.append(asyncio.get_running_loop().time())

        for target, rate in targets.items():
            tasks.create_task(_generate(tasks, lambda target=target: connect(target), rate, stopping))
        try:
            yield outcomes
        finally:
            stopping.set()


async def echoed_by(host: str, port: int) -> str:
    """The name of the ``support.apps`` echo that a TCP connection of its own ends at; raises ValueError for another
    answer."""
    reader, writer = await asyncio.open_connection(host, port)
    try:
        writer.write(b"word")
        writer.write_eof()
        text = (await reader.read()).decode()
    finally:
        writer.transport.abort()
    if not text.startswith("word|"):
        raise ValueError(f"answer {text!r}")
    return text.removeprefix("word|").partition(" ")[0]


async def _generate(
    tasks: asyncio.TaskGroup, call: Callable[[], Coroutine[None, None, None]], rate: float, stopping: asyncio.Event
) -> None:
    loop = asyncio.get_running_loop()
    due = loop.time()
    while not stopping.is_set():
        tasks.create_task(call())
        due += 1 / rate
        await asyncio.sleep(max(due - loop.time(), 0))


async def calls_reach(outcome: Outcome, count: int, seconds: float = 30.0) -> None:
    """Wait until ``count`` more calls than now have ended."""
    wanted = outcome.calls + count
    async with asyncio.timeout(seconds):
        while outcome.calls < wanted:
            await asyncio.sleep(0.05)


async def all_calls_reach(outcomes: Mapping[str, Outcome], count: int, seconds: float) -> None:
    """Wait until ``count`` more calls than now have ended, of all targets together."""
    wanted = ended(outcomes) + count
    async with asyncio.timeout(seconds):
        while ended(outcomes) < wanted:
            await asyncio.sleep(0.05)


async def until(condition: Callable[[], object], what: str, seconds: float = 40.0) -> None:
    """Await a condition without holding up the load; an OSError or a ValueError counts as "not yet"."""
    reason = "it does not hold"
    try:
        async with asyncio.timeout(seconds):
            while True:
                try:
                    if await asyncio.to_thread(condition):
                        return
                    reason = "it does not hold"
                except (OSError, ValueError) as error:
                    reason = repr(error)
                await asyncio.sleep(0.05)
    except TimeoutError:
        raise AssertionError(f"{what}: not within {seconds:g} s ({reason})") from None


def failures(outcomes: Mapping[str, Outcome]) -> dict[str, list[str]]:
    """The first failures of each target that has any."""
    return {url: outcome.failures[:5] for url, outcome in outcomes.items() if outcome.failures}


def failing_seconds(outcomes: Mapping[str, Outcome], since: float) -> int:
    """In how many of the seconds since ``since`` (the event loop's clock) any call of any target failed."""
    return len({int(at - since) for outcome in outcomes.values() for at in outcome.failed_at if at >= since})


def percentile(outcome: Outcome, share: float, since: float = 0.0, before: float = math.inf) -> float:
    """How many seconds so much of the answered calls took at most that were made between two times."""
    took = sorted(seconds for called_at, seconds in outcome.answered if since <= called_at < before)
    return took[min(int(len(took) * share), len(took) - 1)]


def failed_share(outcomes: Mapping[str, Outcome], since: float, calls: int) -> float:
    """The failures since ``since``, of all calls but the first ``calls``."""
    failed = sum(at >= since for outcome in outcomes.values() for at in outcome.failed_at)
    return failed / max(1, ended(outcomes) - calls)


def ended(outcomes: Mapping[str, Outcome]) -> int:
    """All calls that have ended."""
    return sum(outcome.calls for outcome in outcomes.values())


def report(what: str, outcomes: Mapping[str, Outcome]) -> None:
    """Say what was measured (pytest -s shows it)."""
    failed = sum(len(outcome.failures) for outcome in outcomes.values())
    print(f"{what}: {failed} of {ended(outcomes)} calls failed")
    for url, outcome in outcomes.items():
        if outcome.answered:
            print("  p50, p99, longest:", [round(percentile(outcome, share), 3) for share in (0.5, 0.99, 1.0)], "s")
        print(f"  {url} {len(outcome.failures)} of {outcome.calls} failed; {dict(sorted(outcome.answers.items()))}")
