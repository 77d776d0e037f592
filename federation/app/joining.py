"""Joining a clusterset with a token: what `federation join` does.

An edge. The member key and the password for the exchange are made here and never leave: what travels is the public half
and a digest. Whatever is cut off half way is finished by doing it again; what a refused join has made is removed. A
membership that is over, by an eviction that this cluster did not hear of, is forgotten first.
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from federation.app.clock import utc_now
from federation.app.cluster_file import Place, Terms, settle
from federation.app.member_files import EXCHANGE_CA, EXCHANGE_CREDENTIALS, MemberFiles, forget_leaving
from federation.app.petition import Finding, Petition, Tell
from federation.app.refused import RefusedError
from federation.app.sites import CLUSTER_FILE
from federation.app.standing import access_as, given_credentials, is_member, save_roster, spent
from federation.exchange.credentials import Credentials, load_credentials, new_credentials
from federation.exchange.redis_board import RedisBoard
from federation.membership import admission
from federation.membership.join_token import JoinToken
from federation.membership.keys import public_key
from federation.membership.requests import Refusal, Request, Wish, sign_request
from federation.membership.roster import KnownRoster, open_roster
from federation.model.configuration import ClusterSettings
from federation.model.errors import (
    ConfigError,
    ExchangeDeniedError,
    ExchangeUnavailableError,
    TrustError,
    WireError,
)
from federation.model.exchange_address import ExchangeAddress, parse_exchange_address

_REQUEST_SECONDS = 600.0
# The authority gives the user its new password right after the roster.
_LET_IN_TRIES, _LET_IN_SECONDS = 50, 0.2


async def join(
    directory: Path, token: JoinToken, trust_domain: str, place: Place | None, tell: Tell, *, timeout_seconds: float
) -> ClusterSettings:
    """Make the cluster in ``directory`` a member; to do it again with the same key is no error.

    Raises RefusedError with the authority's reason, ConfigError, TrustError, and ExchangeUnavailableError where nobody
    answered in time; then the request stays, and doing it again goes on with it.
    """
    if not (directory / CLUSTER_FILE).exists() and utc_now() >= token.expires_at:
        raise _expired(token)
    terms = Terms(
        token.clusterset,
        token.cluster,
        trust_domain,
        _address(token),
        pinned=bool(token.exchange_ca),
        credentials=bool(token.exchange_user),
    )
    files = MemberFiles()
    try:
        settings = settle(directory, terms, place, files)
        if await is_member(settings, token, tell):
            tell(f"cluster {token.cluster} is a member of clusterset {token.clusterset} already")
            return settings
        joining = _prepared(settings, directory, token, files)
        admitted = await joining.admitted(tell, timeout_seconds)
    except (RefusedError, ConfigError, TrustError):
        files.take_back()
        raise
    # From here on nothing may be taken back: the roster names the key that was made.
    await joining.let_in()
    forget_leaving(settings)
    save_roster(settings, admitted)
    return settings


def _prepared(settings: ClusterSettings, directory: Path, token: JoinToken, files: MemberFiles) -> _Joining:
    """All that is needed to ask; what an earlier try has made is used again."""
    again = settings.member_key_file.exists()
    expired = utc_now() >= token.expires_at
    if expired and not again:
        raise _expired(token)
    key = files.key(settings.member_key_file)
    if token.exchange_ca:
        files.put(directory / EXCHANGE_CA, token.exchange_ca.encode())
    given = own = given_credentials(settings, token)
    if token.exchange_user:
        own = _own_credentials(directory / EXCHANGE_CREDENTIALS, given, files, keep=token.keep_password)
    return _Joining(settings, token, key, given, own, expired)


def _own_credentials(path: Path, given: Credentials, files: MemberFiles, *, keep: bool) -> Credentials:
    """The user's password from the admission on; one that was made by an earlier try is used again."""
    if not keep and path.exists():
        made = load_credentials(path)
        if made.username == given.username:
            return made
    own = given if keep else new_credentials(given.username)
    files.put(path, own.line.encode())
    return own


