"""All rights on the exchange, in the hands of a member: it can't add, alter or remove a word of another.

The thief is eu-west, with its own good key and an admin's connection to Redis; the victim is us-west; everybody reads.
While calls go on, each attack must leave every reader's view as it was at every moment, be counted and named in the
status of those who read it, and be repaired by the victim where it changed what is stored.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

import msgspec
import pytest
from redis import Redis

from federation.exchange.base import Keys, StoredSnapshot
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
from federation.model.names import BUNDLE_KEY, ClusterId, RecordKey, ServiceKey
from federation.model.records import BundleRecord, EndpointsRecord, Member, Version, ZoneCount
from federation.model.wire import MAX_BATCH_BYTES, encode_record
from support.clusterset import CLUSTERSET, NAMESPACE, cli
from support.load import failures, steady_load, until
from support.processes import eventually
from support.triangle import Site, Triangle, own_service, three_clusters

pytestmark = [pytest.mark.envoy, pytest.mark.timeout(120)]

VICTIM, THIEF, OTHER = "us-west", "eu-west", "us-east"
RATE = 60
LEASE_MILLISECONDS = 3000


@dataclass(frozen=True)
class Loot:
    """What the victim's keys once held: all of it signed by the victim, and since overtaken."""

    snapshot: StoredSnapshot
    lease: bytes
    batch: bytes


class Thief:
    """A member's good key, an admin's connection, and a memory."""

    def __init__(self, redis: Redis[bytes], site: Site) -> None:
        self.redis = redis
        self.keys = {name: Keys(CLUSTERSET, ClusterId(name)) for name in (VICTIM, THIEF)}
        self.member = Member(ClusterId(THIEF), site.cluster.trust_domain, b"")
        self._key = MemberKey(site.cluster.key.private_bytes_raw())
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

    def delete_everything(self) -> None:
        self.redis.flushall()

    def delete_the_lease(self) -> None:
        self.redis.delete(self.victim.lease)

    def make_the_lease_longer(self) -> None:
        self.redis.pexpire(self.victim.lease, 1_000_000)

    def make_the_lease_shorter(self) -> None:
        self.redis.pexpire(self.victim.lease, 1)


@dataclass(frozen=True)
class Siege:
    sites: Triangle
    thief: Thief

    def site(self, name: str) -> Site:
        return self.sites.sites[name]

    def view(self, *silent: str) -> dict[str, Any]:
        """What every cluster knows and its Envoys were given, but for those whose controllers can't be asked."""
        return {
            name: (site.cluster.services(), site.endpoints(), trust(site))
            for name, site in self.sites.sites.items()
            if name not in silent
        }

    def rejected(self, reader: str, of: str, reason: str) -> int:
        return int(self.site(reader).cluster.peer(of)["rejected"].get(reason, 0))

    def last_words(self, reader: str, of: str) -> set[str]:
        return {each["reason"] for each in self.site(reader).cluster.peer(of)["lastRejections"] if each["message"]}

    def speak(self) -> None:
        """Have the victim publish two batches, the second of which takes the first one back, and wait for everybody."""
        victim, log = self.site(VICTIM), self.thief.victim.log
        for hosts in ([victim.pod.sidecar.address, victim.cluster.host(12)], [victim.pod.sidecar.address]):
            before = self.thief.redis.xlen(log)
            victim.cluster.export("later", {"http": 8199}, hosts)
            eventually(lambda before=before: self.thief.redis.xlen(log) > before, "the victim says something newer")
        head = self.thief.redis.xrevrange(log, count=1)[0][0].decode()
        for reader in (OTHER, THIEF):
            cluster = self.site(reader).cluster
            eventually(lambda cluster=cluster: cluster.peer(VICTIM)["version"] == head, f"{reader} has heard it")
            eventually(lambda cluster=cluster: "later" in cluster.services(), f"{reader} imports it")

    def republished(self, name: str) -> int:
        return int(self.site(name).cluster.status()["republished"])


