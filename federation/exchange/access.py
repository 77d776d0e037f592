"""Who may do what in the exchange: the Redis ACL rules of a member and of the authority, and their users' names.

A member writes its own keys, each by its name, and reads everybody's; it publishes on its own channel and hears all.
Redis checks that command by command, inside transactions too. Nobody gets scripts, which may hold up a server for good.
It takes selectors and read-only key patterns: Redis 7 or Valkey. Pure;
``users`` applies the rules to servers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol as TypingProtocol

from federation.exchange.base import Keys
from federation.exchange.board import BoardKeys, LetterKeys
from federation.exchange.payloads import SHARDS
from federation.model.names import ClusterId, is_dns_label

_READS = ("get", "getrange", "mget", "xrange", "xrevrange", "exists")
_WRITES = ("set", "del", "xadd", "watch", "unwatch", "multi", "exec", "discard")
_SERVER = ("ping", "time", "select", "cluster|slots")
_USERS = ("acl|setuser", "acl|deluser", "acl|list", "acl|save")


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


def authority_username(clusterset: str) -> str:
    """The Redis user of the clusterset's authority, where it is not an administrator of the server."""
    return f"fg.{clusterset}"


def member_rules(clusterset: str, cluster: ClusterId) -> tuple[str, ...]:
    """What a member may do, as rules of ACL SETUSER: these are all, whatever was there before."""
    keys, letters = Keys(clusterset, cluster), LetterKeys(clusterset, cluster)
    # Each key by its name: whatever a member can leave behind is what ``purge`` removes.
    own = (keys.log, keys.manifest, keys.lease, *_shard_patterns(keys), letters.request)
    every = f"fg:{clusterset}:*"
    return (
        "resetkeys",
        "resetchannels",
        "clearselectors",
        "-@all",
        *(f"~{key}" for key in own),
        f"%R~{every}",
        f"&{keys.channel}",
        f"&{BoardKeys(clusterset).requests}",
        *_allowed((*_READS, *_WRITES, "publish", *_SERVER)),
        # A channel's pattern allows to publish and to subscribe alike; in a selector it is for its command alone.
        f"(+subscribe resetchannels &{every})",
    )


def authority_rules(clusterset: str) -> tuple[str, ...]:
    """What the authority may do. ACL SETUSER is the power over all users of the server."""
    every = f"fg:{clusterset}:*"
    commands = (*_READS, *_WRITES, "publish", "subscribe", *_SERVER, *_USERS)
    return ("resetkeys", "resetchannels", "clearselectors", "-@all", f"~{every}", f"&{every}", *_allowed(commands))


def has_member_users(version: str) -> bool:
    """Whether a server has what the rules need, by its program and version, such as ``redis 7.0.15``."""
    program, _, number = version.partition(" ")
    major = number.partition(".")[0]
    return program == "valkey" or (major.isdigit() and int(major) >= 7)


def passwords_of(clusterset: str, listings: Sequence[Iterable[str]]) -> dict[ClusterId, frozenset[str]]:
    """The members that have a user on any server, with those passwords (SHA-256) that all servers know, from what ACL
    LIST says on each."""
    servers = [dict(_members(clusterset, lines)) for lines in listings]
    return {
        cluster: frozenset.intersection(*(server.get(cluster, frozenset()) for server in servers))
        for cluster in sorted({cluster for server in servers for cluster in server})
    }


def _shard_patterns(keys: Keys) -> tuple[str, ...]:
    """Patterns that match the keys of the shards and no others."""
    tens, ones = divmod(SHARDS, 10)
    numbers = ("[0-9]", f"[1-{tens - 1}][0-9]", f"{tens}[0-{ones - 1}]")
    return tuple(f"{keys.shards}{number}" for number in numbers)


def _members(clusterset: str, lines: Iterable[str]) -> Iterable[tuple[ClusterId, frozenset[str]]]:
    for line in lines:
        name, *rules = line.split(" ")[1:] or [""]
        cluster = name.removeprefix(username(clusterset, ClusterId("")))
        if cluster != name and is_dns_label(cluster):
            yield ClusterId(cluster), frozenset(rule[1:] for rule in rules if rule.startswith("#"))


def _allowed(commands: Iterable[str]) -> tuple[str, ...]:
    return tuple(f"+{command}" for command in commands)