@dataclass(frozen=True, slots=True)
class _Joining:
    """One cluster's request to be admitted, and waiting for what becomes of it."""

    settings: ClusterSettings
    token: JoinToken
    key: Ed25519PrivateKey
    given: Credentials
    """Good until the admission."""
    own: Credentials
    """Made here, good from then on; the same where users are made by hand, or there are none."""
    expired: bool
    """The token is: nothing more is asked for, but an earlier try may have been granted."""

    async def admitted(self, tell: Tell, timeout_seconds: float) -> KnownRoster:
        """The roster that names this cluster and its key."""
        try:
            return await self._ask(self.given, tell, timeout_seconds)
        except ExchangeDeniedError as error:
            if self.own == self.given:
                raise _not_let_in(self.token, error) from error
        try:
            return await self._ask(self.own, tell, timeout_seconds)
        except ExchangeDeniedError as error:
            raise (_expired if self.expired else spent)(self.token) from error

    async def let_in(self) -> None:
        """Return when the exchange takes the password that was made here; raises ExchangeUnavailableError after a
        while."""
        if self.own == self.given:
            return
        async with aclosing(RedisBoard(access_as(self.settings, self.own), self.token.clusterset)) as board:
            for tries_left in reversed(range(_LET_IN_TRIES)):
                try:
                    await board.read_roster()
                except ExchangeUnavailableError:
                    if not tries_left:
                        raise
                    await asyncio.sleep(_LET_IN_SECONDS)
                else:
                    return

    async def _ask(self, credentials: Credentials, tell: Tell, timeout_seconds: float) -> KnownRoster:
        async with aclosing(RedisBoard(access_as(self.settings, credentials), self.token.clusterset)) as board:
            tell(f"exchange {self.settings.exchange.url}: {await board.server_version()}")
            # Before anything is asked for: a roster that can't be believed means that nobody can be admitted.
            if (known := (await self._look(board)).granted) is not None:
                return known
            if self.expired:
                raise _expired(self.token)
            tell(f"asked for admission, waiting for the controller of {self.token.seat}")
            try:
                async with asyncio.timeout(timeout_seconds):
                    return await self._petition(board, tell).outcome()
            except TimeoutError:
                raise ExchangeUnavailableError(
                    f"nobody answered the request of {self.token.cluster} within {timeout_seconds:g} s",
                    hint=f"is the controller of {self.token.seat}, which has the authority, running? "
                    "Then do the same again: the request is still there",
                ) from None

    def _petition(self, board: RedisBoard, tell: Tell) -> Petition[KnownRoster]:
        token = self.token
        look = partial(self._look, board)
        return Petition(
            board, token.clusterset, token.cluster, token.seat, self._request, look, tell, keep_seconds=_REQUEST_SECONDS
        )

    async def _look(self, board: RedisBoard) -> Finding[KnownRoster]:
        """The exchange's roster, if it names this cluster and its key."""
        blob = await board.read_roster()
        if blob is None:
            return Finding(self.token.authority_key, None)
        try:
            known = open_roster(blob, self.token.clusterset, self.token.authority_key)
        except WireError as error:
            raise TrustError(
                f"the roster in the exchange can't be believed: {error}",
                reason=error.reason,
                hint=f"is the token of this clusterset's authority, at {self.token.seat}? Otherwise tell whoever has "
                "it: the exchange may be tampered with",
            ) from error
        member = known.roster.member(self.token.cluster)
        admits = member is not None and member.public_key == public_key(self.key)
        return Finding(known.authority_key, known if admits else None)

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
            "" if self.own == self.given else self.own.digest,
        )
        return sign_request(request, self.key, voucher)


def _address(token: JoinToken) -> ExchangeAddress:
    try:
        return parse_exchange_address(token.exchange_url)
    except ValueError as error:
        raise TrustError(
            f"the token names an exchange that this program does not know: {error}",
            reason="TokenAltered",
            hint="ask for a new token, made by the same version of this program",
        ) from error


def _expired(token: JoinToken) -> RefusedError:
    return RefusedError(
        Refusal(
            admission.Reason.EXPIRED,
            f"the token for {token.cluster} expired at {token.expires_at:%Y-%m-%d %H:%M:%S} UTC; by the clock here it "
            f"is {utc_now():%Y-%m-%d %H:%M:%S}",
        )
    )


def _not_let_in(token: JoinToken, error: ExchangeDeniedError) -> TrustError:
    return TrustError(
        str(error),
        reason="NoExchangeUser",
        hint=f"whoever has the authority, at {token.seat}, makes the exchange's users by hand: is there one for "
        f"{token.cluster}, and was its password given to `federation token create --exchange-credentials`?",
    )