def trust(site: Site) -> tuple[set[str], list[tuple[str, bool]]]:
    """The CA certificates in the Envoy, and whom the controller trusts."""
    found = site.pod.sidecar.admin.read("/certs")["certificates"]
    roots = {one["serial_number"] for entry in found for one in entry.get("ca_cert", ())}
    return roots, [(peer["cluster"], peer["trusted"]) for peer in site.cluster.status()["peers"]]


@pytest.fixture(scope="module")
def siege(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Siege]:
    """Three clusters that call one another, and a thief who has watched the victim for a while."""
    with three_clusters(tmp_path_factory.mktemp("rights")) as sites:
        sites.restore()
        assert sites.set.redis is not None
        with Redis.from_url(sites.set.redis.url) as redis:
            siege = Siege(sites, Thief(redis, sites.sites[THIEF]))
            loot(siege)
            yield siege


def loot(siege: Siege) -> None:
    """Keep what the victim says, and have it say something newer."""
    thief = siege.thief
    snapshot, lease = thief.snapshot(), thief.redis.get(thief.victim.lease)
    assert lease is not None
    siege.speak()
    _, fields = thief.redis.xrange(thief.victim.log)[0]
    eventually(lambda: thief.snapshot().manifest != snapshot.manifest, "the snapshot has what is new")
    thief.loot = Loot(snapshot, lease, fields[b"b"])


@asynccontextmanager
async def nobody_notices(siege: Siege, *silent: str) -> AsyncIterator[None]:
    """Calls go on and every view stays as it was, at each moment of the context."""
    before = siege.view(*silent)
    seen: list[dict[str, Any]] = []

    async def watch() -> None:
        while True:
            seen.append(await asyncio.to_thread(siege.view, *silent))
            await asyncio.sleep(0.02)

    async with steady_load(siege.sites.targets(RATE)) as outcomes:
        watching = asyncio.ensure_future(watch())
        try:
            yield
            looks = len(seen) + 3
            await until(lambda: watching.done() or len(seen) >= looks, "views are read")
        finally:
            watching.cancel()
            with suppress(asyncio.CancelledError):
                await watching
    for view in seen:
        assert view == before
    assert failures(outcomes) == {}


SENT: dict[Callable[[Thief], None], str] = {
    Thief.send_garbage: "Malformed",
    Thief.send_a_forged_batch: "BadSignature",
    Thief.send_a_forged_lease: "BadSignature",
    Thief.send_an_own_batch_as_the_victims: "WrongMember",
    Thief.send_an_oversized_batch: "Oversized",
    Thief.send_a_batch_of_another_clusterset: "WrongClusterset",
    Thief.send_a_batch_of_an_unknown_schema: "UnknownSchema",
    Thief.send_an_old_batch: "Replayed",
    Thief.send_an_old_lease: "Replayed",
}

STORED: dict[Callable[[Thief], None], tuple[str, bool]] = {
    Thief.store_a_forged_snapshot: ("BadSignature", True),
    Thief.store_a_forged_lease: ("BadSignature", False),
    Thief.store_an_old_snapshot: ("Replayed", True),
    Thief.store_an_old_lease: ("Replayed", False),
    Thief.swap_the_victims_keys_with_its_own: ("WrongMember", True),
}
"""With the reason that readers give, and whether the victim has to publish everything again."""

ALTERED = (
    Thief.add_a_forged_batch_to_the_log,
    Thief.add_an_old_batch_to_the_log,
    Thief.delete_the_log,
    Thief.delete_the_manifest,
    Thief.delete_a_shard,
    Thief.delete_everything,
)


def name_of(value: object) -> str:
    return getattr(value, "__name__", "").replace("_", " ")


@pytest.mark.parametrize("attack", SENT, ids=name_of)
async def test_what_is_sent_in_anothers_name_is_refused_and_named(
    siege: Siege, attack: Callable[[Thief], None]
) -> None:
    """A message on the victim's channel changes nothing; every reader counts it under its reason."""
    reason = SENT[attack]
    before = {reader: siege.rejected(reader, VICTIM, reason) for reader in (OTHER, THIEF)}
    async with nobody_notices(siege):
        attack(siege.thief)
        for reader, count in before.items():
            await until(
                lambda reader=reader, count=count: siege.rejected(reader, VICTIM, reason) == count + 1,
                f"{reader} counts {reason}",
            )
            assert reason in siege.last_words(reader, VICTIM)


