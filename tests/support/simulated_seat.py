"""One member of a simulated clusterset: its wishes, its disk, its clock, and its session while it runs.

What its session shows is compared with the ledger each time that it tells of a change. The sessions, followers,
publishers and disks are the real ones.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

from federation.exchange.base import MemberSnapshot, StoredSnapshot
from federation.exchange.disk import ReplicaDisk
from federation.exchange.session import ExchangeSession
from federation.exchange.signing import MemberKey
from federation.exchange.timing import Timing
from federation.model.names import BUNDLE_KEY, ClusterId, RecordKey
from federation.model.records import BundleRecord, Member, Record, Version
from support.exchange import CLUSTERSET, bundle, by_key, endpoints, gateway
from support.simulated_store import Ledger, SimulatedConnection, SimulatedStore, Voice

START = datetime(2026, 1, 1, tzinfo=UTC)


class SimulatedDisk(ReplicaDisk):
    """A real disk that notes what it was given, and takes nothing more once its member is dead or while it is full."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.refuses = False
        self.holds: dict[ClusterId, Version] = {}

    def save(self, cluster: ClusterId, version: Version, snapshot: StoredSnapshot) -> None:
        self._check()
        super().save(cluster, version, snapshot)
        self.holds[cluster] = max(version, self.holds.get(cluster, version))

    def rebase(self, cluster: ClusterId, version: Version, snapshot: StoredSnapshot) -> None:
        self._check()
        super().rebase(cluster, version, snapshot)
        self.holds[cluster] = max(version, self.holds.get(cluster, version))

    def append(self, cluster: ClusterId, batches: Mapping[Version, bytes]) -> int:
        self._check()
        size = super().append(cluster, batches)
        if size and batches:
            self.holds[cluster] = max(batches)
        return size

    def confirm(self, cluster: ClusterId, now: datetime) -> None:
        self._check()
        super().confirm(cluster, now)

    def save_lease(self, cluster: ClusterId, blob: bytes) -> None:
        self._check()
        super().save_lease(cluster, blob)

    def forget(self, cluster: ClusterId) -> None:
        super().forget(cluster)
        self.holds.pop(cluster, None)

    def save_epoch(self, epoch: int) -> None:
        self._check()
        super().save_epoch(epoch)

    def _check(self) -> None:
        if self.refuses:
            raise OSError("the disk takes nothing")


