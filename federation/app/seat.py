"""Seat: this cluster's place in the clusterset while its controller runs: roster, own key, session at the exchange.

An edge that wires. It tells the session and the controller who the members are, changes the own member key when asked,
and stops speaking as a member, for good, once the roster says that this cluster is none or has another key.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterable
from functools import partial

import structlog
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from controllers.status import MembershipStatus
from federation.app.clock import monotonic, utc_now
from federation.app.member_keys import MemberKeys
from federation.app.petition import Finding, Petition
from federation.app.refused import RefusedError
from federation.app.roster_keeper import RosterKeeper
from federation.exchange.base import Exchange
from federation.exchange.board import Board
from federation.exchange.connection import access_of
from federation.exchange.disk import ReplicaDisk
from federation.exchange.redis import RedisExchange
from federation.exchange.redis_board import RedisBoard
from federation.exchange.session import ExchangeSession, OnChange
from federation.exchange.signing import MemberKey
from federation.exchange.timing import Timing
from federation.membership.admission import Reason
from federation.membership.keys import public_key
from federation.membership.requests import Request, Wish, sign_request
from federation.membership.roster_file import RosterFile
from federation.model.configuration import ClusterSettings
from federation.model.errors import ConfigError, ExchangeDeniedError, TrustError
from federation.model.names import key_name
from federation.model.problems import Problem
from federation.model.records import Member

_log = structlog.get_logger(__name__)

OnMembers = Callable[[Iterable[Member]], None]

_REQUEST_SECONDS = 600.0
_TRY_AGAIN_SECONDS = 1.0


async def at_once() -> None:
    """On a site of its own the disk is all there is."""


class Seat:
    """Raises TrustError where this cluster is no member, or not with the key that it has; ConfigError where it has not
    joined yet, or as another than the settings say."""

    def __init__(
        self,
        settings: ClusterSettings,
        exchange: Exchange,
        board: Board,
        replicas: ReplicaDisk,
        on_peer: OnChange,
        leads: Callable[[], bool] = lambda: True,
        saved: Callable[[], Awaitable[None]] = at_once,
    ) -> None:
        """``saved`` returns once what is on the disk is also where the cluster's other controllers have it."""
        self._settings = settings
        self._leads = leads
        self._saved = saved
        self._exchange = exchange
        self._board = board
        rng = random.Random()  # noqa: S311 - spreads retries, protects nothing
        self._lost: Problem | None = None
        self._look: Callable[[], None] | None = None
        self.roster = RosterKeeper(
            board, RosterFile(settings.state_directory), settings.cluster, clock=utc_now, rng=rng
        )
        own = self.roster.own
        if own is None:
            raise TrustError(
                f"cluster {settings.cluster} has left clusterset {settings.clusterset} or was evicted",
                reason="NotAMember",
                hint="`federation join` with a new token makes it a member again",
            )
        _compare(settings, self.roster.known.roster.clusterset, own.trust_domain)
        self._keys = MemberKeys(settings.member_key_file)
        self._key = self._keys.load(own)
        self.session = ExchangeSession(
            exchange,
            clusterset=settings.clusterset,
            member=self._member(self._key),
            key=_signing(self._key),
            peers=self.peers,
            disk=replicas,
            clock=utc_now,
            monotonic=monotonic,
            rng=rng,
            on_change=on_peer,
            timing=Timing(beat=settings.exchange.beat_seconds, lease=settings.exchange.lease_seconds),
            leads=leads,
        )
        self._rekey_asked = asyncio.Event()
        if self._keys.prepared is not None and leads():
            # A restart interrupted the change: the authority may have granted it since.
            self._rekey_asked.set()
        self._roster_changed = asyncio.Event()
        self._rekey_refused = ""

    @property
    def peers(self) -> tuple[Member, ...]:
        """The other members; none once this cluster has lost its place, whatever a later roster says."""
        return () if self._lost is not None else self.roster.peers

    @property
    def own_key(self) -> bytes:
        """The public half of the member key in use."""
        return public_key(self._key)

    @property
    def lost(self) -> bool:
        """Whether this cluster is no member any more, or not with this key."""
        return self._lost is not None

    @property
    def in_doubt(self) -> bool:
        """Whether the cluster is a member, but with a key that this process does not have."""
        return self._lost is _ANOTHER

    def look_again(self) -> None:
        """Who leads has changed: what a standby leaves alone may be this process's now."""
        if self._look is not None:
            self._look()

    @property
    def problems(self) -> tuple[Problem, ...]:
        """What is wrong with this cluster's place, and with the roster in the exchange."""
        return self.roster.problems if self._lost is None else (self._lost, *self.roster.problems)

    def status(self) -> MembershipStatus:
        """What is known of the membership, for the owner."""
        known = self.roster.known
        return MembershipStatus(
            serial=known.roster.serial,
            members=len(known.roster.members),
            seat=known.roster.seat,
            authority=key_name(known.authority_key),
            member_key=key_name(public_key(self._key)),
            rekeying=self._rekey_asked.is_set(),
            rekey_refused=self._rekey_refused,
            rejected=dict(sorted(self.roster.rejections.items())),
            lost=self._lost is not None,
        )

    def ask_for_new_key(self) -> None:
        """Begin to replace the member key; asking again while that goes on changes nothing."""
        self._rekey_refused = ""
        self._rekey_asked.set()

    async def aclose(self) -> None:
        """Give up all connections."""
        try:
            await self._board.aclose()
        finally:
            await self._exchange.aclose()

    async def run(self, on_members: OnMembers) -> None:
        """Follow roster and exchange until cancelled; ``on_members`` hears who the others are when that changed."""
        async with asyncio.TaskGroup() as tasks:
            speaking = tasks.create_task(self.session.run(), name="exchange")

            def changed() -> None:
                self._take_place()
                peers = self.peers
                self.session.set_members(peers)
                on_members(peers)
                self._roster_changed.set()
                if self._lost is not None:
                    speaking.cancel()

            self._look = changed
            tasks.create_task(self.roster.run(changed), name="roster")
            tasks.create_task(self._rekey(), name="member key")

    def _take_place(self) -> None:
        """See what the roster says of this cluster and its key."""
        own = self.roster.own
        if self._lost is not None or (own is not None and own.public_key == public_key(self._key)):
            return
        if own is not None and own.public_key == self._keys.prepared and self._leads():
            # Granted, perhaps long after anybody waited for it.
            self._rekey_asked.set()
            return
        if own is not None and not self._leads():
            # The process that leads has changed it; this one will be told, and begin anew with it.
            return
        self._lost = _GONE if own is None else _ANOTHER
        _log.error("this cluster has lost its place", cluster=self._settings.cluster, problem=str(self._lost))

    async def _rekey(self) -> None:
        while True:
            await self._rekey_asked.wait()
            if not self._leads():
                self._rekey_refused = "this controller does not lead its cluster"
                self._rekey_asked.clear()
                continue
            try:
                await self._replace_key()
            except (OSError, TrustError, RefusedError) as error:
                self._rekey_refused = str(error)
                _log.error("member key is not replaced", reason=str(error))
                await asyncio.sleep(_TRY_AGAIN_SECONDS)
            own = self.roster.own
            if (
                self._lost is not None
                or own is None
                or public_key(self._key) == own.public_key
                or own.public_key != self._keys.prepared
            ):
                self._rekey_asked.clear()

    async def _replace_key(self) -> None:
        if self._lost is not None:
            raise TrustError(self._lost.message, reason=self._lost.reason)
        fresh = self._keys.prepare()
        # Nobody may be asked for a key that would go with this process's disk.
        await self._saved()
        if self._keys.prepared != public_key(fresh):
            raise TrustError("another controller of this cluster has changed its keys meanwhile", reason="NotLeader")
        async with asyncio.TaskGroup() as tasks:
            asking = tasks.create_task(self._refusal(fresh), name="petition")
            asking.add_done_callback(lambda _: self._roster_changed.set())
            while self._awaits(fresh) and not asking.done():
                self._roster_changed.clear()
                await self._roster_changed.wait()
            asking.cancel()
        refusal = None if asking.cancelled() else asking.result()
        if refusal is not None and self._awaits(fresh):
            if refusal.reason == Reason.KEY_TAKEN:
                # No request for this one will ever be granted; any other reason may pass, or have passed.
                self._keys.abandon()
            raise refusal
        if not self._has(fresh):
            return
        self.session.rekey(self._member(fresh), _signing(fresh))
        self._key = fresh
        self._keys.activate()
        _log.info("member key replaced", key=key_name(public_key(fresh)))

    def _awaits(self, fresh: Ed25519PrivateKey) -> bool:
        """Whether the roster, as it is believed here, may still come to name this key."""
        own = self.roster.own
        return own is not None and own.public_key != public_key(fresh) and self._lost is None

    def _has(self, fresh: Ed25519PrivateKey) -> bool:
        own = self.roster.own
        return own is not None and own.public_key == public_key(fresh) and self._lost is None

    async def _refusal(self, fresh: Ed25519PrivateKey) -> RefusedError:
        """Ask for the key until that is refused; that it was granted is the keeper's to see."""

        async def look() -> Finding[None]:
            return Finding(self.roster.known.authority_key, None)

        petition = Petition(
            self._board,
            self._settings.clusterset,
            self._settings.cluster,
            self.roster.known.roster.seat,
            partial(self._ask, fresh),
            look,
            _log.debug,
            keep_seconds=_REQUEST_SECONDS,
        )
        while True:
            try:
                await petition.outcome()
            except ExchangeDeniedError:
                await asyncio.sleep(_TRY_AGAIN_SECONDS)
            except RefusedError as error:
                return error

    def _ask(self, fresh: Ed25519PrivateKey) -> bytes:
        request = Request(
            Wish.REKEY,
            self._settings.clusterset,
            self._settings.cluster,
            self._settings.trust_domain,
            public_key(fresh),
            public_key(self._key),
            utc_now(),
        )
        return sign_request(request, fresh, self._key)

    def _member(self, key: Ed25519PrivateKey) -> Member:
        return Member(self._settings.cluster, self._settings.trust_domain, public_key(key))