@pytest.mark.parametrize("attack", STORED, ids=name_of)
async def test_what_is_stored_in_anothers_name_is_refused_and_named(
    siege: Siege, attack: Callable[[Thief], None]
) -> None:
    """While the victim's controller can't defend its keys, readers are made to read them: they count what they find,
    and keep what they know; when it can, it publishes again what was changed."""
    reason, repaired = STORED[attack]
    before, published = siege.rejected(OTHER, VICTIM, reason), siege.republished(VICTIM)
    defender = siege.site(VICTIM).cluster.controller
    async with nobody_notices(siege, VICTIM):
        defender.freeze()
        try:
            attack(siege.thief)
            await until(lambda: siege.rejected(OTHER, VICTIM, reason) > before, f"{OTHER} counts {reason}")
            assert reason in siege.last_words(OTHER, VICTIM)
        finally:
            defender.thaw()
        await until(
            lambda: siege.republished(VICTIM) == published + repaired and siege.site(OTHER).all_live(),
            "the victim's word is restored",
        )


@pytest.mark.parametrize("attack", ALTERED, ids=name_of)
async def test_what_is_altered_is_published_again(siege: Siege, attack: Callable[[Thief], None]) -> None:
    """The victim notices at its next beat that the exchange doesn't hold what it wrote, and says so in its status."""
    siege.speak()
    before = siege.republished(VICTIM)
    async with nobody_notices(siege):
        attack(siege.thief)
        await until(lambda: siege.republished(VICTIM) == before + 1, "the victim has published again")
        await until(siege.site(OTHER).all_live, f"{OTHER} hears it")


@pytest.mark.parametrize(
    "attack",
    [Thief.delete_the_lease, Thief.make_the_lease_longer, Thief.make_the_lease_shorter],
    ids=name_of,
)
async def test_a_lease_is_the_victims_to_renew(siege: Siege, attack: Callable[[Thief], None]) -> None:
    """Whatever is done to the lease's life, the next beat makes it what it was."""
    thief = siege.thief
    async with nobody_notices(siege):
        attack(thief)
        await until(lambda: 0 < thief.redis.pttl(thief.victim.lease) <= LEASE_MILLISECONDS, "the lease is as it was")
        assert siege.site(OTHER).all_live()


async def test_anothers_bundle_is_refused_in_the_thiefs_own_records(siege: Siege) -> None:
    """With its own good key and under its own name, a member can't speak for another's trust domain."""
    reason = "WrongTrustDomain"
    before = {reader: siege.rejected(reader, THIEF, reason) for reader in (OTHER, VICTIM)}
    async with nobody_notices(siege):
        siege.thief.send_the_victims_bundle_as_its_own()
        for reader, count in before.items():
            await until(
                lambda reader=reader, count=count: siege.rejected(reader, THIEF, reason) == count + 1,
                f"{reader} counts {reason}",
            )
            await until(siege.site(reader).all_live, f"{reader} finds all live")


def test_status_names_all_of_it(siege: Siege) -> None:
    """The command line shows the attempts to a person: at the readers by reason, at the victim as losses."""
    siege.thief.send_a_forged_batch()
    siege.thief.delete_the_manifest()
    reader, victim = (siege.site(name).cluster for name in (OTHER, VICTIM))
    eventually(lambda: siege.republished(VICTIM) > 0, "the victim has published again")
    eventually(lambda: siege.rejected(OTHER, VICTIM, "BadSignature") > 0, f"{OTHER} counts")
    at_reader = cli("status", "--dir", str(reader.directory)).stdout
    at_victim = cli("status", "--dir", str(victim.directory)).stdout
    assert f"rejected from {VICTIM}: batch is not signed with the key of {VICTIM} (BadSignature)" in at_reader
    assert "lost or changed our records" in at_victim
