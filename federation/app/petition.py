"""Petition: one request of a cluster to the clusterset's authority, made again until it is granted or refused.

An edge on a board, for whoever joins, leaves or wants another key. That a request was granted shows in the roster, so
whoever asks says what to look for there; what is verified, and with which key, is ``federation.membership``'s.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from federation.app.refused import RefusedError
from federation.exchange.board import Board
from federation.membership.requests import open_refusal
from federation.model.errors import ExchangeDeniedError, ExchangeUnavailableError, TrustError, WireError
from federation.model.names import ClusterId

T = TypeVar("T")

Tell = Callable[[str], None]

# The request is made anew this often: it tells the time, and the exchange may have lost it, or its notice.
_ASK_AGAIN_SECONDS = 5.0
_RETRY_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Finding(Generic[T]):
    """What a look at the roster has shown."""

    authority_key: bytes
    """Of the authority, as far as the roster tells: who refuses signs with it."""
    granted: T | None
    """What was asked for; None: not yet."""


@dataclass(frozen=True, slots=True)
class Petition(Generic[T]):
    """``make`` makes the request, signed, with the present time; ``look`` looks for what it asks for.

    Of the errors of ``look`` those of the exchange, TrustError and WireError are waited out.
    """

    board: Board
    clusterset: str
    cluster: ClusterId
    seat: ClusterId
    make: Callable[[], bytes]
    look: Callable[[], Awaitable[Finding[T]]]
    tell: Tell
    keep_seconds: float
    """How long the request waits for the authority when nobody makes it anew."""

    async def outcome(self) -> T:
        """What was granted; raises RefusedError with the authority's reason, and ExchangeDeniedError where the
        exchange does not let this cluster in."""
        while True:
            try:
                async with self.board.watch_answer(self.cluster) as notices:
                    request = self.make()
                    await self.board.write_request(self.cluster, request, self.keep_seconds)
                    async with asyncio.timeout(_ASK_AGAIN_SECONDS):
                        if (granted := await self._answered(request, notices)) is not None:
                            return granted
            except TimeoutError:
                self.tell(f"still waiting for the controller of {self.seat}")
            except ExchangeDeniedError:
                raise
            except (ExchangeUnavailableError, TrustError, WireError) as error:
                # It may be granted at any moment all the same: what was made for it must not be taken back.
                self.tell(f"waiting for the exchange: {error}")
                await asyncio.sleep(_RETRY_SECONDS)

    async def _answered(self, request: bytes, notices: AsyncIterator[None]) -> T | None:
        if (granted := await self._looked(request)) is not None:
            return granted
        async for _ in notices:
            if (granted := await self._looked(request)) is not None:
                return granted
        return None

    async def _looked(self, request: bytes) -> T | None:
        finding = await self.look()
        if finding.granted is not None:
            return finding.granted
        answer = await self.board.read_answer(self.cluster)
        if answer is None:
            return None
        try:
            refusal = open_refusal(answer, self.clusterset, self.cluster, request, finding.authority_key)
        except WireError:
            # Anybody could have put it there.
            return None
        if refusal is not None:
            raise RefusedError(refusal)
        return None
