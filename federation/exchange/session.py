"""ExchangeSession: one member's seat at the exchange; what the controller uses of this package.

It publishes the own records and follows the configured peers, and shows what is known of them as one
ExchangeSnapshot. It only wires: what is published is the publisher's decision, what is accepted the
replica's. Without the exchange it goes on showing the last good, across restarts from disk.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime

import structlog

from federation.exchange.base import Exchange, ExchangeSnapshot, Rejected
from federation.exchange.disk import ReplicaDisk
from federation.exchange.follower import Follower
from federation.exchange.publish_loop import PublishLoop
from federation.exchange.publisher import Publisher
from federation.exchange.rejections import Rejections
from federation.exchange.signing import MemberKey
from federation.exchange.timing import Backoff, Timing
from federation.model.errors import ExchangeUnavailableError
from federation.model.names import ClusterId, RecordKey
from federation.model.records import Member, Record, Version

_log = structlog.get_logger()

OnChange = Callable[[ClusterId, frozenset[RecordKey]], None]


def _nobody(cluster: ClusterId, keys: frozenset[RecordKey]) -> None:
    """Hears of changes while the session is being made."""


class ExchangeSession:
    """Publishes as ``member`` and follows ``peers`` (its own entry among them is passed over).

    ``on_change(cluster, keys)`` is called in the event loop after the records ``keys`` of ``cluster``
    changed, and with no keys when its freshness or knowledge did. What ``disk`` holds is in the snapshot
    from the start, without a call. Of several sessions of one member only one that ``leads`` begins to publish; the
    one that published goes on until another has.
    """

    def __init__(
        self,
        exchange: Exchange,
        *,
        clusterset: str,
        member: Member,
        key: MemberKey,
        peers: Iterable[Member],
        disk: ReplicaDisk | None,
        clock: Callable[[], datetime],
        monotonic: Callable[[], float],
        rng: random.Random,
        on_change: OnChange,
        timing: Timing | None = None,
        leads: Callable[[], bool] = lambda: True,
    ) -> None:
        self._exchange = exchange
        self._clusterset = clusterset
        self._member = member
        self._disk = disk
        self._clock = clock
        self._monotonic = monotonic
        self._rng = rng
        self._on_change: OnChange = _nobody
        self._timing = timing or Timing()
        self._rejections = Rejections(monotonic)
        self._publishing = PublishLoop(
            Publisher(member, key, clusterset),
            exchange,
            disk,
            timing=self._timing,
            clock=clock,
            monotonic=monotonic,
            rng=rng,
            on_rejected=self._rejections.count,
            leads=leads,
        )
        self._followers: dict[ClusterId, Follower] = {}
        self._discarded: set[ClusterId] = set()
        """Peers that are gone, or are others now, whose files still are to be deleted."""
        self._members_changed = asyncio.Event()
        self._synced = asyncio.Event()
        self._connected = False
        self.set_members(peers)
        self._on_change = on_change

    @property
    def connected(self) -> bool:
        """Whether the peers' channels are heard at this time."""
        return self._connected

    @property
    def synced(self) -> bool:
        """Whether all is known of every peer that the exchange has: a whole picture (read, or loaded from
        disk), that it never published, or that what it published is refused."""
        return self._synced.is_set()

    @property
    def published(self) -> Version | None:
        """The version of our own records that the exchange is known to hold."""
        return self._publishing.published

    @property
    def settled(self) -> bool:
        """Whether the exchange is known to hold all that ``publish`` was given last, signed with the present key."""
        return self._publishing.settled

    @property
    def publications(self) -> int:
        """How often everything was published: at the start, after each loss of data, with each new key."""
        return self._publishing.publications

    @property
    def losses(self) -> int:
        """How often everything was published again because the exchange had lost or changed our records."""
        return self._publishing.losses

    @property
    def rejections(self) -> Mapping[tuple[ClusterId, str], int]:
        """How often something of the present members was rejected, by member and reason, since the start."""
        return self._rejections.counts

    @property
    def recent_rejections(self) -> tuple[Rejected, ...]:
        """The last hundred, oldest first."""
        return self._rejections.recent

    def hurry(self) -> None:
        """This process may lead now: look at once whether something is to be published."""
        self._publishing.hurry()

    async def wait_synced(self) -> None:
        """Return when ``synced`` holds."""
        await self._synced.wait()

    def publish(self, desired: Mapping[RecordKey, Record]) -> None:
        """Publish exactly ``desired``. Nothing is published before the first call: empty is not unknown."""
        self._publishing.desire(desired)

    def snapshot(self) -> ExchangeSnapshot:
        """What is known of all peers now."""
        return ExchangeSnapshot({cluster: at.snapshot() for cluster, at in self._followers.items()})

    def set_members(self, peers: Iterable[Member]) -> None:
        """Follow exactly ``peers``, whoever was followed before.

        One that shares a key (and the trust domain) with what was known goes on with all that was accepted; one
        without is another member and starts anew. Of whoever is gone nothing is left, on disk neither.
        """
        wanted = {peer.cluster: peer for peer in peers if peer.cluster != self._member.cluster}
        kept = {c: at for c, at in self._followers.items() if c in wanted and _is_same(at.member, wanted[c])}
        gone = {c: at for c, at in self._followers.items() if c not in kept}
        added = {c: self._follower(peer) for c, peer in wanted.items() if c not in kept}
        self._followers = dict(sorted((kept | added).items()))
        self._discarded |= gone.keys()
        self._rejections.forget(gone.keys())
        for cluster, follower in kept.items():
            if follower.member != wanted[cluster]:
                follower.take(wanted[cluster])
        self._note_synced()
        for cluster, follower in gone.items():
            self._on_change(cluster, frozenset(follower.snapshot().records))
        for cluster, follower in added.items():
            if cluster not in self._discarded:
                follower.restore()
        self._note_synced()
        if gone or added:
            self._members_changed.set()

    def rekey(self, member: Member, key: MemberKey) -> None:
        """Go on as ``member``, signing with ``key``: everything is published again with it; peers see no gap."""
        self._member = member
        self._publishing.rekey(member, key)

    async def run(self) -> None:
        """Publish and follow until cancelled. Owns its tasks; an unreachable exchange never ends it."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._publishing.run())
            while True:
                self._members_changed.clear()
                self._tidy()
                following = tasks.create_task(self._follow(list(self._followers.values())))
                await self._members_changed.wait()
                following.cancel()
                await asyncio.wait([following])

    def _tidy(self) -> None:
        """Delete the files of whoever is no member, which nobody writes any more. What fails waits for the next
        change of members."""
        if self._disk is None:
            return
        try:
            saved = self._disk.clusters()
        except OSError as error:
            _log.warning("replicas of former members are not looked for", error=str(error))
            saved = frozenset()
        for cluster in sorted(self._discarded | (saved - self._followers.keys())):
            try:
                self._disk.forget(cluster)
            except OSError as error:
                _log.warning("replica of a former member is not deleted", peer=cluster, error=str(error))
            else:
                self._discarded.discard(cluster)

    async def _follow(self, followers: list[Follower]) -> None:
        async with asyncio.TaskGroup() as tasks:
            for follower in followers:
                tasks.create_task(follower.run())
            tasks.create_task(self._watch({at.member.cluster: at for at in followers}))

    async def _watch(self, followers: Mapping[ClusterId, Follower]) -> None:
        # Our own beats come back on our own channel: a working connection is never silent for long.
        channels = frozenset({self._member.cluster, *followers})
        backoff = Backoff(self._timing, self._rng)
        while True:
            try:
                async with self._exchange.watch(channels) as messages:
                    self._set_connected(followers, connected=True)
                    backoff.reset()
                    async for cluster, blob in messages:
                        if follower := followers.get(cluster):
                            follower.deliver(blob)
            except ExchangeUnavailableError as error:
                self._set_connected(followers, connected=False, cause=str(error))
                await asyncio.sleep(backoff.next())

    def _set_connected(self, followers: Mapping[ClusterId, Follower], *, connected: bool, cause: str = "") -> None:
        if connected != self._connected:
            self._connected = connected
            if connected:
                _log.info("exchange connected")
            else:
                _log.warning("exchange lost", error=cause)
        for follower in followers.values():
            if connected:
                follower.connected()
            else:
                follower.disconnected()
        if connected:
            self._publishing.hurry()

    def _follower(self, peer: Member) -> Follower:
        return Follower(
            peer,
            self._clusterset,
            self._exchange,
            self._disk,
            timing=self._timing,
            clock=self._clock,
            monotonic=self._monotonic,
            rng=self._rng,
            on_step=self._on_step,
        )

    def _on_step(self, follower: Follower, changed: frozenset[RecordKey], rejected: tuple[Rejected, ...]) -> None:
        if self._followers.get(follower.member.cluster) is not follower:
            return
        self._rejections.count(rejected)
        self._note_synced()
        if changed or not rejected:
            self._on_change(follower.member.cluster, changed)

    def _note_synced(self) -> None:
        if all(follower.judged for follower in self._followers.values()):
            self._synced.set()
        else:
            self._synced.clear()


def _is_same(known: Member, told: Member) -> bool:
    """Whether a member of one id is still the same: one domain, and a key that was believed before still is."""
    return known.trust_domain == told.trust_domain and not set(known.keys).isdisjoint(told.keys)
