"""The membership of a simulated clusterset: the authority's roster, the seats, and who was told what of it.

The roster changes at once and in one place; that members hear of it late, in any order, or after a restart, is what a
history is about. Whoever is evicted goes on running, with a key that was genuine.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from federation.exchange.signing import MemberKey
from federation.exchange.timing import Timing
from federation.model.names import ClusterId
from federation.model.records import Member
from support.simulated_seat import Seat
from support.simulated_store import Ledger, SimulatedStore

NAMES = "abcdefgh"


class Membership:
    """Who belongs to the clusterset now, and who did."""

    def __init__(
        self,
        store: SimulatedStore,
        ledger: Ledger,
        directory: Path,
        timing: Timing,
        seed: int,
        key_type: Callable[[bytes], MemberKey],
    ) -> None:
        self.roster: dict[ClusterId, Member] = {}
        self.seats: list[Seat] = []
        self.former: list[Seat] = []
        """Evicted members, some of whom never stop."""
        self.changed: set[ClusterId] = set()
        """Members that some may rightly refuse: they were evicted, came again, or changed their key."""
        self._store = store
        self._ledger = ledger
        self._directory = directory
        self._timing = timing
        self._seed = seed
        self._key_type = key_type
        self._keys: dict[bytes, MemberKey] = {}
        self._made = 0

    def admit(self, name: str, rng: random.Random) -> Seat:
        """A new member with a key and a disk of its own, not started yet."""
        key = self._new_key(name)
        member = Member(ClusterId(name), f"{name}.example", key.public)
        self.roster[member.cluster] = member
        directory = self._directory / f"{name}-{self._made}"
        voice = self._ledger.admit(member)
        seat = Seat(member, key, voice, self._store, self._ledger, directory, self._timing, str(self._seed))
        seat.skew = timedelta(seconds=rng.choice([0, 0, 0.5, -0.5, 3600, -3600, 10 * 365 * 86400]))
        seat.change(rng)
        self.seats.append(seat)
        self.seats.sort(key=lambda at: at.cluster)
        return seat

    def running(self) -> list[Seat]:
        return [seat for seat in self.seats if seat.alive]

    def peers_of(self, seat: Seat) -> dict[ClusterId, Member]:
        return {name: member for name, member in self.roster.items() if name != seat.cluster}

    def tell(self, seat: Seat) -> None:
        """``seat`` runs, and hears of the roster as it is now: of the others, and of its own key."""
        self._hand_key(seat)
        seat.follow(self.peers_of(seat))

    def start(self, seat: Seat, *, told: bool) -> None:
        """Start ``seat`` with the roster as it is now, or as it knew it when it died."""
        if told or not seat.peers:
            self._hand_key(seat)
            seat.start(self.peers_of(seat))
        else:
            seat.start(seat.peers)

    def spent_keys(self) -> list[tuple[ClusterId, MemberKey]]:
        """The keys that once were a member's, and that nobody believes any more."""
        believed = {key for seat in self.seats for peer in (seat.member, *seat.peers.values()) for key in peer.keys}
        believed |= {key for member in self.roster.values() for key in member.keys}
        # Who was evicted may go on believing others who were.
        believed |= {key for seat in self.former if seat.alive for peer in seat.peers.values() for key in peer.keys}
        return [
            (self._ledger.voices[public].cluster, key) for public, key in self._keys.items() if public not in believed
        ]

    # What befalls a clusterset: each says what it did.

    async def evict(self, rng: random.Random) -> str:
        if len(self.seats) < 3:
            return "nobody is evicted"
        seat = rng.choice(self.seats)
        self.seats.remove(seat)
        self.former.append(seat)
        del self.roster[seat.cluster]
        self.changed.add(seat.cluster)
        if seat.alive and rng.random() < 0.5:
            await seat.crash()
        return f"{seat.cluster} is evicted; {self._tell_some(rng)}"

    def join(self, rng: random.Random) -> str:
        free = [name for name in NAMES if ClusterId(name) not in self.roster]
        again = [name for name in free if any(seat.cluster == name for seat in self.former)]
        if not free:
            return "nobody joins"
        seat = self.admit(rng.choice(again) if again and rng.random() < 0.8 else free[0], rng)
        self.changed.add(seat.cluster)
        self.start(seat, told=True)
        return f"{seat.cluster} joins; {self._tell_some(rng)}"

    def rotate(self, rng: random.Random) -> str:
        cluster = rng.choice(sorted(self.roster))
        member = self.roster[cluster]
        key = self._new_key(cluster)
        self._ledger.give_key(member, key.public)
        self.roster[cluster] = replace(member, public_key=key.public, retiring_key=member.public_key)
        self.changed.add(cluster)
        return f"{cluster} gets a new key; {self._tell_some(rng)}"

    def retire(self, rng: random.Random) -> str:
        retiring = [cluster for cluster, member in sorted(self.roster.items()) if member.retiring_key is not None]
        if not retiring:
            return "no key retires"
        cluster = rng.choice(retiring)
        self.roster[cluster] = replace(self.roster[cluster], retiring_key=None)
        return f"the old key of {cluster} retires; {self._tell_some(rng)}"

    def _tell_some(self, rng: random.Random) -> str:
        told = [seat for seat in self.running() if rng.random() < 0.6]
        for seat in told:
            self.tell(seat)
        return f"told: {[str(seat.cluster) for seat in told]}"

    def _hand_key(self, seat: Seat) -> None:
        member = self.roster[seat.cluster]
        if member != seat.member:
            seat.rekey(member, self._keys[member.public_key])

    def _new_key(self, name: str) -> MemberKey:
        self._made += 1
        key = self._key_type(f"{name}{self._made}".encode().ljust(32, b"."))
        self._keys[key.public] = key
        return key
