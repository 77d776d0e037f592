"""The board as a protocol: where the clusterset's roster, requests to join and their answers are put up for others.

Beside the exchange, whose records are a member's own. A board moves opaque bytes and verifies nothing; what they mean
and who signed them is decided where they are read. Nothing here does I/O.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import Protocol as TypingProtocol

from federation.exchange.base import Keys
from federation.exchange.payloads import SHARDS
from federation.model.errors import WireError
from federation.model.names import ClusterId
from federation.model.wire import Reason


class BoardKeys:
    """Names of the keys and channels that are not part of one member's records."""

    __slots__ = ("requests", "roster")

    def __init__(self, clusterset: str) -> None:
        self.roster = f"fg:{clusterset}:roster"
        """A key, and the channel that says it changed."""
        self.requests = f"fg:{clusterset}:requests"
        """The channel that names the clusters whose request changed."""


class LetterKeys:
    """Names of one cluster's request and answer, beside its records: the same slot of a Redis Cluster."""

    __slots__ = ("answer", "request")

    def __init__(self, clusterset: str, cluster: ClusterId) -> None:
        prefix = Keys(clusterset, cluster).prefix
        self.request = f"{prefix}request"
        self.answer = f"{prefix}answer"
        """A key, and the channel that says it changed."""


def stored_keys(clusterset: str, cluster: ClusterId) -> tuple[str, ...]:
    """All keys that there can be of one cluster: its user may write no others."""
    keys, letters = Keys(clusterset, cluster), LetterKeys(clusterset, cluster)
    return keys.log, keys.manifest, keys.lease, *map(keys.shard, range(SHARDS)), letters.request, letters.answer


class Board(TypingProtocol):
    """Every operation raises ExchangeUnavailableError where no answer came; whether a write then took place is
    unknown, and each may be repeated. Reads raise WireError: ``Oversized`` for more bytes than there may be,
    ``Unreadable`` for what is no blob.

    Notices may be lost: whoever watches reads once the watch stands, and from time to time.
    """

    async def publish_roster(self, blob: bytes) -> None:
        """Store the roster, and give notice."""

    async def read_roster(self) -> bytes | None:
        """The roster, at most 1 MiB."""

    async def write_request(self, cluster: ClusterId, blob: bytes, ttl_seconds: float) -> None:
        """Store a cluster's request for ``ttl_seconds``, and give notice to whoever answers."""

    async def read_request(self, cluster: ClusterId) -> bytes | None:
        """The cluster's request, at most 8 KiB; None where there is none or its time ran out."""

    async def clear_request(self, cluster: ClusterId, blob: bytes) -> None:
        """Remove the cluster's request if it still is ``blob``."""

    async def write_answer(self, cluster: ClusterId, blob: bytes, ttl_seconds: float) -> None:
        """Store the answer to a cluster for ``ttl_seconds``, and give it notice."""

    async def read_answer(self, cluster: ClusterId) -> bytes | None:
        """The answer to the cluster, at most 8 KiB; None where there is none or its time ran out."""

    def watch_roster(self) -> AbstractAsyncContextManager[AsyncIterator[None]]:
        """Notices that the roster changed: on entry the watch stands, the iteration ends only by error."""

    def watch_requests(self) -> AbstractAsyncContextManager[AsyncIterator[ClusterId]]:
        """Notices of requests, each with its cluster; what is no cluster id is passed over."""

    def watch_answer(self, cluster: ClusterId) -> AbstractAsyncContextManager[AsyncIterator[None]]:
        """Notices that the answer to the cluster or the roster changed."""

    async def purge(self, cluster: ClusterId) -> None:
        """Remove all that is stored of a cluster: records, log, lease, request and answer."""

    async def server_time(self) -> datetime:
        """The server's clock."""

    async def server_version(self) -> str:
        """Name and version of the server's program, as ``redis 7.0.15``."""

    async def aclose(self) -> None:
        """Give up all connections."""


def within(limit: int, blob: bytes | None, what: str) -> bytes | None:
    """``blob`` itself; raises WireError (``Oversized``) where it has more than ``limit`` bytes."""
    if blob is not None and len(blob) > limit:
        raise WireError(Reason.OVERSIZED, f"{what} has {len(blob)} bytes, more than {limit}")
    return blob
