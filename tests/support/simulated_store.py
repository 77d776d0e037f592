"""A Redis as bad as it gets, for simulations: slow, lossy, cut off, losing data, and open to an adversary.

Built on MemoryExchange, which keeps the protocol's promises; each member has a SimulatedConnection of its own, which
keeps no more than these. The Ledger notes what members sign as they sign it, whether it arrives or not: the truth
that everything shown anywhere is compared with.
"""

from __future__ import annotations

import asyncio
import copy
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TypeVar

from federation.exchange.base import Message, StoredSnapshot, Written
from federation.exchange.memory import MemoryExchange
from federation.exchange.memory import _Stored as Stored
from federation.exchange.payloads import decode_batch, decode_manifest, decode_shard
from federation.exchange.signing import BlobKind, Envelope, open_envelope
from federation.model.errors import ExchangeUnavailableError, WireError
from federation.model.names import ClusterId, RecordKey
from federation.model.records import Member, Record, Version
from federation.model.wire import decode_record
from support.exchange import CLUSTERSET

T = TypeVar("T")

Records = Mapping[RecordKey, Record]


class Voice:
    """What one member said under each version, from its admission on, whichever of its keys it signed with."""

    def __init__(self, member: Member) -> None:
        self.cluster = member.cluster
        self.said: dict[Version, Records] = {}
        self.signers: dict[Version, set[bytes]] = {}
        """The public keys that a version was signed with: more than one where a snapshot says it again."""
        self._members = [member]

    def give_key(self, public_key: bytes) -> None:
        self._members.insert(0, replace(self._members[0], public_key=public_key))

    def signers_of(self, epoch: int) -> set[bytes]:
        """All keys that were used in an epoch."""
        return {key for version, keys in self.signers.items() if version.epoch == epoch for key in keys}

    def open(self, blob: bytes, kind: BlobKind) -> tuple[Envelope, Member]:
        """What the blob says, and as whom, with which key, it was signed."""
        for member in self._members[:-1]:
            try:
                return open_envelope(blob, kind, member, CLUSTERSET), member
            except WireError:
                continue
        return open_envelope(blob, kind, self._members[-1], CLUSTERSET), self._members[-1]

    def signed(self, version: Version, member: Member) -> None:
        self.signers.setdefault(version, set()).add(member.public_key)


class Ledger:
    """What was ever said."""

    def __init__(self) -> None:
        self.voices: dict[bytes, Voice] = {}
        """By public key: each key was given to one member once."""
        self.blobs: dict[ClusterId, list[bytes]] = {}
        """Batches and leases, for an adversary that kept them."""
        self.snapshots: dict[ClusterId, list[StoredSnapshot]] = {}

    def admit(self, member: Member) -> Voice:
        voice = self.voices[member.public_key] = Voice(member)
        return voice

    def give_key(self, member: Member, public_key: bytes) -> None:
        voice = self.voices[public_key] = self.voices[member.public_key]
        voice.give_key(public_key)

    def last_version(self, cluster: ClusterId) -> Version:
        """The newest that was said in the name of ``cluster``."""
        said = [version for voice in self.voices.values() if voice.cluster == cluster for version in voice.said]
        return max(said, default=Version(1, 0))

    def replaced(self, voice: Voice, snapshot: StoredSnapshot, lease: bytes) -> None:
        manifest, member = voice.open(snapshot.manifest, BlobKind.MANIFEST)
        records: dict[RecordKey, Record] = {}
        for number in decode_manifest(manifest.payload):
            shard = open_envelope(snapshot.shards[number], BlobKind.SHARD, member, CLUSTERSET)
            for key, data in decode_shard(number, shard.payload).items():
                records[key] = decode_record(key, data, member)
        said = voice.said
        assert all(version.epoch < manifest.version.epoch for version in said), "an epoch that is not later than all"
        said[manifest.version] = records
        voice.signed(manifest.version, member)
        self.snapshots.setdefault(member.cluster, []).append(snapshot)
        self.kept(member.cluster, lease)

    def updated(self, voice: Voice, manifest: bytes) -> None:
        envelope, member = voice.open(manifest, BlobKind.MANIFEST)
        voice.signed(envelope.version, member)

    def appended(self, voice: Voice, version: Version, batch: bytes) -> None:
        said = voice.said
        envelope, member = voice.open(batch, BlobKind.BATCH)
        changes = decode_batch(envelope.payload)
        records = dict(said[Version(version.epoch, version.seq - 1)])
        records |= {key: decode_record(key, data, member) for key, data in changes.upserts.items()}
        for key in changes.deletes:
            del records[key]
        assert said.setdefault(version, records) == records, "two different batches under one version"
        voice.signed(version, member)
        self.kept(member.cluster, batch)

    def kept(self, cluster: ClusterId, blob: bytes) -> None:
        self.blobs.setdefault(cluster, []).append(blob)


