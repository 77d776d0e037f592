"""Joining a clusterset with a token: what `federation join` does.

An edge. The member key and the password for the exchange are made here and never leave: what travels is the public half
and a digest. Whatever is cut off half way is finished by doing it again; what a refused join has made is removed.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from federation.app.authority import RefusedError, access_digest
from federation.app.clock import utc_now
from federation.app.cluster_file import EXCHANGE_CA, EXCHANGE_CREDENTIALS, Place, Terms, settle
from federation.app.member_files import MemberFiles
from federation.app.sites import CLUSTER_FILE
from federation.exchange.connection import ExchangeAccess
from federation.exchange.credentials import Credentials, load_credentials
from federation.exchange.redis_board import RedisBoard
from federation.membership import admission
from federation.membership.join_token import JoinToken
from federation.membership.keys import public_key
from federation.membership.requests import Refusal, Request, Wish, open_refusal, sign_request
from federation.membership.roster import KnownRoster, open_roster
from federation.membership.roster_file import RosterFile
from federation.model.configuration import ClusterSettings
from federation.model.errors import (
    ConfigError,
    ExchangeDeniedError,
    ExchangeUnavailableError,
    TrustError,
    WireError,
)
from federation.model.exchange_address import parse_exchange_address
from federation.model.names import ClusterId

Tell = Callable[[str], None]

_REQUEST_SECONDS = 600.0
# The request is made anew this often: it tells the time, and the exchange may have lost it.
_ASK_AGAIN_SECONDS = 5.0
_SECRET_BYTES = 32
# The authority gives the user its new password right after the roster.
_LET_IN_TRIES, _LET_IN_SECONDS = 50, 0.2


async def join(
    directory: Path, token: JoinToken, trust_domain: str, place: Place | None, tell: Tell, *, timeout_seconds: float
) -> ClusterSettings:
    """Make the cluster in ``directory`` a member; to do it again with the same key is no error.

    Raises RefusedError with the authority's reason, ConfigError, TrustError, and ExchangeUnavailableError where nobody
    answered in time; then the request stays, and doing it again goes on with it.
    """
    if (place is None or not (directory / CLUSTER_FILE).exists()) and utc_now() >= token.expires_at:
        _refuse_expired(token)
    terms = Terms(
        token.clusterset,
        token.cluster,
        trust_domain,
        parse_exchange_address(token.exchange_url),
        pinned=bool(token.exchange_ca),
        credentials=bool(token.exchange_user),
    )
    settings, made = settle(directory, terms, place)
    files = MemberFiles([directory / CLUSTER_FILE] if made else [])
    try:
        await _join(settings, directory, token, files, tell, timeout_seconds)
    except (RefusedError, ConfigError, TrustError):
        files.take_back()
        raise
    return settings


async def _join(
    settings: ClusterSettings, directory: Path, token: JoinToken, files: MemberFiles, tell: Tell, timeout_seconds: float
) -> None:
    roster_file = RosterFile(settings.state_directory)
    known = roster_file.load()
    key = files.key(settings.member_key_file)
    if known is not None and _admits(known, token.cluster, key):
        tell(f"cluster {token.cluster} is a member of clusterset {token.clusterset} already")
        return
    if utc_now() >= token.expires_at:
        _refuse_expired(token)
    if token.exchange_ca:
        files.put(directory / EXCHANGE_CA, token.exchange_ca.encode())
    given = Credentials(token.exchange_user, token.exchange_password)
    own = given
    if token.exchange_user:
        own = _own_credentials(directory / EXCHANGE_CREDENTIALS, given, files, keep=token.keep_password)
    joining = _Joining(settings, token, key, "" if own == given else access_digest(own.password))
    try:
        # What the token brings is good until the admission, what was made here from then on.
        try:
            admitted = await joining.ask(given, tell, timeout_seconds)
        except ExchangeDeniedError:
            if own == given:
                raise
            admitted = await joining.ask(own, tell, timeout_seconds)
    except ExchangeDeniedError as error:
        refusal = Refusal(admission.Reason.SPENT, f"the token for {token.cluster} was used already, or was revoked")
        raise RefusedError(refusal) from error
    if own != given:
        await joining.let_in(own)
    roster_file.save(admitted)


def _own_credentials(path: Path, given: Credentials, files: MemberFiles, *, keep: bool) -> Credentials:
    """The user's password from the admission on; one that was made by an earlier try is used again."""
    if not keep and path.exists():
        return load_credentials(path)
    own = given if keep else Credentials(given.username, secrets.token_urlsafe(_SECRET_BYTES))
    files.put(path, own.line.encode())
    return own


