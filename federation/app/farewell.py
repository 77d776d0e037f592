"""How a gateway or a sidecar ends without a loss: its controller has everybody call others, then what is open ends.

It goes on listening to the last moment, so that nothing is refused meanwhile. Of passed-through connections nothing but
their end can be awaited; those of HTTP end when the callers' Envoys have left them. Where no controller is asked (in
Kubernetes, whose EndpointSlices say who ends), only the second half is done.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from urllib.parse import quote

import msgspec
import structlog

from federation.app.owner_socket import exchange
from federation.model.addresses import HostPort

_log = structlog.get_logger(__name__)

DEFAULT_DRAIN = timedelta(seconds=30)
_LOOK_SECONDS = 0.2
_ASK_SECONDS = 2.0
_ACKNOWLEDGED_WITHIN = 10.0
"""Seconds in which the others must have taken it over: who has not by then loses what it sends."""
_QUIET_LOOKS = 5


class _Report(msgspec.Struct, rename="camel"):
    published: bool
    settled: bool
    waiting_for: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Owner:
    """The controller, and what it knows the proxy by."""

    socket: Path
    kind: str
    """``gateways`` or ``sidecars``."""
    address: HostPort

    def say(self, method: str) -> bool:
        """POST: it leaves; DELETE: it serves. Returns whether the controller does something about it; raises OSError
        and HTTPException where none answers."""
        path = f"/v1/leaving/{self.kind}?address={quote(str(self.address), safe='')}"
        status, _ = exchange(self.socket, method, path, _ASK_SECONDS)
        return status == HTTPStatus.OK

    def is_taken_over(self) -> bool:
        """Whether everybody who is heard, and the own Envoys, call others. Raises as ``say``."""
        status, body = exchange(self.socket, "GET", "/v1/drains", _ASK_SECONDS)
        if status != HTTPStatus.OK:
            raise HTTPException(f"the controller answers {status}")
        report = msgspec.json.decode(body, type=_Report)
        return report.settled and (self.kind == "sidecars" or (report.published and not report.waiting_for))


class Farewell:
    """What a proxy does besides running: says when it serves, and ends in peace."""

    def __init__(
        self,
        *,
        owner: Owner | None,
        admin: HostPort,
        drain: timedelta,
        open_statistics: str,
        end_calls: Callable[[], None] = lambda: None,
    ) -> None:
        """``open_statistics``: regular expression for the statistics of Envoy that count what is open;
        ``end_calls`` has HTTP connections end with the calls that are under way."""
        self._owner = owner
        self._admin = admin
        self._drain = drain
        self._statistics = open_statistics
        self._end_calls = end_calls

    async def arrive(self) -> None:
        """Have the controller know that the proxy serves, as soon as it does."""
        owner = self._owner
        while owner is not None:
            try:
                _, writer = await asyncio.open_connection(owner.address.host, owner.address.port)
                writer.transport.abort()
                await asyncio.to_thread(owner.say, "DELETE")
            except (OSError, HTTPException):
                await asyncio.sleep(_LOOK_SECONDS)
            else:
                return

    async def leave(self) -> None:
        """Return when nothing is lost by an end, or time is up."""
        if not self._drain:
            return
        if self._owner is not None:
            await self._hand_over(self._owner)
        self._end_calls()
        try:
            async with asyncio.timeout(self._drain.total_seconds()):
                await self._quiet()
        except TimeoutError:
            _log.warning("connections are cut", drain_seconds=self._drain.total_seconds())

    async def _hand_over(self, owner: Owner) -> None:
        try:
            if not await asyncio.to_thread(owner.say, "POST"):
                _log.info("others are not told of the end: they know it by no address of its own")
                return
            for _ in range(int(_ACKNOWLEDGED_WITHIN / _LOOK_SECONDS)):
                if await asyncio.to_thread(owner.is_taken_over):
                    return
                await asyncio.sleep(_LOOK_SECONDS)
            _log.warning("it ends though not everybody calls others", waited_seconds=_ACKNOWLEDGED_WITHIN)
        except (OSError, HTTPException, msgspec.DecodeError) as error:
            _log.warning("others are not told of the end: no controller answers", reason=str(error))

    async def _quiet(self) -> None:
        """Return when nothing was open for a second: between the last look and the end something may begin."""
        looks = 0
        while looks < _QUIET_LOOKS:
            looks = looks + 1 if await asyncio.to_thread(self._open) == 0 else 0
            await asyncio.sleep(_LOOK_SECONDS)

    def _open(self) -> int:
        """How much is open; nothing where Envoy does not answer, for then nothing can be waited for."""
        connection = HTTPConnection(self._admin.host, self._admin.port, timeout=_ASK_SECONDS)
        try:
            connection.request("GET", f"/stats?format=json&filter={quote(self._statistics, safe='')}")
            found = json.loads(connection.getresponse().read())["stats"]
            return sum(one["value"] for one in found if "value" in one)
        except (OSError, HTTPException, ValueError, KeyError):
            return 0
        finally:
            connection.close()
