"""A history of a clusterset: members, a store and faults, all from one seed, and what must hold of it.

Everything but the store and the clocks is real. A history first does its worst for some seconds of virtual time,
then all faults end, and the members have to agree with one another soon. ``run_history`` is the entrance.
"""

from __future__ import annotations

import asyncio
import math
import random
import shutil
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path

from federation.exchange.signing import MemberKey
from federation.exchange.timing import Timing
from federation.model.names import ClusterId
from support.simulated_adversary import Adversary, damaged
from support.simulated_membership import NAMES, Membership
from support.simulated_seat import Seat
from support.simulated_store import Ledger, SimulatedStore
from support.virtual_time import run_virtually

TIMING = Timing(hold_off=0.02, beat=1.0, lease=3.0, compaction=2.0, confirm=2.0, retry=0.05, retry_max=1.0)
AGREEMENT_SECONDS = 12.0
"""Of virtual time: some beats, a compaction and the longest back-off, twice."""

Action = Callable[[], Awaitable[str] | str]


class HistoryError(AssertionError):
    """What did not hold, in the history of which seed, and what had happened until then."""


def run_history(seed: int, directory: Path, key_type: Callable[[bytes], MemberKey] = MemberKey) -> tuple[str, ...]:
    """Run the history of ``seed`` with its disks in ``directory``; returns what happened. Raises HistoryError."""
    history = History(seed, directory, key_type)
    try:
        run_virtually(history.run())
    except Exception as error:
        events = "\n".join(f"  {event}" for event in history.events)
        command = f"pytest tests/simulation --seed {seed}"
        raise HistoryError(f"{error}\nreplay with: {command}\nwhat happened:\n{events}") from error
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    return tuple(history.events)