@dataclass(frozen=True, slots=True)
class _Joining:
    """One cluster's request to be admitted, and waiting for what becomes of it."""

    settings: ClusterSettings
    token: JoinToken
    key: Ed25519PrivateKey
    access_digest: str

    async def ask(self, credentials: Credentials, tell: Tell, timeout_seconds: float) -> KnownRoster:
        async with aclosing(RedisBoard(self._access(credentials), self.token.clusterset)) as board:
            tell(f"exchange {self.settings.exchange.url}: {await board.server_version()}")
            tell(f"asked for admission, waiting for the controller of {self.token.seat}")
            try:
                async with asyncio.timeout(timeout_seconds):
                    return await self._admitted(board)
            except TimeoutError:
                raise ExchangeUnavailableError(
                    f"nobody answered the request of {self.token.cluster} within {timeout_seconds:g} s",
                    hint=f"is the controller of {self.token.seat}, which has the authority, running? "
                    "Then do the same again: the request is still there",
                ) from None

    async def let_in(self, credentials: Credentials) -> None:
        """Return when the exchange takes the new password; raises ExchangeUnavailableError after a while."""
        async with aclosing(RedisBoard(self._access(credentials), self.token.clusterset)) as board:
            for tries_left in reversed(range(_LET_IN_TRIES)):
                try:
                    await board.read_roster()
                except ExchangeUnavailableError:
                    if not tries_left:
                        raise
                    await asyncio.sleep(_LET_IN_SECONDS)
                else:
                    return

    async def _admitted(self, board: RedisBoard) -> KnownRoster:
        while True:
            async with board.watch_answer(self.token.cluster) as notices:
                request = self._request()
                await board.write_request(self.token.cluster, request, _REQUEST_SECONDS)
                try:
                    async with asyncio.timeout(_ASK_AGAIN_SECONDS):
                        if (known := await self._outcome(board, request)) is not None:
                            return known
                        async for _ in notices:
                            if (known := await self._outcome(board, request)) is not None:
                                return known
                except TimeoutError:
                    continue

    async def _outcome(self, board: RedisBoard, request: bytes) -> KnownRoster | None:
        """The roster with this cluster in it, or None; raises RefusedError."""
        blob = await board.read_roster()
        authority_key = self.token.authority_key
        if blob is not None:
            try:
                known = open_roster(blob, self.token.clusterset, authority_key)
            except WireError as error:
                raise TrustError(
                    f"the roster in the exchange can't be believed: {error}",
                    reason=error.reason,
                    hint=f"tell whoever has the authority, at {self.token.seat}: the exchange may be tampered with",
                ) from error
            if _admits(known, self.token.cluster, self.key):
                return known
            authority_key = known.authority_key
        answer = await board.read_answer(self.token.cluster)
        if answer is None:
            return None
        try:
            refusal = open_refusal(answer, self.token.clusterset, self.token.cluster, request, authority_key)
        except WireError:
            return None
        if refusal is not None:
            raise RefusedError(refusal)
        return None

    def _request(self) -> bytes:
        voucher = self.token.key
        request = Request(
            Wish.JOIN,
            self.token.clusterset,
            self.token.cluster,
            self.settings.trust_domain,
            public_key(self.key),
            public_key(voucher),
            utc_now(),
            self.access_digest,
        )
        return sign_request(request, self.key, voucher)

    def _access(self, credentials: Credentials) -> ExchangeAccess:
        exchange = self.settings.exchange
        return ExchangeAccess(exchange.url, exchange.ca_file, (lambda: credentials) if credentials.username else None)


def _admits(known: KnownRoster, cluster: ClusterId, key: Ed25519PrivateKey) -> bool:
    member = known.roster.member(cluster)
    return member is not None and member.public_key == public_key(key)


def _refuse_expired(token: JoinToken) -> None:
    refusal = Refusal(
        admission.Reason.EXPIRED, f"the token for {token.cluster} expired at {token.expires_at:%Y-%m-%d %H:%M:%S} UTC"
    )
    raise RefusedError(refusal)