class SimulatedStore(MemoryExchange):
    """The one store of a history, with its channels."""

    def __init__(self, monotonic: Callable[[], float], *, log_length: int, log_page: int) -> None:
        super().__init__(monotonic, log_length=log_length)
        self.up = True
        self.subscriptions: list[Subscription] = []
        self._log_page = log_page

    async def read_log(self, cluster: ClusterId, after: Version) -> tuple[bytes, ...]:
        return (await super().read_log(cluster, after))[: self._log_page]

    def picture(self) -> object:
        """All data as it is now, for ``go_back``."""
        return copy.deepcopy(self._members)

    def go_back(self, picture: object) -> None:
        """The data as it was: a failover to a replica that had not heard the last writes."""
        assert isinstance(picture, dict)
        self._members = copy.deepcopy(picture)

    def inject(self, cluster: ClusterId, blob: bytes) -> None:
        """Send ``blob`` on the channel of ``cluster``, as anybody with rights on the server may."""
        self._send(cluster, blob)

    def stored(self, cluster: ClusterId) -> Stored:
        """What lies under the keys of ``cluster``, to be changed at will."""
        return self._members.setdefault(cluster, self._of(cluster))

    def _send(self, cluster: ClusterId, blob: bytes) -> None:
        for subscription in list(self.subscriptions):
            subscription.offer(Message(cluster, blob))


class Subscription:
    """The channels that one connection follows: order is kept, messages may be lost."""

    def __init__(self, connection: SimulatedConnection, clusters: frozenset[ClusterId]) -> None:
        self._connection = connection
        self._clusters = clusters
        self._queue: asyncio.Queue[tuple[float, Message] | None] = asyncio.Queue()
        self._broken = False

    def offer(self, message: Message) -> None:
        connection = self._connection
        if message.cluster in self._clusters and connection.rng.random() >= connection.loss:
            self._queue.put_nowait((connection.arrival(), message))

    def end(self) -> None:
        self._broken = True
        self._queue.put_nowait(None)

    async def messages(self) -> AsyncIterator[Message]:
        while True:
            item = await self._queue.get()
            if item is not None and (wait := item[0] - asyncio.get_running_loop().time()) > 0:
                await asyncio.sleep(wait)
            if self._broken or item is None:
                raise ExchangeUnavailableError("subscription ended")
            yield item[1]


class SimulatedConnection:
    """One member's way to the store."""

    def __init__(self, store: SimulatedStore, ledger: Ledger, voice: Voice, rng: random.Random) -> None:
        self.rng = rng
        self.loss = 0.0
        """Share of channel messages that are lost."""
        self.errors = 0.0
        """Share of commands that fail, half of them after they took effect."""
        self.latency = 0.002
        self.cut = False
        self.found_absent: set[ClusterId] = set()
        """Members that the store was seen to hold nothing of, since this connection was made."""
        self._store = store
        self._ledger = ledger
        self._voice = voice

    def arrival(self) -> float:
        return asyncio.get_running_loop().time() + self.rng.random() * self.latency

    def heal(self) -> None:
        """No fault any more."""
        self.cut = False
        self.loss = self.errors = 0.0
        self.latency = 0.002

    def drop(self) -> None:
        """End the subscriptions of this connection."""
        for subscription in self._store.subscriptions:
            if subscription._connection is self:
                subscription.end()

    async def replace(self, cluster: ClusterId, snapshot: StoredSnapshot, lease: bytes, lease_seconds: float) -> None:
        self._ledger.replaced(self._voice, snapshot, lease)
        await self._ask(lambda: self._store.replace(cluster, snapshot, lease, lease_seconds))

    async def append(self, cluster: ClusterId, written: Written, version: Version, batch: bytes) -> bool:
        self._ledger.appended(self._voice, version, batch)
        return await self._ask(lambda: self._store.append(cluster, written, version, batch))

    async def update(
        self, cluster: ClusterId, written: Written, snapshot: StoredSnapshot, removed: frozenset[int]
    ) -> bool:
        self._ledger.updated(self._voice, snapshot.manifest)
        return await self._ask(lambda: self._store.update(cluster, written, snapshot, removed))

    async def renew(self, cluster: ClusterId, written: Written, lease: bytes, lease_seconds: float) -> bool:
        self._ledger.kept(cluster, lease)
        return await self._ask(lambda: self._store.renew(cluster, written, lease, lease_seconds))

    async def read_snapshot(self, cluster: ClusterId) -> StoredSnapshot | None:
        stored = await self._ask(lambda: self._store.read_snapshot(cluster))
        if stored is None:
            self.found_absent.add(cluster)
        return stored

    async def read_log(self, cluster: ClusterId, after: Version) -> tuple[bytes, ...]:
        return await self._ask(lambda: self._store.read_log(cluster, after))

    async def read_lease(self, cluster: ClusterId) -> bytes | None:
        return await self._ask(lambda: self._store.read_lease(cluster))

    @asynccontextmanager
    async def watch(self, clusters: frozenset[ClusterId]) -> AsyncIterator[AsyncIterator[Message]]:
        await self._travel()
        subscription = Subscription(self, clusters)
        self._store.subscriptions.append(subscription)
        try:
            yield subscription.messages()
        finally:
            self._store.subscriptions.remove(subscription)

    async def aclose(self) -> None:
        self.drop()

    async def _ask(self, operation: Callable[[], Awaitable[T]]) -> T:
        await self._travel()
        answer = await operation()
        await self._travel()
        return answer

    async def _travel(self) -> None:
        await asyncio.sleep(self.rng.random() * self.latency)
        if self.cut or not self._store.up or self.rng.random() < self.errors / 2:
            raise ExchangeUnavailableError("no answer")
