"""SharedChanges: has a running controller go by what another one of its cluster has written, and begin anew where it
can't. An edge.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Final, Protocol

import structlog

from controllers.controller import Controller
from controllers.journal import Journal
from federation.app.kube.post import Post
from federation.app.kube.shared_state import JOURNAL
from federation.app.member_keys import MemberKeys
from federation.app.trust import TrustKeeper
from federation.exchange.session import ExchangeSession
from federation.membership.keys import load_signing_key, public_key
from federation.membership.roster_file import RosterFile
from federation.model.configuration import ClusterSettings
from federation.model.errors import ConfigError, FederationError, TrustError
from trustbundle.authority import CertificateAuthority

_log = structlog.get_logger(__name__)

_CA: Final = "state/ca/"
_OTHER_KEY: Final = frozenset({"member.key", "exchange.credentials"})
"""What a controller knows from its start on."""

_LOOK_SECONDS: Final = 0.5
_CLEAR_SECONDS: Final = 30.0


class BeginAnewError(FederationError):
    """The controller must be built anew: it is another member now, or none any more."""


class Place(Protocol):
    """What is needed of a Seat."""

    @property
    def lost(self) -> bool: ...

    @property
    def own_key(self) -> bytes: ...

    def look_again(self) -> None: ...


class _ClearAway(Protocol):
    def __call__(self, *, patience_seconds: float) -> Coroutine[None, None, None]: ...


class SharedChanges:
    """What becomes of the files that controllers share while one of them runs."""

    def __init__(
        self,
        settings: ClusterSettings,
        post: Post,
        *,
        built_in: CertificateAuthority,
        journal: Journal,
        controller: Controller,
        keeper: TrustKeeper,
        session: ExchangeSession,
        seat: Place,
        mark: Callable[[], None],
    ) -> None:
        self._post = post
        self._built_in = built_in
        self._journal = journal
        self._controller = controller
        self._keeper = keeper
        self._session = session
        self._mark = mark
        self._settings = settings
        self._seat = seat
        self._roster = RosterFile(settings.state_directory)
        self._credentials = self._read_credentials()
        self._other_key = False

    async def run(self, clear_away: _ClearAway) -> None:
        """Until cancelled; raises BeginAnewError. ``clear_away`` removes what a membership has left."""
        forget = self._post.listen(self._take)
        try:
            while True:
                if self._other_key:
                    raise BeginAnewError("another controller of this cluster has changed its keys")
                if self._joined_anew():
                    raise BeginAnewError("a command has changed this cluster's keys, or made it a member again")
                if not self._roster.path.exists():
                    await clear_away(patience_seconds=_CLEAR_SECONDS)
                    raise BeginAnewError("the membership is over")
                await asyncio.sleep(_LOOK_SECONDS)
        finally:
            forget()

    def _joined_anew(self) -> bool:
        """Whether a command that was run on this directory has made of this cluster another member than this process
        is; what has gone is half of a leave, and the end of it is waited for."""
        file = self._settings.member_key_file
        if not file.exists() or not self._roster.path.exists():
            return False
        try:
            key = public_key(load_signing_key(file))
            prepared = MemberKeys(file).prepared
            if not self._seat.lost:
                credentials = self._read_credentials()
                # The next key is this process's, though it could not be put in its place yet.
                other = self._seat.own_key not in {key, prepared}
                return other or (credentials is not None and credentials != self._credentials)
            known = self._roster.load()
        except TrustError:
            return False
        own = None if known is None else known.roster.member(self._settings.cluster)
        return own is not None and own.public_key == key

    def _read_credentials(self) -> bytes | None:
        file = self._settings.exchange.credentials_file
        try:
            return None if file is None else file.read_bytes()
        except OSError:
            return None

    def _take(self, files: frozenset[str]) -> None:
        self._other_key |= not _OTHER_KEY.isdisjoint(files)
        try:
            if any(name.startswith(_CA) for name in files):
                self._built_in.reload()
            if JOURNAL in files:
                self._journal.reload()
                self._controller.on_journal()
        except (ConfigError, TrustError) as error:
            # The Secret holds one file beside another of before, for a moment; or somebody has edited it.
            _log.warning("shared state is not taken over", reason=str(error), hint=error.hint)
        if not self._other_key:
            self._seat.look_again()
        self._session.hurry()
        self._keeper.wake()
        self._mark()
