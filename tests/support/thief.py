"""A member that has stolen an admin's rights on the exchange, and what it does with them to another member's keys.

It has a good key of its own, remembers what its victim once said, and can't sign as anybody else. Each attack is a
method of its own, without arguments.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import msgspec
from redis import Redis

from federation.exchange.base import Keys, StoredSnapshot
from federation.exchange.board import BoardKeys
from federation.exchange.payloads import (
    SHARDS,
    Beat,
    Changes,
    digest,
    encode_batch,
    encode_beat,
    encode_manifest,
    encode_shard,
    shard_of,
)
from federation.exchange.signing import BlobKind, Envelope, MemberKey, sign
from federation.membership.roster import KnownRoster, Roster, hand_over, sign_roster
from federation.membership.roster_file import RosterFile
from federation.model.names import BUNDLE_KEY, ClusterId, RecordKey, ServiceKey
from federation.model.records import BundleRecord, EndpointsRecord, Member, Version, ZoneCount
from federation.model.sizes import MAX_ROSTER_BYTES
from federation.model.wire import MAX_BATCH_BYTES, encode_record
from support.clusterset import CLUSTERSET, NAMESPACE
from support.triangle import Site, own_service

VICTIM, THIEF = "us-west", "eu-west"


@dataclass(frozen=True)
class Loot:
    """What the victim's keys once held: all of it signed by the victim, and since overtaken."""

    snapshot: StoredSnapshot
    lease: bytes
    batch: bytes
    roster: bytes
    """The authority's word, overtaken too."""