_GONE = Problem(
    "membership",
    "NotAMember",
    "this cluster has left its clusterset or was evicted; with a new token it can join again",
)
_ANOTHER = Problem(
    "membership",
    "WrongKey",
    "the roster names another member key for this cluster: restart the controller if it has joined anew, otherwise "
    "evict the cluster, for somebody else has its key",
)


def _compare(settings: ClusterSettings, clusterset: str, trust_domain: str) -> None:
    """Raises ConfigError where the cluster was admitted as another than the settings say."""
    pairs = (("clusterset", settings.clusterset, clusterset), ("trustDomain", settings.trust_domain, trust_domain))
    broken = [
        f"{name}: is {said}, the cluster was admitted with {known}" for name, said, known in pairs if said != known
    ]
    if broken:
        raise ConfigError(
            f"settings of cluster {settings.cluster} differ from its membership: {'; '.join(broken)}",
            violations=broken,
            hint="put back what it was; to change it, leave the clusterset and join anew",
        )


def _signing(key: Ed25519PrivateKey) -> MemberKey:
    return MemberKey(key.private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption()))


def open_seat(
    settings: ClusterSettings,
    on_peer: OnChange,
    leads: Callable[[], bool],
    saved: Callable[[], Awaitable[None]],
) -> Seat:
    """The seat at the exchange that the settings name; raises OSError where the state directory can't be used."""
    access = access_of(settings.exchange)
    exchange, board = RedisExchange(access, settings.clusterset), RedisBoard(access, settings.clusterset)
    return Seat(settings, exchange, board, ReplicaDisk(settings.state_directory / "replicas"), on_peer, leads, saved)
