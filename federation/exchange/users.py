"""RedisUsers: the users of the clusterset's members on every server of the exchange, kept by the authority.

An edge: what users may do is ``access``'s to say. Users are no data to Redis: neither replicas nor the other servers of
a Cluster learn of them, so each server is told. No password comes here, only what it hashes to.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from federation.exchange.access import has_member_users, member_rules, passwords_of, username
from federation.exchange.connection import ExchangeAccess, ExchangeConnection
from federation.model.errors import ConfigError, ExchangeUnavailableError
from federation.model.names import ClusterId


class RedisUsers:
    """The members' users of ``clusterset``, through a user that may use ACL."""

    def __init__(self, access: ExchangeAccess, clusterset: str, *, timeout_seconds: float = 3.0) -> None:
        self._connection = ExchangeConnection(access, timeout_seconds=timeout_seconds)
        self._clusterset = clusterset

    async def set_user(self, cluster: ClusterId, password_sha256: Sequence[str]) -> None:
        """As UserAdmin; raises ConfigError where a server is too old to keep members apart."""
        for version in await self._connection.versions():
            if not has_member_users(version):
                raise ConfigError(
                    f"exchange runs on {version}: users of single members need Redis 7 or Valkey",
                    hint="upgrade the server, or give all members one user: docs/exchange.md says what that costs",
                )
        passwords = [f"#{digest}" for digest in password_sha256]
        rules = ("reset", "on", *passwords, *member_rules(self._clusterset, cluster))
        await self._connection.on_every_server(_taken, "ACL", "SETUSER", username(self._clusterset, cluster), *rules)
        await self._save()

    async def delete_user(self, cluster: ClusterId) -> None:
        await self._connection.on_every_server(_taken, "ACL", "DELUSER", username(self._clusterset, cluster))
        await self._save()

    async def users(self) -> Mapping[ClusterId, frozenset[str]]:
        return passwords_of(self._clusterset, await self._connection.on_every_server(_lines, "ACL", "LIST"))

    async def aclose(self) -> None:
        await self._connection.aclose()

    async def _save(self) -> None:
        try:
            await self._connection.on_every_server(_taken, "ACL", "SAVE")
        except ExchangeUnavailableError as error:
            # Without a file the users last until a restart; then ``users`` shows that they are gone.
            if "not configured to use an ACL file" not in str(error):
                raise


def _taken(_: Any) -> None:
    """What a server says when it did as it was told."""


def _lines(answer: Any) -> list[str]:
    return [line.decode(errors="replace") for line in answer]
