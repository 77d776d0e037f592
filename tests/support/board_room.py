"""An exchange inside the process for founding, joining and leaving: one board, and its users if it knows any."""

from __future__ import annotations

import asyncio
import hashlib
import random
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from federation.app import admissions, joining, leaving, standing
from federation.app.admission_desk import AdmissionDesk
from federation.app.clock import utc_now
from federation.app.cluster_file import Place
from federation.app.founding import Founding, found
from federation.app.sites import load_cluster
from federation.exchange.access import username
from federation.exchange.connection import ExchangeAccess
from federation.exchange.credentials import Credentials
from federation.exchange.memory_board import MemoryBoard
from federation.membership.admission import MAX_TTL
from federation.membership.join_token import JoinToken, parse_token
from federation.model.configuration import ClusterSettings
from federation.model.errors import ExchangeDeniedError, ExchangeUnavailableError
from federation.model.exchange_address import parse_exchange_address
from federation.model.names import ClusterId

CLUSTERSET = "demo"
EAST, WEST = ClusterId("east"), ClusterId("west")
PLACE = Place("r")
ADMIN = Credentials("admin", "of-all")
URL = "redis://127.0.0.1:1"


class Users:
    """The users of the exchange: the digests of each member's passwords."""

    def __init__(self) -> None:
        self.passwords: dict[ClusterId, frozenset[str]] = {}

    async def set_user(self, cluster: ClusterId, password_sha256: Sequence[str]) -> None:
        self.passwords[cluster] = frozenset(password_sha256)

    async def delete_user(self, cluster: ClusterId) -> None:
        self.passwords.pop(cluster, None)

    async def users(self) -> Mapping[ClusterId, frozenset[str]]:
        return dict(self.passwords)

    async def aclose(self) -> None:
        pass

    def let_in(self, credentials: Credentials) -> bool:
        digest = hashlib.sha256(credentials.password.encode()).hexdigest()
        return credentials == ADMIN or any(
            credentials.username == username(CLUSTERSET, cluster) and digest in digests
            for cluster, digests in self.passwords.items()
        )


class Room:
    """Where everybody meets. ``fail`` makes the operation of that name fail so many times, -1 for ever."""

    def __init__(self, *, users: bool) -> None:
        self.board = MemoryBoard(utc_now, time.monotonic)
        self.users = Users() if users else None
        self.fail: dict[str, int] = {}
        self.told: list[str] = []

    def visit(self, access: ExchangeAccess, _: str) -> Visit:
        return Visit(self, access)

    def check(self, access: ExchangeAccess, operation: str) -> None:
        if self.fail.get(operation, 0) or self.fail.get("all", 0):
            self.fail[operation] = self.fail.get(operation, 0) - 1
            raise ExchangeUnavailableError("exchange is away")
        credentials = access.credentials() if access.credentials is not None else Credentials("", "")
        if self.users is not None and not self.users.let_in(credentials):
            raise ExchangeDeniedError(f"exchange refused the user {credentials.username}")

    async def found(self, directory: Path, cluster: str = EAST) -> ClusterSettings:
        admin = ADMIN if self.users is not None else None
        address = parse_exchange_address(URL)
        founding = Founding(CLUSTERSET, ClusterId(cluster), f"{cluster}.example", address, exchange_admin=admin)
        return await found(directory, founding, PLACE, self.told.append)

    async def token(self, directory: Path, cluster: str = WEST, access: Credentials | None = None) -> JoinToken:
        async with admissions.opened_authority(load_cluster(directory)) as (authority, _):
            return parse_token(await authority.offer(ClusterId(cluster), MAX_TTL, access))

    async def evict(self, directory: Path, cluster: str = WEST) -> None:
        async with admissions.opened_authority(load_cluster(directory)) as (authority, _):
            await authority.evict(ClusterId(cluster))

    async def join(self, directory: Path, token: JoinToken, seconds: float = 20.0) -> ClusterSettings:
        domain = f"{token.cluster}.example"
        return await joining.join(directory, token, domain, PLACE, self.told.append, timeout_seconds=seconds)

    async def leave(self, directory: Path, seconds: float = 20.0) -> None:
        await leaving.leave(load_cluster(directory), self.told.append, timeout_seconds=seconds)

    @asynccontextmanager
    async def admitting(self, directory: Path) -> AsyncIterator[None]:
        """The authority's desk is open, as in the controller of its cluster."""
        async with admissions.opened_authority(load_cluster(directory)) as (authority, board):
            desk = AdmissionDesk(authority, board, clock=utc_now, rng=random.Random(1))
            running = asyncio.create_task(desk.run())
            try:
                yield
            finally:
                running.cancel()
                await asyncio.wait([running])


class Visit:
    """A board as one user reaches it."""

    def __init__(self, room: Room, access: ExchangeAccess) -> None:
        self._room = room
        self._access = access

    def __getattr__(self, operation: str) -> Any:
        act: Callable[..., Any] = getattr(self._room.board, operation)
        if operation.startswith("watch"):
            self._room.check(self._access, operation)
            return act

        async def checked(*arguments: Any) -> Any:
            self._room.check(self._access, operation)
            return await act(*arguments)

        return checked

    async def aclose(self) -> None:
        """Others go on with the board."""


def open_room(monkeypatch: pytest.MonkeyPatch, *, users: bool) -> Room:
    """A room in the place of Redis, for all that founds, joins and leaves."""
    room = Room(users=users)
    for module in (admissions, joining, leaving, standing):
        monkeypatch.setattr(module, "RedisBoard", room.visit)
    monkeypatch.setattr(admissions, "RedisUsers", lambda *_: room.users)
    return room


def files_of(directory: Path) -> dict[str, bytes]:
    """All files below a directory, with their content."""
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}
