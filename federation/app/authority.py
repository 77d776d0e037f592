"""Authority: carries out what the authority of a clusterset decides, in its ledger, on the board and at the exchange.

Used by the commands of the operator and by the controller that admits; the ledger is decided first and durably, so that
whatever could not be carried out is carried out later by ``reconcile``. The decisions are ``federation.membership``'s.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog

from federation.app.complaints import Complaints
from federation.app.refused import RefusedError
from federation.app.undivided import undivided
from federation.exchange.access import UserAdmin, username
from federation.exchange.board import Board
from federation.exchange.credentials import Credentials, new_credentials
from federation.membership import admission
from federation.membership.adoption import Adoption, adopt, examine
from federation.membership.authority_store import AuthorityStore, HeldError, Transaction
from federation.membership.join_token import SEED_BYTES, JoinToken, encode_token
from federation.membership.keys import generate_signing_key, public_key
from federation.membership.ledger import Ledger, TokenEntry
from federation.membership.requests import Refusal, Wish, open_request, sign_refusal
from federation.membership.roster import Roster, hand_over, open_roster, sign_roster
from federation.model.errors import ConfigError, ExchangeUnavailableError, TrustError, WireError
from federation.model.names import ClusterId
from federation.model.problems import Problem

_log = structlog.get_logger(__name__)

_ANSWER_SECONDS = 600.0
# Other processes hold the ledger for as long as the exchange takes to answer them.
_HELD_SECONDS, _RETRY_SECONDS = 30.0, 0.05


@dataclass(frozen=True, slots=True)
class Meeting:
    """Where the members meet, as tokens tell it."""

    url: str
    ca: str = ""
    """CA certificates (PEM) that the exchange is known by; empty: those that the system trusts."""


class Authority:
    """The authority in ``store``. Without ``users`` the exchange's users are someone else's business.

    Every method raises ExchangeUnavailableError where the exchange gave no answer; what was decided stays decided.
    Raises TrustError where the authority's files can't be used, or the exchange shows that another copy of them is.
    """

    def __init__(
        self,
        store: AuthorityStore,
        board: Board,
        users: UserAdmin | None,
        meeting: Meeting,
        clock: Callable[[], datetime],
    ) -> None:
        self._store = store
        self._board = board
        self._users = users
        self._meeting = meeting
        self._clock = clock
        self._ruled = False
        """Whether the users have the rules of this version: those of an older one may lack what members need now."""
        # Within this process whoever came first is first.
        self._turn = asyncio.Lock()
        self._complaints = Complaints(clock)
        self._compared: tuple[bytes, Roster] | None = None
        """What the exchange held, and the ledger that it was compared with, when all was well."""

    def ledger(self) -> Ledger:
        """What the authority knows now."""
        return self._store.read()

    async def offer(self, cluster: ClusterId, ttl: timedelta, access: Credentials | None = None) -> str:
        """A new token for ``cluster``, as text. ``access``: its user of a managed exchange, made by hand."""
        if access is not None and self._users is not None:
            raise ConfigError(
                "the authority makes the users of this exchange itself, and would remove one that was made by hand",
                hint="leave the user out: the token brings one",
            )
        now = self._clock().replace(microsecond=0)
        async with self._held() as held:
            roster = held.ledger.roster
            made = None if self._users is None else new_credentials(username(roster.clusterset, cluster))
            user = access or made
            token = JoinToken(
                clusterset=roster.clusterset,
                cluster=cluster,
                expires_at=now + ttl,
                exchange_url=self._meeting.url,
                authority_key=held.ledger.authority_key,
                seat=roster.seat,
                seed=secrets.token_bytes(SEED_BYTES),
                exchange_ca=self._meeting.ca,
                exchange_user=user.username if user else "",
                exchange_password=user.password if user else "",
                keep_password=access is not None,
            )
            entry = TokenEntry(public_key(token.key), cluster, now, token.expires_at, made.digest if made else "")
            await undivided(held.commit, _granted(admission.offer(held.ledger, entry, now)))
            await self._set_user(held.ledger, cluster)
        return encode_token(token)

    async def revoke(self, token_id: str) -> TokenEntry:
        """Make a token useless, and the user of the exchange that came with it."""
        async with self._held(taking=True) as held:
            await undivided(held.commit, _granted(admission.revoke(held.ledger, token_id, self._clock())))
            entry = next(token for token in held.ledger.tokens if token.id == token_id)
            await self._set_user(held.ledger, entry.cluster)
        return entry

    async def evict(self, cluster: ClusterId) -> None:
        """Take a member out: out of the roster, out of the exchange. If the exchange did not answer, do it again."""
        async with self._held(taking=True) as held:
            outcome = admission.evict(held.ledger, cluster, self._clock())
            if isinstance(outcome, Refusal) and outcome.reason == admission.Reason.NOT_A_MEMBER:
                # What an eviction that was cut off half way has left; of whoever has left, what was to be removed soon.
                await undivided(held.commit, held.ledger.with_farewell(cluster, None))
                await self._remove(held.ledger, cluster)
            await undivided(held.commit, _granted(outcome))
            await self._publish(held)
            await self._remove(held.ledger, cluster)

    async def rotate_key(self) -> bytes:
        """Give the authority another key, and destroy the one it had; returns the public half of the new one."""
        async with self._held() as held:
            fresh = generate_signing_key()
            handover = hand_over(held.ledger.roster.clusterset, held.key, fresh)
            await undivided(held.commit, admission.replace_authority(held.ledger, handover), fresh)
            await self._publish(held)
        return public_key(fresh)

    async def adoption(self) -> Adoption:
        """What it would mean to go on with the roster in the exchange, after the ledger was restored from a backup."""
        async with self._unchecked() as held:
            return examine(await self._stored_roster(), held.ledger, self._clock())

    async def adopt(self, adoption: Adoption) -> Roster:
        """Go on with the roster in the exchange, as somebody has looked at it; raises TrustError where it is not the
        same any more."""
        async with self._unchecked() as held:
            now = self._clock()
            if examine(await self._stored_roster(), held.ledger, now).roster != adoption.roster:
                raise TrustError(
                    "the exchange holds another roster by now",
                    reason="Changed",
                    hint="look again at who comes and goes",
                )
            users = {} if self._users is None else await self._users.users()
            access = {cluster: sorted(digests)[0] for cluster, digests in users.items() if digests}
            await undivided(held.commit, adopt(held.ledger, adoption, access, now))
            await self._board.publish_roster(sign_roster(held.ledger.roster, held.key))
            return held.ledger.roster

    async def answer(self, cluster: ClusterId) -> Wish | None:
        """Look at the request of a cluster, grant or refuse it; returns what was granted."""
        blob = await self._read_request(cluster)
        if blob is None:
            return None
        async with self._held() as held:
            try:
                request = open_request(blob, held.ledger.roster.clusterset, cluster)
            except WireError as error:
                # Not signed by whom it names: there is nobody to answer.
                self._complaints.warn("request rejected", cluster=cluster, reason=error.reason, error=str(error))
                await self._board.clear_request(cluster, blob)
                return None
            outcome = admission.judge(held.ledger, request, self._clock())
            if isinstance(outcome, Refusal):
                self._complaints.warn("request refused", cluster=cluster, wish=request.wish, reason=outcome.reason)
                answer = sign_refusal(outcome, request.clusterset, cluster, blob, held.key)
                await self._board.write_answer(cluster, answer, _ANSWER_SECONDS)
                await self._board.clear_request(cluster, blob)
                return None
            await undivided(held.commit, outcome.ledger)
            await self._publish(held)
            if request.wish is Wish.JOIN:
                await self._set_user(held.ledger, cluster)
            await self._board.clear_request(cluster, blob)
        _log.info("request granted", cluster=cluster, wish=request.wish, serial=outcome.ledger.roster.serial)
        return request.wish

    async def part(self) -> None:
        """Remove from the exchange who has left and had its time to hear so."""
        async with self._held() as held:
            await self._part(held)

    async def reconcile(self) -> tuple[Problem, ...]:
        """Bring the board and the exchange's users in step with the ledger, whatever had become of them; returns what
        is not the authority's to mend."""
        async with self._held() as held:
            await self._publish(held)
            await self._part(held)
            return () if self._users is None else await self._mend(self._users, held.ledger)

    async def _mend(self, users: UserAdmin, ledger: Ledger) -> tuple[Problem, ...]:
        wanted, spared = ledger.users(self._clock()), ledger.without_users(self._clock())
        present = await users.users()
        for cluster in sorted(wanted.keys() | present.keys() - spared):
            if cluster not in wanted:
                await self._remove(ledger, cluster)
            elif frozenset(wanted[cluster]) != present.get(cluster) or not self._ruled:
                await self._set_user(ledger, cluster)
        self._ruled = True
        # To remove one of these would lock a member out and destroy what it has published.
        return tuple(_made_by_hand(cluster) for cluster in sorted(present.keys() & spared - wanted.keys()))

    async def _part(self, held: Transaction) -> None:
        for cluster in held.ledger.parted(self._clock()):
            await self._remove(held.ledger, cluster)
            await undivided(held.commit, held.ledger.with_farewell(cluster, None))

    async def _publish(self, held: Transaction) -> None:
        blob = sign_roster(held.ledger.roster, held.key)
        stored = await self._stored_roster()
        if stored != blob:
            self._refuse_other_copy(stored, held.ledger)
            await self._board.publish_roster(blob)

    def _refuse_other_copy(self, stored: bytes | None, ledger: Ledger) -> None:
        """Raises TrustError where the exchange holds what our ledger does not know and our key has signed."""
        # It may be a megabyte, and be looked at with every request.
        if stored is None or self._compared == (stored, ledger.roster):
            return
        try:
            known = open_roster(stored, ledger.roster.clusterset, ledger.authority_key).roster
        except WireError:
            return
        if known.serial > ledger.roster.serial or (known.serial == ledger.roster.serial and known != ledger.roster):
            raise TrustError(
                f"the exchange holds roster {known.serial} of this authority, which its ledger (roster "
                f"{ledger.roster.serial}) does not know",
                reason="AnotherAuthority",
                hint="is another copy of authority/ in use? If there is none, and this one is from a backup, "
                "`federation authority adopt` takes that roster over",
            )
        self._compared = (stored, ledger.roster)

    async def _set_user(self, ledger: Ledger, cluster: ClusterId) -> None:
        if self._users is None:
            return
        digests = ledger.users(self._clock()).get(cluster, ())
        if digests:
            await self._users.set_user(cluster, digests)
        else:
            await self._users.delete_user(cluster)

    async def _remove(self, ledger: Ledger, cluster: ClusterId) -> None:
        # The user first: whoever was put out must not write again what is removed.
        await self._set_user(ledger, cluster)
        await self._board.purge(cluster)

    async def _read_request(self, cluster: ClusterId) -> bytes | None:
        try:
            return await self._board.read_request(cluster)
        except WireError as error:
            self._complaints.warn("request rejected", cluster=cluster, reason=error.reason, error=str(error))
            return None

    async def _stored_roster(self) -> bytes | None:
        try:
            return await self._board.read_roster()
        except WireError:
            return None

    @asynccontextmanager
    async def _held(self, *, taking: bool = False) -> AsyncIterator[Transaction]:
        """A transaction of the copy of the ledger that counts; raises TrustError where the exchange shows another one.

        ``taking``: something is taken away, which is decided also where the exchange does not answer.
        """
        async with self._unchecked() as held:
            # Before anything is decided: an old copy would only grow further apart, and destroy what is its last key.
            try:
                self._refuse_other_copy(await self._stored_roster(), held.ledger)
            except ExchangeUnavailableError:
                if not taking:
                    raise
            yield held

    @asynccontextmanager
    async def _unchecked(self) -> AsyncIterator[Transaction]:
        async with self._turn, AsyncExitStack() as stack:
            yield await self._enter(stack)

    async def _enter(self, stack: AsyncExitStack) -> Transaction:
        """Hold the ledger as soon as nobody else does; raises HeldError after a while."""
        # A thread that waited for the lock could not be called back: the end of the program would wait for it.
        loop = asyncio.get_running_loop()
        deadline = loop.time() + _HELD_SECONDS
        while True:
            try:
                return stack.enter_context(self._store.transaction(wait=False))
            except HeldError:
                if loop.time() >= deadline:
                    raise
            await asyncio.sleep(_RETRY_SECONDS)


def _made_by_hand(cluster: ClusterId) -> Problem:
    return Problem(
        f"exchange user of {cluster}",
        "MadeByHand",
        "the authority makes the users of this exchange, but has not made this one, and leaves it alone: remove "
        "authority/exchange.credentials to go on by hand, or have the cluster leave and join again to get a new one",
    )


def _granted(outcome: Ledger | Refusal) -> Ledger:
    if isinstance(outcome, Refusal):
        raise RefusedError(outcome)
    return outcome
