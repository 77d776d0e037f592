"""Going to the exchange and looking: what each step sees, with servers that are none and connections that are fakes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest

from federation.app.exchange_checks import Sight, Stage
from federation.app.exchange_sight import ask_time, is_local, read_peers, see_servers, try_rights
from federation.exchange.connection import ExchangeAccess, ExchangeConnection
from federation.model.errors import ExchangeUnavailableError
from federation.model.exchange_address import parse_exchange_address
from federation.model.names import ClusterId
from support.exchange import member_of

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def access(url: str, ca_file: Path | None = None) -> ExchangeAccess:
    return ExchangeAccess(parse_exchange_address(url), ca_file)


async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.close()


@asynccontextmanager
async def listening(act: Callable[..., Any] = hang_up) -> AsyncIterator[int]:
    server = await asyncio.start_server(act, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


@pytest.mark.parametrize(
    ("url", "local"),
    [
        ("redis://127.0.0.1", True),
        ("redis://[::1]:6379", True),
        ("rediss://localhost", True),
        ("unix:///run/redis.sock", True),
        ("redis://10.0.0.1", False),
        ("redis://redis.example", False),
        ("redis+cluster://127.0.0.1,10.0.0.1", False),
    ],
)
def test_a_url_says_whether_the_exchange_is_here(url: str, local: bool) -> None:
    """All of its servers must be."""
    assert is_local(parse_exchange_address(url)) is local


async def test_every_server_of_the_url_is_gone_to() -> None:
    """One that takes connections, and one port that nobody listens on."""
    async with listening() as gone:
        pass
    async with listening() as port:
        one, other = await see_servers(access(f"redis+cluster://127.0.0.1:{port},127.0.0.1:{gone}"))
    assert one == Sight(f"127.0.0.1:{port}", Stage.THERE)
    assert (other.stage, "nothing listens there" in other.message) == (Stage.CONNECTION, True)
    assert await see_servers(access("unix:///run/redis.sock")) == ()


async def test_a_name_that_does_not_resolve_is_told() -> None:
    """By the step, and in words."""
    (sight,) = await see_servers(access("redis://redis.invalid"))
    assert (sight.stage, "host name does not resolve" in sight.message) == (Stage.NAME, True)


async def test_a_server_without_tls_is_told(tmp_path: Path) -> None:
    """And a CA file that is none, before anything is sent."""
    async with listening() as port:
        (plain,) = await see_servers(access(f"rediss://127.0.0.1:{port}"))
        (unusable,) = await see_servers(access(f"rediss://127.0.0.1:{port}", tmp_path / "none.pem"))
    assert (plain.stage, bool(plain.message)) == (Stage.TLS, True)
    assert (unusable.stage, unusable.fix) == (Stage.TLS, "exchange.caFile names it")


class Fake:
    """Answers TIME, and denies what it is told to."""

    def __init__(self, *denied: str) -> None:
        self.denied = denied
        self.sent: list[tuple[object, ...]] = []

    async def command(self, key: str, *command: object) -> None:
        self.sent.append(command)
        if command[0] in self.denied:
            raise ExchangeUnavailableError(f"forbids {command[0]}", hint="set the rules")

    async def time(self, key: str) -> datetime:
        await self.command(key, "TIME")
        return NOW + timedelta(seconds=0.5)

    async def rehearse(self, key: str, *commands: tuple[object, ...]) -> None:
        for command in commands:
            await self.command(key, *command)

    @asynccontextmanager
    async def subscription(self, channel: str) -> AsyncIterator[None]:
        await self.command(channel, "SUBSCRIBE", channel)
        yield


async def test_the_time_is_asked_several_times() -> None:
    """The first one, which includes the way in, does not count."""
    fake = Fake()
    samples = await ask_time(cast(ExchangeConnection, fake), "test", lambda: NOW)
    assert (len(fake.sent), len(samples)) == (4, 3)
    assert {(sample.sent, sample.told) for sample in samples} == {(NOW, NOW + timedelta(seconds=0.5))}


async def test_rights_are_tried_without_a_trace() -> None:
    """Writes are judged, and not carried out; reads are of one byte, or one entry."""
    fake = Fake("PUBLISH", "SUBSCRIBE")
    denials = await try_rights(cast(ExchangeConnection, fake), "test", ClusterId("east"), ClusterId("west"))
    assert [(denial.what, denial.message, denial.fix) for denial in denials] == [
        ("hear others", "forbids SUBSCRIBE", "set the rules"),
        ("write its own records and send on its own channel", "forbids PUBLISH", "set the rules"),
    ]
    assert sorted(" ".join(map(str, command)) for command in fake.sent) == [
        "DEL fg:test:{east}:snap:0",
        "GETRANGE fg:test:roster 0 0",
        "GETRANGE fg:test:{west}:man 0 0",
        "PUBLISH fg:test:{east}:n ",
        "SET fg:test:{east}:man ",
        "SUBSCRIBE fg:test:{west}:n",
        "XADD fg:test:{east}:log * b ",
        "XRANGE fg:test:{west}:log - + COUNT 1",
    ]


async def test_peers_that_can_not_be_read_are_left_out() -> None:
    """An exchange that has gone is no error here: its own line has told it."""
    async with listening() as gone:
        pass
    assert await read_peers(access(f"redis://127.0.0.1:{gone}"), "test", [member_of("west")]) == {}
