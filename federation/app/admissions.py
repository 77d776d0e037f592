"""Opening a clusterset's authority where a cluster's settings say it is: its ledger, and its way into the exchange."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial

from federation.app.admission_desk import AdmissionDesk
from federation.app.authority import Authority, Meeting
from federation.app.clock import utc_now
from federation.exchange.board import Board
from federation.exchange.connection import ExchangeAccess, access_of
from federation.exchange.credentials import load_credentials
from federation.exchange.redis_board import RedisBoard
from federation.exchange.users import RedisUsers
from federation.membership.authority_store import AuthorityStore
from federation.model.configuration import ClusterSettings
from federation.model.errors import ConfigError

EXCHANGE_ADMIN = "exchange.credentials"
"""File in the authority's directory by which it makes the exchange's users; without it others make them."""


@asynccontextmanager
async def opened_authority(settings: ClusterSettings) -> AsyncIterator[tuple[Authority, Board]]:
    """The authority and the board that it uses, while the context lasts."""
    access, users = access_of(settings.exchange), None
    admin = settings.authority_directory / EXCHANGE_ADMIN
    async with AsyncExitStack() as stack:
        if admin.exists():
            access = ExchangeAccess(settings.exchange.url, settings.exchange.ca_file, partial(load_credentials, admin))
            users = RedisUsers(access, settings.clusterset)
            stack.push_async_callback(users.aclose)
        board = RedisBoard(access, settings.clusterset)
        stack.push_async_callback(board.aclose)
        store = AuthorityStore(settings.authority_directory)
        yield Authority(store, board, users, Meeting(str(settings.exchange.url), _ca(settings)), utc_now), board


async def answer_for_the_authority(settings: ClusterSettings) -> None:
    """Admit, and do all else that the authority does by itself, until cancelled."""
    async with opened_authority(settings) as (authority, board):
        rng = random.Random()  # noqa: S311 - spreads retries, protects nothing
        await AdmissionDesk(authority, board, clock=utc_now, rng=rng).run()


def _ca(settings: ClusterSettings) -> str:
    path = settings.exchange.ca_file
    if path is None:
        return ""
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"exchange.caFile {path} can't be read: {error}") from error
