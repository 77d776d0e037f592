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
from federation.app.bundles import OwnAuthority
from federation.app.kube.post import Post
from federation.app.trust import TrustKeeper
from federation.exchange.session import ExchangeSession
from federation.membership.roster_file import RosterFile
from federation.model.configuration import ClusterSettings
from federation.model.errors import ConfigError, FederationError, TrustError
from trustbundle.authority import CertificateAuthority

_log = structlog.get_logger(__name__)

_CA: Final = "state/ca/"
_JOURNAL: Final = "state/journal.json"
_OTHER_KEY: Final = frozenset({"member.key", "exchange.credentials"})
"""What a controller knows from its start on."""

_LOOK_SECONDS: Final = 0.5
_CLEAR_SECONDS: Final = 30.0


class BeginAnewError(FederationError):
    """The controller must be built anew: it is another member now, or none any more."""


class _ClearAway(Protocol):
    def __call__(self, *, patience_seconds: float) -> Coroutine[None, None, None]: ...


class SharedChanges:
    """What becomes of the files that controllers share while one of them runs."""

    def __init__(
        self,
        settings: ClusterSettings,
        post: Post,
        *,
        authority: OwnAuthority,
        journal: Journal,
        controller: Controller,
        keeper: TrustKeeper,
        session: ExchangeSession,
        mark: Callable[[], None],
    ) -> None:
        self._post = post
        self._authority = authority
        self._journal = journal
        self._controller = controller
        self._keeper = keeper
        self._session = session
        self._mark = mark
        self._roster = RosterFile(settings.state_directory).path
        self._other_key = False

    async def run(self, clear_away: _ClearAway) -> None:
        """Until cancelled; raises BeginAnewError. ``clear_away`` removes what a membership has left."""
        forget = self._post.listen(self._take)
        try:
            while True:
                if self._other_key:
                    raise BeginAnewError("another controller of this cluster has changed its keys")
                if not self._roster.exists():
                    await clear_away(patience_seconds=_CLEAR_SECONDS)
                    raise BeginAnewError("the membership is over")
                await asyncio.sleep(_LOOK_SECONDS)
        finally:
            forget()

    def _take(self, files: frozenset[str]) -> None:
        self._other_key |= not _OTHER_KEY.isdisjoint(files)
        try:
            if any(name.startswith(_CA) for name in files) and isinstance(self._authority, CertificateAuthority):
                self._authority.reload()
            if _JOURNAL in files:
                self._journal.reload()
                self._controller.on_journal()
        except (ConfigError, TrustError) as error:
            # The Secret holds one file beside another of before, for a moment; or somebody has edited it.
            _log.warning("shared state is not taken over", reason=str(error), hint=error.hint)
        self._session.hurry()
        self._keeper.wake()
        self._mark()
