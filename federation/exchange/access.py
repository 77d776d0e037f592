"""Who may do what in the exchange: the Redis ACL rules of a member and of the authority, and their users' names.

Per-member users need selectors, hence Redis 7 or Valkey. Pure; ``users`` applies the rules to servers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol as TypingProtocol

from federation.model.names import ClusterId


class UserAdmin(TypingProtocol):
    """The users of one clusterset's members, the same on every server of the exchange.

    Every operation raises ExchangeUnavailableError where a server gave no answer: it may be repeated, and must be, for
    some of several servers may have taken it.
    """

    async def set_user(self, cluster: ClusterId, password_sha256: Sequence[str]) -> None:
        """Make the member's user, or give it these passwords and no others (SHA-256 in lower-case hex) and its rules
        anew. Connections that stand are not ended."""

    async def delete_user(self, cluster: ClusterId) -> None:
        """Remove the member's user, which ends its connections."""

    async def users(self) -> Mapping[ClusterId, frozenset[str]]:
        """The members that have a user, with the SHA-256 of each password."""

    async def aclose(self) -> None:
        """Give up all connections."""


def username(clusterset: str, cluster: ClusterId) -> str:
    """The Redis user of one member."""
    # Parted by what no DNS label has: with dashes, members of two clustersets could meet in one name.
    return f"fg.{clusterset}.{cluster}"
