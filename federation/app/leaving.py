"""Leaving a clusterset in peace: what `federation leave` does. An edge.

The authority takes the member out of the roster, upon which every other member forgets it; then the keys that were made
for the membership are destroyed. The cluster's own manifests, settings and CA stay.
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from pathlib import Path

from federation.app.clock import utc_now
from federation.app.member_files import LEAVING, forget
from federation.app.member_keys import MemberKeys
from federation.app.petition import Finding, Petition, Tell
from federation.app.refused import RefusedError
from federation.exchange.connection import access_of
from federation.exchange.redis_board import RedisBoard
from federation.membership.admission import Reason
from federation.membership.keys import public_key
from federation.membership.requests import Refusal, Request, Wish, sign_request
from federation.membership.roster import KnownRoster, RosterMember, accept_roster
from federation.membership.roster_file import RosterFile
from federation.model.configuration import ClusterSettings
from federation.model.errors import ConfigError, ExchangeDeniedError, ExchangeUnavailableError, TrustError

# A request waits for the authority as long as it takes: whoever leaves wants to be gone, be it next week.
_REQUEST_SECONDS = 7 * 24 * 3600.0


async def leave(settings: ClusterSettings, tell: Tell, *, timeout_seconds: float) -> None:
    """Leave the clusterset; to do it again is no error.

    Raises RefusedError with the authority's reason, TrustError where this is no member, and ExchangeUnavailableError
    where nobody answered in time; then the request stays, and is carried out when the authority is back.
    """
    known = RosterFile(settings.state_directory).load()
    if known is None:
        raise TrustError(f"cluster {settings.cluster} is no member of a clusterset", reason="NotAMember")
    if known.roster.seat == settings.cluster:
        raise RefusedError(
            Refusal(Reason.IS_SEAT, f"{settings.cluster} holds the authority of clusterset {settings.clusterset}")
        )
    asked = settings.state_directory / LEAVING
    if (own := known.roster.member(settings.cluster)) is not None:
        await _ask(settings, known, own, asked, tell, timeout_seconds)
    forget(settings)


async def _ask(
    settings: ClusterSettings, known: KnownRoster, own: RosterMember, asked: Path, tell: Tell, timeout_seconds: float
) -> None:
    seat = known.roster.seat
    async with aclosing(RedisBoard(access_of(settings.exchange), settings.clusterset)) as board:
        try:
            await board.read_roster()
            _note(asked)
            tell(f"asked to leave clusterset {settings.clusterset}, waiting for the controller of {seat}")
            async with asyncio.timeout(timeout_seconds):
                await _petition(settings, known, own, board, tell).outcome()
        except TimeoutError:
            raise ExchangeUnavailableError(
                f"nobody answered the request of {settings.cluster} within {timeout_seconds:g} s",
                hint=f"the request stays: {settings.cluster} is out as soon as the controller of "
                f"{seat} runs; do the same again then to clean up here",
            ) from None
        except RefusedError:
            asked.unlink(missing_ok=True)
            raise
        except ExchangeDeniedError as error:
            # The authority removes the user of whoever has left: so an earlier request of ours was granted.
            if not asked.exists():
                raise ExchangeDeniedError(
                    str(error),
                    hint="if the cluster was evicted there is nothing to leave: with a new token it can join again",
                ) from error


def _note(asked: Path) -> None:
    try:
        asked.touch(mode=0o600)
    except OSError as error:
        raise ConfigError(f"{asked} can't be written: {error.strerror}") from error


def _petition(
    settings: ClusterSettings, known: KnownRoster, own: RosterMember, board: RedisBoard, tell: Tell
) -> Petition[bool]:
    key = MemberKeys(settings.member_key_file).load(own)
    public = public_key(key)

    def request() -> bytes:
        wish = Request(
            Wish.LEAVE, settings.clusterset, settings.cluster, settings.trust_domain, public, public, utc_now()
        )
        return sign_request(wish, key, key)

    async def look() -> Finding[bool]:
        blob = await board.read_roster()
        newest = known if blob is None else accept_roster(blob, known)
        return Finding(newest.authority_key, newest.roster.member(settings.cluster) is None or None)

    return Petition(
        board,
        settings.clusterset,
        settings.cluster,
        known.roster.seat,
        request,
        look,
        tell,
        keep_seconds=_REQUEST_SECONDS,
    )
