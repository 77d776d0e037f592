"""An adversary with all rights on the store, a memory of all that was ever written, and a member's key of its own."""

from __future__ import annotations

import random
from collections.abc import Callable

from federation.exchange.payloads import Beat, Changes, encode_batch, encode_beat, encode_manifest
from federation.exchange.signing import BlobKind, Envelope, MemberKey, sign
from federation.model.names import ClusterId
from federation.model.records import Member, Version
from federation.model.wire import encode_record
from support.exchange import CLUSTERSET, endpoints
from support.simulated_membership import Membership
from support.simulated_store import Ledger, SimulatedStore


class Adversary:
    """``strike`` does one bad thing to one member's keys or channel, and says what."""

    def __init__(self, store: SimulatedStore, ledger: Ledger, membership: Membership, key: MemberKey) -> None:
        self._store = store
        self._ledger = ledger
        self._membership = membership
        self._key = key
        self.lasting = False
        """Whether the store holds what no honest writer will ever look at again: blobs exchanged for others."""

    def strike(self, victim: ClusterId, rng: random.Random) -> str:
        attacks: list[Callable[[ClusterId, random.Random], None]] = [
            self.send_again,
            self.send_of_another,
            self.send_forged,
            self.send_damaged,
            self.store_damaged_shard,
            self.store_old_snapshot,
            self.store_of_another,
            self.store_forged_lease,
            self.store_old_lease,
            self.damage_log,
            self.shuffle_log,
            self.speak_with_spent_key,
            self.speak_with_spent_key,
        ]
        attack = rng.choice(attacks)
        attack(victim, rng)
        return attack.__name__

    def send_again(self, victim: ClusterId, rng: random.Random) -> None:
        if blobs := self._ledger.blobs.get(victim):
            self._store.inject(victim, rng.choice(blobs))

    def send_of_another(self, victim: ClusterId, rng: random.Random) -> None:
        others = [blob for name, blobs in sorted(self._ledger.blobs.items()) if name != victim for blob in blobs]
        if others:
            self._store.inject(victim, rng.choice(others))

    def send_forged(self, victim: ClusterId, rng: random.Random) -> None:
        self._store.inject(victim, self._forged_lease(victim, rng) if rng.random() < 0.3 else self._forged(victim, rng))

    def send_damaged(self, victim: ClusterId, rng: random.Random) -> None:
        if blobs := self._ledger.blobs.get(victim):
            self._store.inject(victim, damaged(rng.choice(blobs[-3:]), rng))

    def store_damaged_shard(self, victim: ClusterId, rng: random.Random) -> None:
        shards = self._store.stored(victim).shards
        if shards:
            number = rng.choice(sorted(shards))
            shards[number] = damaged(shards[number], rng)
            self.lasting = True

    def store_old_snapshot(self, victim: ClusterId, rng: random.Random) -> None:
        if snapshots := self._ledger.snapshots.get(victim):
            old, stored = rng.choice(snapshots), self._store.stored(victim)
            stored.manifest, stored.shards = old.manifest, dict(old.shards)
            stored.log.clear()
            self.lasting = True

    def store_of_another(self, victim: ClusterId, rng: random.Random) -> None:
        other = self._store.stored(rng.choice(sorted(self._membership.roster.keys() - {victim})))
        stored = self._store.stored(victim)
        stored.manifest, stored.shards, stored.log = other.manifest, dict(other.shards), dict(other.log)

    def store_forged_lease(self, victim: ClusterId, rng: random.Random) -> None:
        stored = self._store.stored(victim)
        stored.lease, stored.lease_until = self._forged_lease(victim, rng), float("inf")

    def store_old_lease(self, victim: ClusterId, rng: random.Random) -> None:
        if blobs := self._ledger.blobs.get(victim):
            stored = self._store.stored(victim)
            stored.lease, stored.lease_until = rng.choice(blobs), float("inf")

    def damage_log(self, victim: ClusterId, rng: random.Random) -> None:
        log = self._store.stored(victim).log
        for version in list(log)[-2:]:
            log[version] = rng.choice([damaged(log[version], rng), self._forged(victim, rng)])

    def shuffle_log(self, victim: ClusterId, rng: random.Random) -> None:
        log = self._store.stored(victim).log
        blobs = list(log.values())
        rng.shuffle(blobs)
        log.update(zip(list(log), blobs, strict=True))

    def speak_with_spent_key(self, victim: ClusterId, rng: random.Random) -> None:
        """New words, genuinely signed by an evicted member, or with a key that was replaced: whoever they concern."""
        if not (spent := self._membership.spent_keys()):
            return
        cluster, key = rng.choice(spent)
        match rng.randrange(3):
            case 0:
                self._store.inject(cluster, self._forged(cluster, rng, key))
            case 1:
                self._store.inject(cluster, self._forged_lease(cluster, rng, key))
            case _:
                manifest = Envelope(BlobKind.MANIFEST, cluster, self._next_version(cluster, rng), encode_manifest({}))
                stored = self._store.stored(cluster)
                stored.manifest, stored.shards = sign(manifest, CLUSTERSET, key), {}
                stored.lease, stored.lease_until = self._forged_lease(cluster, rng, key), float("inf")
                stored.log.clear()

    def _forged(self, victim: ClusterId, rng: random.Random, key: MemberKey | None = None) -> bytes:
        version = self._next_version(victim, rng)
        record = endpoints("a", 666)
        member = Member(victim, f"{victim}.example", self._key.public)
        changes = Changes({record.record_key: encode_record(record, member)}, ())
        return sign(Envelope(BlobKind.BATCH, victim, version, encode_batch(changes)), CLUSTERSET, key or self._key)

    def _forged_lease(self, victim: ClusterId, rng: random.Random, key: MemberKey | None = None) -> bytes:
        payload = encode_beat(Beat(1_000_000, 0))
        envelope = Envelope(BlobKind.LEASE, victim, self._next_version(victim, rng), payload)
        return sign(envelope, CLUSTERSET, key or self._key)

    def _next_version(self, victim: ClusterId, rng: random.Random) -> Version:
        last = self._ledger.last_version(victim)
        return rng.choice([Version(last.epoch, last.seq + 1), Version(last.epoch + 1000, 0)])


def damaged(blob: bytes, rng: random.Random) -> bytes:
    """``blob`` cut short, with one bit changed, or junk."""
    at = rng.randrange(len(blob))
    flipped = blob[:at] + bytes([blob[at] ^ 1 << rng.randrange(8)]) + blob[at + 1 :]
    return rng.choice([blob[:at], flipped, b"junk"])
