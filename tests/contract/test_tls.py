"""A server with TLS and users, and a Unix socket: the session in full, and every way of not getting in, in words."""

from __future__ import annotations

import asyncio
import hashlib
import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import pytest

from federation.exchange.connection import ExchangeAccess
from federation.exchange.credentials import Credentials, load_credentials
from federation.exchange.redis_board import RedisBoard
from federation.exchange.secure_server import ExchangeServer
from federation.exchange.server import EmbeddedRedis, find_redis_server
from federation.exchange.users import RedisUsers
from federation.model.addresses import HostPort
from federation.model.errors import ExchangeUnavailableError
from federation.model.exchange_address import parse_exchange_address
from federation.model.names import ClusterId
from federation.storage.private_file import replace_private
from support.exchange import CLUSTERSET, by_key, endpoints, gateway, until
from support.exchange_site import site
from support.redis_deployments import make_tls
from support.redis_server import access_to, tls_program

EAST = ClusterId("east")
PASSWORD = "hunter2"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ExchangeServer]:
    """A server whose certificate is for localhost and 127.0.0.1, and not for 127.0.0.2, where it listens too."""
    running = ExchangeServer(
        tmp_path_factory.mktemp("exchange"),
        HostPort("0.0.0.0", 0),
        ["127.0.0.1", "localhost"],
        program=tls_program(),
        now=datetime.now(UTC),
    )
    running.start()
    yield running
    running.stop()


@pytest.fixture
async def access(server: ExchangeServer) -> ExchangeAccess:
    """Access of the member east."""
    admin = partial(load_credentials, server.admin_file)
    trusted = ExchangeAccess(parse_exchange_address(server.url), server.ca_file, admin)
    users = RedisUsers(trusted, CLUSTERSET)
    for name in ("east", "west"):
        await users.set_user(ClusterId(name), [hashlib.sha256(PASSWORD.encode()).hexdigest()])
    await users.aclose()
    return replace(trusted, credentials=lambda: Credentials("fg.test.east", PASSWORD))


async def refusal(access: ExchangeAccess, timeout_seconds: float = 10.0) -> ExchangeUnavailableError:
    """How a command and a subscription alike fail; never with the password."""
    board = RedisBoard(access, CLUSTERSET, timeout_seconds=timeout_seconds)
    try:
        with pytest.raises(ExchangeUnavailableError) as of_command:
            await board.read_roster()
        with pytest.raises(ExchangeUnavailableError) as of_watch:
            async with board.watch_roster():
                pass
    finally:
        await board.aclose()
    assert str(of_command.value) == str(of_watch.value)
    assert PASSWORD not in f"{of_command.value} {of_command.value.hint}"
    return of_command.value


async def test_members_meet_over_tls_under_their_own_users(access: ExchangeAccess, tmp_path: Path) -> None:
    """Sessions publish and follow, by address and by host name alike."""
    west = replace(
        access,
        address=parse_exchange_address(str(access.address).replace("127.0.0.1", "localhost")),
        credentials=lambda: Credentials("fg.test.west", PASSWORD),
    )
    async with site(access, "east", "west", tmp_path) as one, site(west, "west", "east", tmp_path) as other:
        for ready in (1, 2):
            wanted = by_key(endpoints("echo", ready), gateway())
            one.session.publish(wanted)
            await until(lambda: other.of("east") == wanted)  # noqa: B023
        assert dict(other.session.rejections) == {}


async def test_a_certificate_of_another_ca_is_refused(access: ExchangeAccess, tmp_path: Path) -> None:
    """Neither another pinned CA nor the system's trust lets our server's certificate pass."""
    other = make_tls(tmp_path / "other", tls_program()).ca_file
    for ca_file in (other, None):
        error = await refusal(replace(access, ca_file=ca_file))
        assert "certificate of a CA that is not trusted here" in str(error)
        assert "exchange.caFile" in error.hint


async def test_a_certificate_for_another_name_is_refused(access: ExchangeAccess) -> None:
    """The address that is called must be in the certificate, even where the server answers on it."""
    address = parse_exchange_address(str(access.address).replace("127.0.0.1", "127.0.0.2"))
    error = await refusal(replace(access, address=address))
    assert "certificate for another name" in str(error)
    assert "subjectAltName" in error.hint


