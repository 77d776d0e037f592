"""Opening a clusterset's authority where a cluster's settings say it is, and keeping its desk open in the controller.

An edge that wires. Nothing that is wrong with the authority ends the controller, whose data path needs none.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import AbstractContextManager, AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path

import structlog

from federation.app.admission_desk import AdmissionDesk
from federation.app.authority import Authority, Meeting
from federation.app.clock import utc_now
from federation.exchange.access import UserAdmin
from federation.exchange.board import Board
from federation.exchange.connection import ExchangeAccess, access_of
from federation.exchange.credentials import load_credentials
from federation.exchange.redis_board import RedisBoard
from federation.exchange.users import RedisUsers
from federation.membership.authority_store import AuthorityStore
from federation.model.configuration import ClusterSettings
from federation.model.errors import ConfigError, FederationError
from federation.model.names import ClusterId
from federation.model.problems import Problem
from federation.storage.trouble import told_as

_log = structlog.get_logger(__name__)

EXCHANGE_ADMIN = "exchange.credentials"
"""File in the authority's directory by which it makes the exchange's users; without it others make them."""

# An authority that could not be used is tried again this often.
_RETRY_SECONDS = 5.0


@asynccontextmanager
async def opened_authority(settings: ClusterSettings) -> AsyncIterator[tuple[Authority, Board]]:
    """The authority and the board that it uses, while the context lasts; raises ConfigError for unusable files."""
    access = access_of(settings.exchange)
    users: UserAdmin | None = None
    admin = settings.authority_directory / EXCHANGE_ADMIN
    async with AsyncExitStack() as stack:
        with _readable(admin.parent):
            makes_users = admin.exists()
        if makes_users:
            access = ExchangeAccess(settings.exchange.url, settings.exchange.ca_file, partial(load_credentials, admin))
            users = RedisUsers(access, settings.clusterset)
            stack.push_async_callback(users.aclose)
        board = RedisBoard(access, settings.clusterset)
        stack.push_async_callback(board.aclose)
        store = AuthorityStore(settings.authority_directory)
        yield Authority(store, board, users, Meeting(str(settings.exchange.url), _ca(settings)), utc_now), board


class Admissions:
    """The authority's desk in the controller of ``settings``, if the authority is there."""

    def __init__(self, settings: ClusterSettings) -> None:
        self._settings = settings
        self._desk: AdmissionDesk | None = None
        self._problem: Problem | None = None
        self._absent = False

    def problems(self, seat: ClusterId) -> tuple[Problem, ...]:
        """Why nobody is admitted, where ``seat`` is the cluster that has the authority."""
        if self._problem is not None:
            return (self._problem,)
        if self._desk is not None:
            return self._desk.problems
        if not self._absent or seat != self._settings.cluster:
            return ()
        where = self._settings.authority_directory
        return (
            Problem("authority", "NoAuthority", f"{where} holds none, though this cluster has it: nobody is admitted"),
        )

    async def run(self) -> None:
        """Admit, and do all else that the authority does by itself, until cancelled; return where there is none."""
        while True:
            try:
                with _readable(self._settings.authority_directory):
                    self._absent = not AuthorityStore(self._settings.authority_directory).exists
                if self._absent:
                    return
                async with opened_authority(self._settings) as (authority, board):
                    rng = random.Random()  # noqa: S311 - spreads retries, protects nothing
                    self._desk = AdmissionDesk(authority, board, clock=utc_now, rng=rng)
                    self._problem = None
                    await self._desk.run()
            except FederationError as error:
                self._fail(f"{error}; {error.hint}" if error.hint else str(error))
                _log.error("authority can't be used", error=str(error))
            except Exception as error:  # noqa: BLE001 - the data path outlives the authority, whatever the bug
                self._fail(f"admissions stopped: {_cause(error)!r}")
                _log.exception("admissions stopped")
            await asyncio.sleep(_RETRY_SECONDS)

    def _fail(self, message: str) -> None:
        self._problem = Problem("authority", "Unusable", message)


def _cause(error: BaseException) -> BaseException:
    """What went wrong first: a group of tasks tells no more than that something did."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _readable(directory: Path) -> AbstractContextManager[None]:
    return told_as(
        lambda cause: ConfigError(
            f"authority in {directory} can't be used: {cause}",
            hint="authorityDirectory must belong to the user this program runs as",
        )
    )


def _ca(settings: ClusterSettings) -> str:
    path = settings.exchange.ca_file
    if path is None:
        return ""
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"exchange.caFile {path} can't be read: {error}") from error