class Seat:
    """A member, running or crashed."""

    def __init__(
        self,
        member: Member,
        key: MemberKey,
        voice: Voice,
        store: SimulatedStore,
        ledger: Ledger,
        directory: Path,
        timing: Timing,
        seed: str,
    ) -> None:
        self.member = member
        self.cluster = member.cluster
        self.directory = directory
        self.skew = timedelta(0)
        self.desired: Mapping[RecordKey, Record] = {}
        self.peers: dict[ClusterId, Member] = {}
        self.session: ExchangeSession | None = None
        self.connection: SimulatedConnection
        self.disk: SimulatedDisk | None = None
        self.trusts_disk = True
        """False once the files of this member were damaged: what was lost with them may come back older."""
        self.complaints: set[ClusterId] = set()
        """Members that something was ever rejected of."""
        self._key = key
        self._voice = voice
        self._store = store
        self._ledger = ledger
        self._timing = timing
        self._seed = seed
        self._lives = 0
        self._running: asyncio.Task[None] | None = None
        self._values: dict[str, int] = {}
        self._sequence = 0
        self._has_bundle = True
        self._findings: list[AssertionError] = []
        self._shown: dict[ClusterId, Version] = {}
        self._bundles: dict[ClusterId, int] = {}
        self._gone: set[ClusterId] = set()
        """Members that it was told are none any more, or are others, since it was started."""

    @property
    def alive(self) -> bool:
        return self.session is not None

    def clock(self) -> datetime:
        return START + timedelta(seconds=asyncio.get_running_loop().time()) + self.skew

    def start(self, peers: Mapping[ClusterId, Member]) -> None:
        """Start from what the disk holds, and say at once what is desired."""
        self._lives += 1
        rng = random.Random(f"{self._seed}/{self.cluster}/{self._lives}")
        self._drop_others(peers)
        held = {} if self.disk is None or not self.trusts_disk else self.disk.holds
        self.disk = SimulatedDisk(self.directory)
        self.disk.holds |= held
        self.connection = SimulatedConnection(self._store, self._ledger, self._voice, rng)
        self.connection.errors = rng.choice([0.0, 0.0, 0.3])
        self.peers = dict(peers)
        self._shown.clear()
        self._bundles.clear()
        self._gone.clear()
        self.session = ExchangeSession(
            self.connection,
            clusterset=CLUSTERSET,
            member=self.member,
            key=self._key,
            peers=peers.values(),
            disk=self.disk,
            clock=self.clock,
            monotonic=asyncio.get_running_loop().time,
            rng=rng,
            on_change=self.heard,
            timing=self._timing,
        )
        for cluster, snapshot in self.session.snapshot().members.items():
            least = held.get(cluster)
            if least is not None and not self._ledger_of(cluster).signers_of(least.epoch) <= set(peers[cluster].keys):
                continue  # what was saved holds, in part, for a key that is believed no longer
            assert least is None or (snapshot.version is not None and snapshot.version >= least), (
                f"{self.cluster} saved {least} of {cluster}, and restarted with {snapshot.version}"
            )
        self.check_all()
        self.session.publish(self.desired)
        self._running = asyncio.get_running_loop().create_task(self.session.run())
        self.trusts_disk = True

    async def crash(self) -> None:
        """End at this moment: nothing more is written, not even what is being written."""
        assert self.disk is not None
        self.disk.refuses = True
        await self.end()

    async def end(self) -> None:
        """End as one who is asked to."""
        assert self._running is not None
        self.check_all()
        self._running.cancel()
        await asyncio.wait([self._running])
        self.end_well()
        self.session = None

    def stop(self) -> None:
        """Ask the session to end, whatever its state."""
        if self._running is not None:
            self._running.cancel()

    def end_well(self) -> None:
        """A session may be ended; it does not end by itself. Tells of what was found wrong while it ran."""
        if self._findings:
            raise self._findings[0]
        if self._running is not None and self._running.done() and not self._running.cancelled():
            raise AssertionError(f"session of {self.cluster} ended") from self._running.exception()

    def follow(self, peers: Mapping[ClusterId, Member]) -> None:
        """Take ``peers`` for the members of the set."""
        assert self.session is not None
        # Whatever was accepted until now was accepted under the keys known until now.
        self.check_all()
        self._drop_others(peers)
        anew = {
            cluster for cluster in self._gone & peers.keys() if not _is_same(self.peers.get(cluster), peers[cluster])
        }
        self.peers = dict(peers)
        self.session.set_members(peers.values())
        for cluster in anew:
            version = self.session.snapshot().members[cluster].version
            assert version is None, f"{self.cluster} shows {version} of {cluster}, who was gone"
        self.check_all()

    def rekey(self, member: Member, key: MemberKey) -> None:
        """Go on with another key."""
        self.member, self._key = member, key
        if self.session is not None:
            self.session.rekey(member, key)

    def _drop_others(self, peers: Mapping[ClusterId, Member]) -> None:
        """Expect nothing any more of those who are no members in ``peers``, or not the same."""
        others = {cluster for cluster, known in self.peers.items() if not _is_same(known, peers.get(cluster))}
        for cluster in others:
            self._shown.pop(cluster, None)
            self._bundles.pop(cluster, None)
            if self.disk is not None:
                self.disk.holds.pop(cluster, None)
        self._gone |= others

    def change(self, rng: random.Random) -> None:
        """Want something else than before."""
        name = rng.choice("abcd")
        match rng.randrange(8):
            case 0:
                self._values.pop(name, None)
            case 1:
                self._sequence += 1
            case 2:
                self._has_bundle = not self._has_bundle
            case _:
                self._values[name] = rng.randrange(5)
        records: list[Record] = [endpoints(name, ready) for name, ready in self._values.items()]
        if self._has_bundle:
            records.append(bundle(self._sequence, self.cluster, b"%d" % self._sequence))
        self.desired = by_key(gateway(), *records)
        if self.session is not None:
            self.session.publish(self.desired)

    def check_all(self) -> None:
        """All that must hold of what this member shows, at any moment."""
        assert self.session is not None
        self.end_well()
        members = self.session.snapshot().members
        assert members.keys() == self.peers.keys(), f"{self.cluster} shows {sorted(members)}"
        for cluster, seen in members.items():
            self.check(cluster, seen)
        self.check_synced(members)

    def heard(self, cluster: ClusterId, keys: frozenset[RecordKey]) -> None:
        """The session told of a change of ``cluster``; what is wrong is told later, not to the session."""
        if self.session is None:
            return
        members = self.session.snapshot().members
        try:
            if (seen := members.get(cluster)) is not None:
                self.check(cluster, seen)
            if not keys:
                self.check_synced(members)
        except AssertionError as error:
            self._findings.append(error)

    def check_synced(self, members: Mapping[ClusterId, MemberSnapshot]) -> None:
        """A session that counts as synced knows of each peer all there is, or why nothing of it is accepted."""
        assert self.session is not None
        refused = {cluster for cluster, _ in self.session.rejections}
        self.complaints |= refused
        if self.session.synced:
            unknown = {cluster for cluster, at in members.items() if not at.synced}
            assert unknown <= refused, f"{self.cluster} is synced, but never heard of {unknown}"

    def check(self, cluster: ClusterId, seen: MemberSnapshot) -> None:
        """What is shown of ``cluster`` is what it said under that version, and not older than what was shown."""
        where = f"{self.cluster} shows of {cluster}"
        last = self._shown.get(cluster)
        if seen.version is None:
            assert last is None, f"{where} nothing after {last}"
            assert not seen.records, f"{where} records of no version"
            known_absent = cluster in self.connection.found_absent
            assert known_absent or not seen.synced, f"{where} emptiness that it never read"
            return
        assert seen.synced, f"{where} a version without being synced"
        voice = self._ledger_of(cluster)
        said = voice.said.get(seen.version)
        assert said is not None, f"{where} {seen.version}, which was never said"
        if seen.version != last:
            believed = not voice.signers[seen.version].isdisjoint(self.peers[cluster].keys)
            assert believed, f"{where} {seen.version}, signed with a key that is not believed"
        assert said == seen.records, f"{where} {seen.records} under {seen.version}, which said {said}"
        assert last is None or seen.version >= last, f"{where} {seen.version} after {last}"
        self._shown[cluster] = seen.version
        record = seen.records.get(BUNDLE_KEY)
        if isinstance(record, BundleRecord):
            before = self._bundles.get(cluster, 0)
            assert record.sequence >= before, f"{where} bundle {record.sequence} after {before}"
            self._bundles[cluster] = record.sequence

    def _ledger_of(self, cluster: ClusterId) -> Voice:
        return self._ledger.voices[self.peers[cluster].public_key]


def _is_same(known: Member | None, told: Member | None) -> bool:
    """Whether one keeps what it knows of a member when it is told of another entry of that id."""
    if known is None or told is None:
        return False
    return known.trust_domain == told.trust_domain and bool(set(known.keys) & set(told.keys))