async def test_an_expired_certificate_is_refused(tmp_path: Path) -> None:
    """The error says that it is time, not trust."""
    past = datetime(2020, 1, 1, tzinfo=UTC)
    server = ExchangeServer(tmp_path, HostPort("127.0.0.1", 0), ["127.0.0.1"], program=tls_program(), now=past)
    # Its own question whether it answers would be refused too.
    server._redis._tls.verify_mode = 0  # type: ignore[union-attr, assignment]
    server.start()
    try:
        error = await refusal(ExchangeAccess(parse_exchange_address(server.url), server.ca_file))
    finally:
        server.stop()
    assert "not valid now" in str(error)


async def test_wrong_credentials_are_refused(access: ExchangeAccess) -> None:
    """A wrong password, an unknown user and no user at all are each told."""
    wrong = await refusal(replace(access, credentials=lambda: Credentials("fg.test.east", "wrong")))
    unknown = await refusal(replace(access, credentials=lambda: Credentials("fg.test.nobody", PASSWORD)))
    nobody = await refusal(replace(access, credentials=None))
    assert "refused our user or password" in str(wrong)
    assert "refused our user or password" in str(unknown)
    assert "demands a user and a password" in str(nobody)
    assert "exchange.credentialsFile" in wrong.hint


async def test_a_credentials_file_is_read_for_every_connection(access: ExchangeAccess, tmp_path: Path) -> None:
    """A file that others may read is named with its remedy; once it is in order the same board gets in."""
    path = tmp_path / "credentials"
    path.write_text(f"fg.test.east:{PASSWORD}\n")
    path.chmod(0o644)
    fetched = replace(access, credentials=partial(load_credentials, path))
    error = await refusal(fetched)
    assert "mode is 0644" in str(error)
    assert "chmod 600" in error.hint
    board = RedisBoard(fetched, CLUSTERSET)
    replace_private(path, b"fg.test.east:outdated\n")
    with pytest.raises(ExchangeUnavailableError, match="refused our user or password"):
        await board.read_roster()
    replace_private(path, Credentials("fg.test.east", PASSWORD).line.encode())
    assert await board.read_roster() is None
    await board.aclose()


async def test_the_wrong_protocol_is_told(access: ExchangeAccess, tmp_path: Path) -> None:
    """Plain words to a TLS port end at once, TLS to a plain port (which waits) in time; hints name the scheme."""
    plain = await refusal(
        replace(access, address=parse_exchange_address(str(access.address).replace("rediss", "redis")))
    )
    assert "rediss://" in plain.hint
    server = EmbeddedRedis(0, directory=tmp_path, program=find_redis_server(os.environ))
    server.start()
    try:
        address = parse_exchange_address(server.url.replace("redis://", "rediss://"))
        error = await refusal(replace(access, address=address), timeout_seconds=0.3)
    finally:
        server.kill()
    assert "TLS" in str(error) + error.hint


async def test_a_host_that_does_not_resolve_is_told(access: ExchangeAccess) -> None:
    """The name is the fault, not the server."""
    error = await refusal(replace(access, address=parse_exchange_address("rediss://nowhere.invalid:6379")))
    assert "host name does not resolve" in str(error)


async def test_a_frozen_server_does_not_hold_up_the_end(server: ExchangeServer, access: ExchangeAccess) -> None:
    """Connections and subscriptions are given up without waiting for the other side's farewell."""
    board = RedisBoard(access, CLUSTERSET, timeout_seconds=300)
    assert server.pid is not None
    try:
        async with asyncio.timeout(20), board.watch_roster():
            await board.server_time()
            os.kill(server.pid, signal.SIGSTOP)
            await board.aclose()
    finally:
        os.kill(server.pid, signal.SIGCONT)


async def test_a_unix_socket_is_an_exchange(tmp_path: Path) -> None:
    """Sessions meet at a path; a path without a server is told."""
    socket = tmp_path / "s"
    server = EmbeddedRedis(
        0, directory=tmp_path / "redis", program=find_redis_server(os.environ), options={"unixsocket": str(socket)}
    )
    server.start()
    try:
        access = access_to(f"unix://{socket}")
        async with site(access, "east", "west", tmp_path) as one, site(access, "west", "east", tmp_path) as other:
            wanted = by_key(endpoints("echo", 1), gateway())
            one.session.publish(wanted)
            await until(lambda: other.of("east") == wanted)
    finally:
        server.kill()
    assert f"unix://{socket}" in str(await refusal(access))