class Thief:
    """A member's good key, an admin's connection, and a memory."""

    def __init__(self, redis: Redis[bytes], site: Site) -> None:
        self.redis = redis
        self.keys = {name: Keys(CLUSTERSET, ClusterId(name)) for name in (VICTIM, THIEF)}
        self.member = Member(ClusterId(THIEF), site.cluster.trust_domain, b"")
        self.directory = site.cluster.directory
        self.key = site.cluster.key
        self.roster = BoardKeys(CLUSTERSET).roster
        self._key = MemberKey(self.key.private_bytes_raw())
        self.loot: Loot | None = None

    @property
    def victim(self) -> Keys:
        return self.keys[VICTIM]

    @property
    def stolen(self) -> Loot:
        assert self.loot is not None
        return self.loot

    def sign(
        self, kind: BlobKind, payload: bytes, *, cluster: str = VICTIM, ahead: int = 1, of: str = CLUSTERSET
    ) -> bytes:
        """A blob that claims to be the cluster's next word, signed with the thief's key."""
        last = self.version(cluster)
        return sign(Envelope(kind, ClusterId(cluster), Version(last.epoch, last.seq + ahead), payload), of, self._key)

    def forged_batch(self, *, of: str = CLUSTERSET, size: int = 0) -> bytes:
        return self.sign(BlobKind.BATCH, encode_batch(self.forged_changes(size)), of=of)

    def forged_changes(self, size: int = 0) -> Changes:
        """More endpoints for the victim's service; ``size`` bytes of anything else."""
        record = EndpointsRecord(ServiceKey(NAMESPACE, own_service(VICTIM)), (ZoneCount("a", 666),))
        upserts = {record.record_key: encode_record(record, self.member)}
        return Changes(upserts | ({RecordKey("junk"): bytes(size)} if size else {}), ())

    def forged_lease(self) -> bytes:
        return self.sign(BlobKind.LEASE, encode_beat(Beat(1_000_000, 0)), ahead=1000)

    def forged_snapshot(self) -> StoredSnapshot:
        changes = self.forged_changes().upserts
        number = shard_of(next(iter(changes)))
        shard = self.sign(BlobKind.SHARD, encode_shard(number, changes), ahead=1000)
        manifest = self.sign(BlobKind.MANIFEST, encode_manifest({number: digest(shard)}), ahead=1000)
        return StoredSnapshot(manifest, {number: shard})

    def version(self, cluster: str) -> Version:
        """The newest that the cluster has said, by its log and its lease: anybody can read that."""
        lease = self.redis.get(self.keys[cluster].lease)
        assert lease is not None
        body = msgspec.msgpack.decode(msgspec.msgpack.decode(lease)[0])
        last = self.redis.xrevrange(self.keys[cluster].log, count=1)
        said = [Version(*map(int, entry.split(b"-"))) for entry, _ in last]
        return max([Version(body[5], body[6]), *said])

    def publish(self, blob: bytes, cluster: str = VICTIM) -> None:
        self.redis.publish(self.keys[cluster].channel, blob)

    def snapshot(self) -> StoredSnapshot:
        numbers = range(SHARDS)
        manifest, *shards = self.redis.mget(self.victim.manifest, *map(self.victim.shard, numbers))
        assert manifest is not None
        return StoredSnapshot(manifest, {number: blob for number, blob in zip(numbers, shards, strict=True) if blob})

    def store(self, snapshot: StoredSnapshot, lease: bytes | None) -> None:
        """Put these into the place of the victim's own, without its log, and have everybody read them."""
        with self.redis.pipeline() as pipe:
            pipe.delete(self.victim.log, self.victim.lease, *map(self.victim.shard, range(SHARDS)))
            pipe.set(self.victim.manifest, snapshot.manifest)
            for number, blob in snapshot.shards.items():
                pipe.set(self.victim.shard(number), blob)
            if lease is not None:
                pipe.set(self.victim.lease, lease)
            pipe.execute()
        self.have_all_read()

    def put_up(self, roster: bytes) -> None:
        """In the place of the authority's roster, for everybody to read."""
        with self.redis.pipeline() as pipe:
            pipe.set(self.roster, roster)
            pipe.publish(self.roster, b"")
            pipe.execute()

    def known_roster(self) -> KnownRoster:
        known = RosterFile(self.directory / "state").load()
        assert known is not None
        return known

    def own_roster(self, of: str = CLUSTERSET) -> Roster:
        """The next roster, without the victim."""
        roster = self.known_roster().roster
        members = [member for member in roster.members if member.cluster != VICTIM]
        return replace(roster.with_members(members), clusterset=of)

    def have_all_read(self) -> None:
        """End everybody's subscriptions: whoever comes back reads what is stored."""
        self.redis.execute_command("CLIENT", "KILL", "TYPE", "pubsub")

    # The attacks.

    def send_garbage(self) -> None:
        self.publish(b"junk")

    def send_a_forged_batch(self) -> None:
        self.publish(self.forged_batch())

    def send_a_forged_lease(self) -> None:
        self.publish(self.forged_lease())

    def send_an_own_batch_as_the_victims(self) -> None:
        payload = encode_batch(self.forged_changes())
        self.publish(self.sign(BlobKind.BATCH, payload, cluster=THIEF))

    def send_an_oversized_batch(self) -> None:
        self.publish(self.forged_batch(size=MAX_BATCH_BYTES + 2048))

    def send_a_batch_of_another_clusterset(self) -> None:
        self.publish(self.forged_batch(of="other"))

    def send_a_batch_of_an_unknown_schema(self) -> None:
        body, signature = msgspec.msgpack.decode(self.forged_batch())
        fields = msgspec.msgpack.decode(body)
        fields[1] = 99
        self.publish(msgspec.msgpack.encode([msgspec.msgpack.encode(fields), signature]))

    def send_an_old_batch(self) -> None:
        self.publish(self.stolen.batch)

    def send_an_old_lease(self) -> None:
        self.publish(self.stolen.lease)

    def send_the_victims_bundle_as_its_own(self) -> None:
        bundle = BundleRecord(f"{VICTIM}.test", 1_000_000, (b"der",))
        owner = Member(ClusterId(VICTIM), f"{VICTIM}.test", b"")
        changes = Changes({BUNDLE_KEY: encode_record(bundle, owner)}, ())
        self.publish(self.sign(BlobKind.BATCH, encode_batch(changes), cluster=THIEF), THIEF)
        # It has used up the next version of the thief's own log: let its controller begin another.
        self.redis.delete(self.keys[THIEF].manifest)

    def add_a_forged_batch_to_the_log(self) -> None:
        self._add(self.forged_batch())

    def add_an_old_batch_to_the_log(self) -> None:
        self._add(self.stolen.batch)

    def _add(self, blob: bytes) -> None:
        last = self.version(VICTIM)
        self.redis.xadd(self.victim.log, {b"b": blob}, id=f"{last.epoch}-{last.seq + 1}")

    def store_a_forged_snapshot(self) -> None:
        self.store(self.forged_snapshot(), None)

    def store_a_forged_lease(self) -> None:
        self.redis.set(self.victim.lease, self.forged_lease())
        self.have_all_read()

    def store_an_old_snapshot(self) -> None:
        self.store(self.stolen.snapshot, self.stolen.lease)

    def store_an_old_lease(self) -> None:
        self.redis.set(self.victim.lease, self.stolen.lease)
        self.have_all_read()

    def swap_the_victims_keys_with_its_own(self) -> None:
        mine, its = self.keys[THIEF], self.victim
        names = [(mine.log, its.log), (mine.manifest, its.manifest), (mine.lease, its.lease)]
        names += [(mine.shard(number), its.shard(number)) for number in range(SHARDS)]
        with self.redis.pipeline() as pipe:
            for a, b in names:
                there = [bool(self.redis.exists(name)) for name in (a, b)]
                if there[0]:
                    pipe.rename(a, f"{a}.swap")
                if there[1]:
                    pipe.rename(b, a)
                if there[0]:
                    pipe.rename(f"{a}.swap", b)
            pipe.execute()
        self.have_all_read()

    def delete_the_log(self) -> None:
        self.redis.delete(self.victim.log)

    def delete_the_manifest(self) -> None:
        self.redis.delete(self.victim.manifest)

    def delete_a_shard(self) -> None:
        self.redis.delete(self.victim.shard(min(self.snapshot().shards)))

    def alter_a_shard(self) -> None:
        """Under the victim's own manifest."""
        self.redis.set(self.victim.shard(min(self.snapshot().shards)), b"junk")

    def delete_everything(self) -> None:
        self.redis.flushall()

    def delete_the_lease(self) -> None:
        self.redis.delete(self.victim.lease)

    def put_up_garbage(self) -> None:
        self.put_up(b"junk")

    def put_up_a_roster_of_its_own(self) -> None:
        self.put_up(sign_roster(self.own_roster(), self.key))

    def put_up_a_handover_to_itself(self) -> None:
        real = hand_over(CLUSTERSET, self.key, self.key)
        forged = replace(real, old=self.known_roster().authority_key)
        self.put_up(sign_roster(self.own_roster().with_handover(forged), self.key))

    def put_up_a_roster_of_another_clusterset(self) -> None:
        self.put_up(sign_roster(self.own_roster("other"), self.key))

    def put_up_an_altered_roster(self) -> None:
        body, signatures = msgspec.msgpack.decode(self.known_roster().blob)
        fields = msgspec.msgpack.decode(body)
        fields[2] += 1
        self.put_up(msgspec.msgpack.encode([msgspec.msgpack.encode(fields), signatures]))

    def put_up_an_old_roster(self) -> None:
        self.put_up(self.stolen.roster)

    def put_up_an_oversized_roster(self) -> None:
        self.put_up(bytes(MAX_ROSTER_BYTES + 1))

    def put_up_a_roster_of_an_unknown_schema(self) -> None:
        body, signatures = msgspec.msgpack.decode(self.known_roster().blob)
        fields = msgspec.msgpack.decode(body)
        fields[0] = 99
        self.put_up(msgspec.msgpack.encode([msgspec.msgpack.encode(fields), signatures]))

    def make_the_lease_longer(self) -> None:
        self.redis.pexpire(self.victim.lease, 1_000_000)

    def make_the_lease_shorter(self) -> None:
        self.redis.pexpire(self.victim.lease, 1)
