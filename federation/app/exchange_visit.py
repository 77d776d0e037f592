"""ExchangeVisit: the way into the exchange as one member, step by step, and what it may do there; for the preflight.

An edge between ``exchange_sight``, which goes and looks, and ``exchange_checks``, which judges. A step that fails
is the last one.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime

from controllers.checks import Check, Level
from federation.app.exchange_checks import Way, judge_clock, judge_login, judge_rights, judge_server, judge_way
from federation.app.exchange_sight import STEP_SECONDS, ask_time, is_local, see_servers, try_rights
from federation.app.preflight_lines import Line, failed, trouble
from federation.exchange.access import username
from federation.exchange.base import Keys
from federation.exchange.board import BoardKeys
from federation.exchange.connection import ExchangeAccess, ExchangeConnection
from federation.exchange.redis_board import RedisBoard
from federation.model.errors import ConfigError, ExchangeUnavailableError
from federation.model.names import ClusterId

_CREDENTIALS_FIX = "exchange.credentialsFile names a file of one line USER:PASSWORD"
_LOGIN_FIX = "is it a Redis or Valkey server, and is it well? Its own log says more"


@dataclass(slots=True)
class ExchangeVisit:
    """A visit as ``cluster``; ``other`` is whose records are read."""

    access: ExchangeAccess
    clusterset: str
    cluster: ClusterId
    other: ClusterId
    clock: Callable[[], datetime]
    may_log_in: bool = True
    """False where it is known that the credentials can't be used."""
    login_fix: str = ""
    """The next step after a refused login, in the place of the error's own."""
    let_in: bool = False
    """Whether commands are answered, once ``checks`` has ended."""

    async def checks(self) -> AsyncIterator[Check]:
        """Name, connection, TLS, login, server, rights and clock."""
        address = self.access.address
        if address.nodes:
            way = Way(address.tls, self.access.ca_file is not None, is_local(address))
            for check in judge_way(await see_servers(self.access), way, self.clock()):
                yield check
                if check.level is Level.FAILED:
                    return
        if not self.may_log_in:
            return
        try:
            user = "" if self.access.credentials is None else self.access.credentials().username
        except ConfigError as error:
            yield trouble(Line.EXCHANGE_LOGIN, error, _CREDENTIALS_FIX)
            return
        async with aclosing(ExchangeConnection(self.access, timeout_seconds=STEP_SECONDS)) as connection:
            try:
                samples = await ask_time(connection, self.clusterset, self.clock)
                version = await connection.version(BoardKeys(self.clusterset).roster)
            except ExchangeUnavailableError as error:
                yield failed(Line.EXCHANGE_LOGIN, str(error), self.login_fix or error.hint or _LOGIN_FIX)
                return
            self.let_in = True
            yield judge_login(user, local=is_local(address))
            member_user = user == username(self.clusterset, self.cluster)
            yield judge_server(version, samples, member_user=member_user)
            yield judge_rights(await try_rights(connection, self.clusterset, self.cluster, self.other))
            yield judge_clock(samples)

    async def roster(self) -> bytes | None:
        """The roster that the exchange holds; raises ExchangeUnavailableError and WireError."""
        async with aclosing(RedisBoard(self.access, self.clusterset, timeout_seconds=STEP_SECONDS)) as board:
            return await board.read_roster()

    async def hears(self, cluster: ClusterId) -> bool:
        """Whether ``cluster`` has a lease that has not run out; raises ExchangeUnavailableError."""
        lease = Keys(self.clusterset, cluster).lease
        async with aclosing(ExchangeConnection(self.access, timeout_seconds=STEP_SECONDS)) as connection:
            return bool(await connection.command(lease, "EXISTS", lease))