class History:
    """One clusterset from its first to its last moment."""

    def __init__(self, seed: int, directory: Path, key_type: Callable[[bytes], MemberKey]) -> None:
        self.events: list[str] = []
        self._seed = seed
        self._rng = random.Random(seed)
        self._directory = directory
        self._key_type = key_type
        self._doubtful: set[ClusterId] = set()
        """Members of whom something may rightly be rejected: attacked, or taken back by the store."""

    async def run(self) -> None:
        self._set_the_stage()
        for seat in self._set.seats:
            if self._rng.random() < 0.8:
                self._set.start(seat, told=True)
        actions = self._chosen_actions()
        try:
            for _ in range(self._rng.randrange(6, 26)):
                await asyncio.sleep(self._rng.expovariate(4))
                action = self._rng.choice(actions)
                done = action()
                self._note(done if isinstance(done, str) else await done)
                self._check()
            await self._end_faults()
            await self._agreement()
        finally:
            for seat in (*self._set.seats, *self._set.former):
                seat.stop()

    def _set_the_stage(self) -> None:
        rng = self._rng
        # Most histories are small: what goes wrong goes wrong between two or three.
        names = NAMES[: rng.choice([3] * 14 + [4] * 4 + [5, 5, 6, 8])]
        ledger = Ledger()
        self._store = SimulatedStore(
            asyncio.get_running_loop().time, log_length=rng.choice([1, 3, 100]), log_page=rng.choice([1, 2, 64])
        )
        self._set = Membership(self._store, ledger, self._directory, TIMING, self._seed, self._key_type)
        self._adversary = Adversary(self._store, ledger, self._set, self._key_type(b"m" * 32))
        self._pictures = [self._store.picture()]
        for name in names:
            self._set.admit(name, rng)

    def _chosen_actions(self) -> list[Action]:
        """Changes always; of the faults some, different ones in each history, so that rare ones get room."""
        faults: list[Action] = [
            self._cut,
            self._mend,
            self._drop_subscription,
            self._disturb,
            self._stop_store,
            self._start_store,
            self._lose_everything,
            self._take_picture,
            self._go_back,
            self._evict_shard,
            self._expire_lease,
            self._crash,
            self._restart,
            self._restart_damaged,
            self._set_clock,
            self._remove_member,
            self._tell_all,
            self._tell_all,
            self._evict,
            self._join,
            self._rotate_key,
            self._rotate_key,
            self._retire_key,
            self._retire_key,
            self._fill_disk,
            self._strike,
            self._strike,
        ]
        chosen = self._rng.sample(faults, self._rng.randrange(2, len(faults)))
        return [*chosen, *[self._change] * (len(chosen) // 2 + 1)]

    def _change(self) -> str:
        seat = self._rng.choice([*self._set.seats, *self._set.former])
        for _ in range(self._rng.choice([1, 1, 1, 4])):
            seat.change(self._rng)
        return f"{seat.cluster} changes"

    def _cut(self) -> str:
        seat = self._rng.choice(self._set.seats)
        if seat.alive:
            seat.connection.cut = True
            seat.connection.drop()
        return f"{seat.cluster} is cut off"

    def _mend(self) -> str:
        for seat in self._running():
            seat.connection.cut = False
        return "nobody is cut off"

    def _drop_subscription(self) -> str:
        seat = self._rng.choice(self._set.seats)
        if seat.alive:
            seat.connection.drop()
        return f"{seat.cluster} loses its subscription"

    def _disturb(self) -> str:
        seat = self._rng.choice(self._set.seats)
        if seat.alive:
            seat.connection.loss = self._rng.choice([0.0, 0.2, 0.9])
            seat.connection.errors = self._rng.choice([0.0, 0.2, 0.6])
            seat.connection.latency = self._rng.choice([0.0, 0.002, 0.3])
        return f"{seat.cluster} is disturbed"

    def _stop_store(self) -> str:
        self._store.up = False
        for seat in self._running():
            seat.connection.drop()
        return "store stops"

    def _start_store(self) -> str:
        self._store.up = True
        return "store runs"

    def _lose_everything(self) -> str:
        self._store.forget()
        return "store loses everything"

    def _take_picture(self) -> str:
        self._pictures.append(self._store.picture())
        return "store is copied"

    def _go_back(self) -> str:
        self._store.go_back(self._rng.choice(self._pictures))
        self._doubtful |= self._set.roster.keys()
        return "store goes back"

    def _evict_shard(self) -> str:
        cluster = self._rng.choice(self._set.seats).cluster
        shards = self._store.stored(cluster).shards
        if shards:
            del shards[self._rng.choice(sorted(shards))]
            self._doubtful.add(cluster)
        return f"store loses a shard of {cluster}"

    def _expire_lease(self) -> str:
        cluster = self._rng.choice(self._set.seats).cluster
        self._store.stored(cluster).lease_until = 0.0
        return f"store loses the lease of {cluster}"

    async def _crash(self) -> str:
        seat = self._rng.choice(self._set.seats)
        if seat.alive:
            await seat.crash()
        return f"{seat.cluster} is dead"

    def _restart(self) -> str:
        for seat in self._set.seats:
            if not seat.alive:
                self._set.start(seat, told=self._rng.random() < 0.7)
        return "all run"

    async def _restart_damaged(self) -> str:
        seat = self._rng.choice(self._set.seats)
        if seat.alive:
            await seat.crash()
        files = sorted(path for path in seat.directory.glob("*") if path.suffix in {".replica", ".lease"})
        if files:
            file = self._rng.choice(files)
            data = file.read_bytes()
            file.write_bytes(data[:-3] if self._rng.random() < 0.5 else damaged(data, self._rng))
            seat.trusts_disk = False
            self._doubtful.add(ClusterId(file.stem))
        self._set.start(seat, told=self._rng.random() < 0.7)
        return f"{seat.cluster} restarts from a damaged disk"

    def _set_clock(self) -> str:
        seat = self._rng.choice(self._set.seats)
        seat.skew += timedelta(seconds=self._rng.choice([-3600, -2, 2, 3600]))
        return f"clock of {seat.cluster} is set"

    def _remove_member(self) -> str:
        seat, gone = self._rng.sample(self._set.seats, 2)
        if seat.alive:
            peers = dict(seat.peers)
            seat.follow({name: member for name, member in peers.items() if name != gone.cluster})
            if self._rng.random() < 0.3:
                seat.follow(peers)
        return f"{seat.cluster} no longer knows {gone.cluster}"

    def _tell_all(self) -> str:
        for seat in self._running():
            self._set.tell(seat)
        return "all know all"

    async def _evict(self) -> str:
        return await self._set.evict(self._rng)

    def _join(self) -> str:
        return self._set.join(self._rng)

    def _rotate_key(self) -> str:
        return self._set.rotate(self._rng)

    def _retire_key(self) -> str:
        return self._set.retire(self._rng)

    def _fill_disk(self) -> str:
        seat = self._rng.choice(self._set.seats)
        if seat.alive and seat.disk is not None:
            seat.disk.refuses = self._rng.random() < 0.5
        return f"disk of {seat.cluster} is full, or no longer"

    def _strike(self) -> str:
        victim = self._rng.choice(self._set.seats).cluster
        self._doubtful.add(victim)
        return f"adversary against {victim}: {self._adversary.strike(victim, self._rng)}"

    def _running(self) -> list[Seat]:
        return self._set.running()

    def _note(self, event: str) -> None:
        self.events.append(f"{asyncio.get_running_loop().time():.3f} {event}")

    def _check(self) -> None:
        for seat in self._running():
            seat.check_all()
            falsely = seat.complaints - self._doubtful - self._set.changed
            assert not falsely, f"{seat.cluster} accuses {falsely}, of whom nothing bad was ever seen"

    async def _end_faults(self) -> None:
        """All faults end, but for the dead: some stay dead. What an adversary exchanged is cleaned up by a flush, but
        for the leases of the dead, which it keeps alive for good. All look at the store anew."""
        self._note("faults end")
        for seat in self._set.former:
            if seat.alive:
                await seat.crash()
        self._start_store()
        if self._adversary.lasting:
            self._store.forget()
        for seat in self._set.seats:
            if not seat.alive and self._rng.random() < 0.7:
                self._set.start(seat, told=True)
            elif seat.alive:
                self._set.tell(seat)
            if seat.disk is not None:
                seat.disk.refuses = not seat.alive
            if seat.alive:
                seat.connection.heal()
                seat.connection.drop()
            else:
                self._store.stored(seat.cluster).lease_until = math.inf
                self._doubtful.add(seat.cluster)

    async def _agreement(self) -> None:
        until = asyncio.get_running_loop().time() + AGREEMENT_SECONDS
        # A lease that its member renewed just before it died is a sign of life to whoever had not heard it yet.
        await asyncio.sleep(TIMING.lease)
        while disagreement := self._disagreement():
            self._check()
            assert asyncio.get_running_loop().time() < until, disagreement
            await asyncio.sleep(0.25)
        self._note("all agree")
        # Nobody rises from the dead because somebody else comes back, to the store or from a restart.
        for seat in self._running():
            seat.connection.drop()
        await self._check_dead()
        for seat in self._running():
            await seat.end()
            self._set.start(seat, told=True)
            seat.connection.heal()
        await self._check_dead()

    async def _check_dead(self) -> None:
        await asyncio.sleep(0.5)
        self._check()
        dead = {seat.cluster for seat in self._set.seats if not seat.alive}
        for reader in self._running():
            assert reader.session is not None
            risen = {name for name, seen in reader.session.snapshot().members.items() if seen.fresh} & dead
            assert not risen, f"{reader.cluster} shows as fresh {risen}, who are dead"
            assert reader.disk is not None
            left = reader.disk.clusters() - reader.peers.keys()
            assert not left, f"{reader.cluster} still has files of {left}, who are no members"

    def _disagreement(self) -> str:
        """What keeps the members from agreeing; empty where they do."""
        seats = {seat.cluster: seat for seat in self._set.seats}
        for reader in self._running():
            session = reader.session
            assert session is not None
            if not (session.connected and session.synced and session.settled):
                return f"{reader.cluster} is not connected, synced and settled"
            for cluster, seen in session.snapshot().members.items():
                writer = seats[cluster].session
                where = f"{reader.cluster} of {cluster}"
                if writer is None:
                    if seen.fresh:
                        return f"{where}: fresh, though dead"
                elif seen.version != writer.published:
                    return f"{where}: {seen.version}, not {writer.published}"
                elif seen.records != seats[cluster].desired:
                    return f"{where}: {seen.records}, not {seats[cluster].desired}"
                elif not (seen.synced and seen.fresh and seen.saved_at is None):
                    return f"{where}: {seen}"
        return ""
