"""The server with TLS and users: what it makes, keeps over a restart, and lets in."""

from __future__ import annotations

import asyncio
import hashlib
import os
import stat
import subprocess
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest

from federation.exchange.certificates import SERVER_LIFE
from federation.exchange.connection import ExchangeAccess
from federation.exchange.credentials import Credentials, load_credentials
from federation.exchange.redis_board import RedisBoard
from federation.exchange.secure_server import ExchangeServer, users_text
from federation.exchange.server import find_redis_server
from federation.exchange.users import RedisUsers
from federation.model.addresses import HostPort
from federation.model.errors import ConfigError, ExchangeUnavailableError, FederationError
from federation.model.exchange_address import parse_exchange_address
from federation.model.names import ClusterId
from support.redis_server import tls_program

EAST = ClusterId("east")
LISTEN = HostPort("127.0.0.1", 0)
FILES = ["admin.credentials", "ca.key", "ca.pem", "redis.log", "server.key", "server.pem", "users.acl"]


def made(directory: Path, now: datetime | None = None, names: tuple[str, ...] = ("127.0.0.1",)) -> ExchangeServer:
    return ExchangeServer(directory, LISTEN, names, program=tls_program(), now=now or datetime.now(UTC))


def admin_of(server: ExchangeServer) -> ExchangeAccess:
    address = parse_exchange_address(server.url)
    return ExchangeAccess(address, server.ca_file, partial(load_credentials, server.admin_file))


def test_the_ca_the_users_and_the_password_survive_a_restart(tmp_path: Path) -> None:
    """A member that was let in before is let in after, by the same CA; without a user nobody is."""
    directory = tmp_path / "exchange"

    async def first(server: ExchangeServer) -> None:
        users = RedisUsers(admin_of(server), "acme")
        await users.set_user(EAST, [hashlib.sha256(b"password").hexdigest()])
        await users.aclose()

    async def second(server: ExchangeServer) -> None:
        address = parse_exchange_address(server.url)
        member = ExchangeAccess(address, server.ca_file, lambda: Credentials("fg.acme.east", "password"))
        board = RedisBoard(member, "acme")
        assert await board.read_roster() is None
        await board.aclose()
        board = RedisBoard(admin_of(server), "acme")
        await board.publish_roster(b"roster")
        await board.aclose()
        board = RedisBoard(replace(member, credentials=None), "acme")
        with pytest.raises(ExchangeUnavailableError, match="demands a user and a password"):
            await board.read_roster()
        await board.aclose()

    kept = {}
    for work in (first, second):
        server = made(directory)
        server.start()
        try:
            asyncio.run(work(server))
        finally:
            server.stop()
        found = {path.name: path.read_bytes() for path in directory.iterdir()}
        assert sorted(found) == FILES
        for name in ("admin.credentials", "ca.key", "ca.pem", "server.key", "server.pem"):
            assert kept.setdefault(name, found[name]) == found[name]


def test_secrets_are_private_and_in_no_command_line(tmp_path: Path) -> None:
    """The directory is the owner's alone, so are keys and passwords; a process list shows neither."""
    server = made(tmp_path / "exchange")
    server.start()
    try:
        told = subprocess.run(
            ["/bin/ps", "-o", "args", "-p", str(server.pid)], capture_output=True, check=True, text=True
        )
    finally:
        server.stop()
    assert stat.S_IMODE(server.directory.stat().st_mode) == 0o700
    for name in ("admin.credentials", "ca.key", "server.key"):
        assert stat.S_IMODE((server.directory / name).stat().st_mode) == 0o600
    assert load_credentials(server.admin_file).password not in told.stdout


def test_a_certificate_is_renewed_when_little_of_its_life_is_left(tmp_path: Path) -> None:
    """A start in the last third of its life, or for other names, makes a new one of the same CA."""
    now = datetime.now(UTC)
    path = tmp_path / "server.pem"
    made(tmp_path, now)
    first, ca = path.read_bytes(), (tmp_path / "ca.pem").read_bytes()
    made(tmp_path, now + timedelta(days=1))
    assert path.read_bytes() == first
    made(tmp_path, now + SERVER_LIFE * 0.8)
    second = path.read_bytes()
    assert second != first
    made(tmp_path, now + SERVER_LIFE * 0.8, ("127.0.0.1", "redis.example.com"))
    assert path.read_bytes() not in {first, second}
    assert (tmp_path / "ca.pem").read_bytes() == ca


def test_a_server_that_ends_by_itself_is_noticed(tmp_path: Path) -> None:
    """The check raises once the process is gone, not before."""
    server = ExchangeServer(
        tmp_path, LISTEN, ["127.0.0.1"], program=find_redis_server(os.environ), now=datetime.now(UTC), tls=False
    )
    server.start()
    try:
        server.check()
        assert server.pid is not None
        os.kill(server.pid, 9)
        os.waitid(os.P_PID, server.pid, os.WEXITED | os.WNOWAIT)
        with pytest.raises(FederationError, match="ended by itself"):
            server.check()
    finally:
        server.stop()


def test_a_key_that_is_not_ours_is_refused(tmp_path: Path) -> None:
    """Content that is no key, and a key that others can read: the error names the directory."""
    for content, mode in ((b"no key", 0o600), (b"whatever", 0o644)):
        path = tmp_path / "ca.key"
        path.write_bytes(content)
        path.chmod(mode)
        with pytest.raises(ConfigError, match=f"exchange directory {tmp_path} can't be used"):
            made(tmp_path)


def test_users_are_kept_and_the_administrator_is_set() -> None:
    """Saved users stay as they are; administrator and default are what we say, however they were saved."""
    saved = "user admin on #old ~x\nuser default on nopass ~* &* +@all\nuser fg.acme.east on #aa -@all\n\n"
    assert users_text(saved, "admin", "new").splitlines() == [
        "user default off",
        "user admin on #new ~* &* +@all",
        "user fg.acme.east on #aa -@all",
    ]
