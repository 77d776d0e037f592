"""The exchange as a protocol, the pictures that are read from it, and the spelling of its keys.

An Exchange moves bytes and verifies nothing: it is trusted for availability only. What the bytes mean is
decided by the publisher on one side and the replica on the other, both pure. Nothing here does I/O.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple
from typing import Protocol as TypingProtocol

from federation.model.names import ClusterId, RecordKey
from federation.model.records import Record, Version


@dataclass(frozen=True, slots=True)
class Rejected:
    """Something of a member that was not accepted; everything else of it, and every other member, is
    unaffected."""

    cluster: ClusterId
    reason: str
    """A federation.model.wire.Reason: stable, for metrics and tests."""
    message: str
    """One sentence, lower case, no final period."""
    record_key: RecordKey | None = None
    """The record at fault; None where a whole batch, shard, manifest or lease is."""


@dataclass(frozen=True, slots=True)
class MemberSnapshot:
    """What is known of one member."""

    cluster: ClusterId
    version: Version | None = None
    """None: nothing was ever accepted of this member."""
    records: Mapping[RecordKey, Record] = field(default_factory=dict)
    synced: bool = False
    """The records are a whole picture, read from the exchange or from disk, or known to be none. False:
    unknown."""
    fresh: bool = False
    """The member renewed its lease in time. The clock stands still while we can't hear the exchange
    ourselves."""
    saved_at: datetime | None = None
    """Set while the records come from disk and were not confirmed by the exchange yet: when they last
    were."""


@dataclass(frozen=True, slots=True)
class ExchangeSnapshot:
    """What is known of all configured peers, at one moment."""

    members: Mapping[ClusterId, MemberSnapshot] = field(default_factory=dict)


class Keys:
    """Names of one member's keys and channel. The hash tag keeps them in one slot of a Redis Cluster."""

    __slots__ = ("channel", "lease", "log", "manifest", "prefix", "shards")

    def __init__(self, clusterset: str, cluster: ClusterId) -> None:
        self.prefix = f"fg:{clusterset}:{{{cluster}}}:"
        self.log = f"{self.prefix}log"
        self.manifest = f"{self.prefix}man"
        self.lease = f"{self.prefix}lease"
        self.channel = f"{self.prefix}n"
        self.shards = f"{self.prefix}snap:"

    def shard(self, number: int) -> str:
        return f"{self.shards}{number}"


class Message(NamedTuple):
    """One message of a member's channel: a batch or a lease, unverified."""

    cluster: ClusterId
    blob: bytes


@dataclass(frozen=True, slots=True)
class StoredSnapshot:
    """A member's manifest and shards as one read found them, unverified."""

    manifest: bytes
    shards: Mapping[int, bytes]


@dataclass(frozen=True, slots=True)
class Written:
    """What a writer believes is stored under its keys, because it wrote it."""

    manifest: bytes
    shards: frozenset[int]
    """Numbers of the shards that are stored."""
    head: Version
    """Last entry of the log; sequence 0 means that the log is empty."""


class Exchange(TypingProtocol):
    """A store shared by the clusterset: per member a log, a snapshot in shards, a lease, and a channel.

    Every operation raises ExchangeUnavailableError where no answer came; whether a write then took place is
    unknown. Reads raise WireError (``Unreadable``, ``Oversized``) where the answer is that what stands under this
    member's keys can't be read: that is the member's doing, and no other's trouble.

    *Atomic, and repeatable*: ``append`` and ``update`` change nothing and return False unless what is
    stored is what this writer wrote; repeated with the same arguments they return True and do nothing
    twice. ``renew`` likewise, except that each call sends the lease anew. ``replace`` needs nothing and
    discards all that was there. *Ordered*: messages of one member arrive in the order they were sent, at
    most once each; some may be lost. *One moment*: ``read_snapshot`` and ``read_log`` each show a single
    moment of the store.
    """

    async def replace(self, cluster: ClusterId, snapshot: StoredSnapshot, lease: bytes, lease_seconds: float) -> None:
        """Empty the log, store this snapshot and nothing else, store the lease and send it on the channel."""

    async def append(self, cluster: ClusterId, written: Written, version: Version, batch: bytes) -> bool:
        """Add ``batch`` to the log as ``version``, the successor of ``written.head``, and send it on the
        channel."""

    async def update(
        self, cluster: ClusterId, written: Written, snapshot: StoredSnapshot, removed: frozenset[int]
    ) -> bool:
        """Store a new manifest with those shards that differ, and remove the shards that became empty."""

    async def renew(self, cluster: ClusterId, written: Written, lease: bytes, lease_seconds: float) -> bool:
        """Store the lease for ``lease_seconds`` and send it on the channel."""

    async def read_snapshot(self, cluster: ClusterId) -> StoredSnapshot | None:
        """The member's manifest with the shards that are stored; None where there is no manifest."""

    async def read_log(self, cluster: ClusterId, after: Version) -> tuple[bytes, ...]:
        """The batches later than ``after`` that the log still has, oldest first; possibly not all at once."""

    async def read_lease(self, cluster: ClusterId) -> bytes | None:
        """The member's lease, or None where it ran out."""

    def watch(self, clusters: frozenset[ClusterId]) -> AbstractAsyncContextManager[AsyncIterator[Message]]:
        """Follow the channels of ``clusters``: on entry the subscription stands, the iteration ends only by
        error."""

    async def aclose(self) -> None:
        """Give up all connections."""
