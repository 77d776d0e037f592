"""Standing: whether a cluster is a member still, as far as its disk and the exchange tell, before it joins by a token.

And what is needed to ask the exchange then: which user, which access. An edge; a membership that is over is forgotten
here, for its key would be admitted by nobody.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import aclosing

from federation.app.member_files import forget
from federation.app.member_keys import MemberKeys
from federation.app.refused import RefusedError
from federation.exchange.connection import ExchangeAccess
from federation.exchange.credentials import Credentials, load_credentials
from federation.exchange.redis_board import RedisBoard
from federation.membership.admission import Reason
from federation.membership.join_token import JoinToken
from federation.membership.keys import load_signing_key, public_key
from federation.membership.requests import Refusal
from federation.membership.roster import KnownRoster, RosterMember, accept_roster, open_roster
from federation.membership.roster_file import RosterFile
from federation.model.configuration import ClusterSettings
from federation.model.errors import (
    ConfigError,
    ExchangeDeniedError,
    ExchangeUnavailableError,
    TrustError,
    WireError,
)

Tell = Callable[[str], None]


async def is_member(settings: ClusterSettings, token: JoinToken, tell: Tell) -> bool:
    """Whether the cluster is in the clusterset, by its own roster and, as far as it can be asked, by the exchange's.

    What is left of a membership that is over is forgotten: its key would be admitted by nobody.
    """
    try:
        known = RosterFile(settings.state_directory).load()
    except TrustError as error:
        if error.reason != "RosterCorrupt":
            raise
        tell(f"{error}: asking for another one")
        return False
    if known is None:
        return False
    own = known.roster.member(token.cluster)
    newest = known
    if own is not None:
        try:
            newest = await _newest(settings, token, known) or known
        except ExchangeDeniedError as error:
            raise spent(token) from error
        except ExchangeUnavailableError as error:
            tell(f"the roster on disk could not be compared with the newest one: {error}")
        except WireError:
            # The authority that the token is of has founded the clusterset anew.
            return False
        now = newest.roster.member(token.cluster)
        if now is not None and _holds(settings, now):
            if newest is not known:
                save_roster(settings, newest)
            return True
        if now is not None:
            return False
        tell(f"cluster {token.cluster} has been evicted since: it gets a new member key")
    forget(settings)
    return False


async def _newest(settings: ClusterSettings, token: JoinToken, known: KnownRoster) -> KnownRoster | None:
    """The exchange's roster, asked for as this cluster's own user, then as the token's; None where there is none, or
    none to be believed. Raises WireError where it is one of the token's authority and not of the known one."""
    denied = ExchangeDeniedError("the exchange lets nobody in")
    for credentials in (*_kept(settings), given_credentials(settings, token)):
        try:
            async with aclosing(RedisBoard(access_as(settings, credentials), token.clusterset)) as board:
                blob = await board.read_roster()
        except ExchangeDeniedError as error:
            denied = error
            continue
        if blob is None:
            return None
        try:
            return accept_roster(blob, known)
        except WireError:
            if not _is_readable(blob, known):
                _refuse_refounded(blob, token)
            return None
    raise denied


def _is_readable(blob: bytes, known: KnownRoster) -> bool:
    """Whether the known authority signed it, though it is not newer than the known one."""
    try:
        open_roster(blob, known.roster.clusterset, known.authority_key)
    except WireError:
        return False
    return True


def _refuse_refounded(blob: bytes, token: JoinToken) -> None:
    try:
        open_roster(blob, token.clusterset, token.authority_key)
    except WireError:
        return
    raise WireError("AnotherAuthority", f"clusterset {token.clusterset} has another authority now")


def _kept(settings: ClusterSettings) -> list[Credentials]:
    file = settings.exchange.credentials_file
    return [load_credentials(file)] if file is not None and file.exists() else []


def given_credentials(settings: ClusterSettings, token: JoinToken) -> Credentials:
    """The exchange's user that the token brings; without one, that which was made by hand, if there is one."""
    if token.exchange_user:
        return Credentials(token.exchange_user, token.exchange_password)
    return next(iter(_kept(settings)), Credentials("", ""))


def _holds(settings: ClusterSettings, own: RosterMember) -> bool:
    """Whether the member key, or the next one that a crash kept beside it, is the one in the roster."""
    path = settings.member_key_file
    if MemberKeys(path).prepared == own.public_key:
        return True
    return path.exists() and public_key(load_signing_key(path)) == own.public_key


def access_as(settings: ClusterSettings, credentials: Credentials) -> ExchangeAccess:
    """The exchange of the settings, as that user; without a name, as nobody."""
    exchange = settings.exchange
    return ExchangeAccess(exchange.url, exchange.ca_file, (lambda: credentials) if credentials.username else None)


def save_roster(settings: ClusterSettings, known: KnownRoster) -> None:
    """Put the roster where the controller begins with it; raises ConfigError."""
    file = RosterFile(settings.state_directory)
    try:
        file.save(known)
    except OSError as error:
        raise ConfigError(f"{file.path} can't be written: {error.strerror}", hint="then do the same again") from error


def spent(token: JoinToken) -> RefusedError:
    """What it means that the exchange knows neither the token's user nor ours."""
    return RefusedError(Refusal(Reason.SPENT, f"the token for {token.cluster} was used already, or was revoked"))
