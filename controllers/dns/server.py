"""The DNS server's edge: UDP and TCP on one address. It moves bytes; what they mean is ``answers``' business.

It lives in the controller's event loop. One packet, or one message of a connection, is answered per turn of the loop,
and each source has a budget, so that a flood of questions leaves room for everything else. All queues are bounded: what
does not fit is dropped and counted, since whoever asks DNS asks again.
"""

from __future__ import annotations

import asyncio
import errno
import socket
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Final

import structlog

from controllers.dns.answers import MAX_QUERY, answer
from controllers.dns.flood import SourceBudgets
from controllers.dns.zone import ZoneView
from federation.model.addresses import HostPort
from federation.model.errors import ConfigError

_log = structlog.get_logger(__name__)

SLOW_SECONDS: Final = 0.001
"""An answer that takes longer is counted as slow."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What strangers may use up. The defaults leave a resolver with a cache far more than it needs."""

    per_second: float = 2_000
    """Questions of one source (an IPv4 address, an IPv6 /64), over UDP and TCP together."""
    burst: float = 4_000
    sources: int = 10_000
    """Sources that budgets are kept of."""
    connections: int = 256
    """Of all sources."""
    connections_per_source: int = 64
    idle_seconds: float = 10.0
    """Time for the next whole question of a connection, and for an answer to be taken (RFC 7766 §6.2.3)."""


@dataclass(slots=True)
class DnsCounters:
    """What the server did, since its start."""

    queries: Counter[tuple[str, str]] = field(default_factory=Counter)
    """By type and response code."""
    dropped: Counter[str] = field(default_factory=Counter)
    """Packets and connections that got no answer, by reason: ``flood``, ``unreadable``, ``busy``, ``connections``."""
    truncated: int = 0
    seconds: float = 0.0
    """Time spent on answers."""
    slow: int = 0
    connections: int = 0
    """Of TCP, at this moment."""


class DnsServer:
    """Answers for ``clusterset.local`` at one address."""

    def __init__(
        self,
        listen: HostPort,
        ttl_seconds: int,
        view: Callable[[], ZoneView | None],
        monotonic: Callable[[], float],
        limits: Limits = Limits(),
    ) -> None:
        """``view`` is asked at every question; None is answered with SERVFAIL."""
        self.listen = listen
        self.counters = DnsCounters()
        self._ttl_seconds = ttl_seconds
        self._view = view
        self._monotonic = monotonic
        self._limits = limits
        self._budgets = SourceBudgets(limits.per_second, limits.burst, limits.sources)
        self._turn = 0
        self._conversations: dict[asyncio.Task[None], bytes | str] = {}

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        """Serve while the context lasts; raises ConfigError where the address can't be had."""
        loop = asyncio.get_running_loop()
        with self._bound(socket.SOCK_STREAM) as stream, self._bound(socket.SOCK_DGRAM) as datagram:
            udp, _ = await loop.create_datagram_endpoint(lambda: Datagrams(self), sock=datagram)
            # Not asyncio's own server: what that has accepted at the moment of its end is never closed.
            stream.listen()
            loop.add_reader(stream, self._accept, stream)
            try:
                yield
            finally:
                loop.remove_reader(stream)
                udp.close()
                for conversation in self._conversations:
                    conversation.cancel()
                await asyncio.gather(*self._conversations, return_exceptions=True)

    def reply(self, query: bytes, source: bytes | str, *, udp: bool) -> bytes | None:
        """The answer to one message, counted; None where there is none to give."""
        began = self._monotonic()
        if not self._budgets.take(source, began):
            self.counters.dropped["flood"] += 1
            return None
        self._turn += 1
        reply = answer(query, self._view(), self._ttl_seconds, turn=self._turn, udp=udp)
        if reply is None:
            self.counters.dropped["unreadable"] += 1
            return None
        passed = self._monotonic() - began
        self.counters.queries[reply.kind, reply.rcode] += 1
        self.counters.truncated += reply.truncated
        self.counters.seconds += passed
        self.counters.slow += passed > SLOW_SECONDS
        return reply.wire

    def _accept(self, stream: socket.socket) -> None:
        try:
            connection, peer = stream.accept()
        except OSError:
            # Whoever it was is gone already, or there is no descriptor left: the next turn tries again.
            return
        source = source_of(peer)
        same = sum(1 for other in self._conversations.values() if other == source)
        if len(self._conversations) >= self._limits.connections or same >= self._limits.connections_per_source:
            self.counters.dropped["connections"] += 1
            connection.close()
            return
        connection.setblocking(False)  # noqa: FBT003
        conversation = asyncio.ensure_future(self._converse(connection, source))
        self._conversations[conversation] = source
        self.counters.connections += 1

        def end(ended: asyncio.Task[None]) -> None:
            connection.close()
            del self._conversations[ended]
            self.counters.connections -= 1

        conversation.add_done_callback(end)

    async def _converse(self, connection: socket.socket, source: bytes | str) -> None:
        """One connection: questions, pipelined or not, are answered in their order (RFC 7766)."""
        reader, writer = await asyncio.open_connection(sock=connection)
        try:
            # Whoever is gone, silent or in the middle of a message when it ends has nothing to be told.
            with suppress(OSError, TimeoutError, asyncio.IncompleteReadError):
                await self._answer_all(reader, writer, source)
        finally:
            writer.transport.abort()

    async def _answer_all(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, source: bytes | str
    ) -> None:
        while True:
            async with asyncio.timeout(self._limits.idle_seconds):
                length = int.from_bytes(await reader.readexactly(2))
                if length > MAX_QUERY:
                    self.counters.dropped["unreadable"] += 1
                    return
                wire = self.reply(await reader.readexactly(length), source, udp=False)
                if wire is None:
                    return
                writer.write(len(wire).to_bytes(2) + wire)
                await writer.drain()
            # What is in the buffer already is read without waiting: everybody else has a turn in between.
            await asyncio.sleep(0)

    def _bound(self, kind: socket.SocketKind) -> socket.socket:
        family = socket.AF_INET6 if ":" in self.listen.host else socket.AF_INET
        bound = socket.socket(family, kind)
        try:
            if family == socket.AF_INET6:
                # [::] means IPv6 alone, over UDP as over TCP: a source is told by its own address.
                bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            if kind == socket.SOCK_STREAM:
                bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            bound.bind((self.listen.host, self.listen.port))
        except OSError as error:
            bound.close()
            transport = "TCP" if kind == socket.SOCK_STREAM else "UDP"
            raise ConfigError(
                f"dns cannot listen on {self.listen} ({transport}): {error.strerror}",
                hint="ports below 1024 need root or CAP_NET_BIND_SERVICE" if error.errno == errno.EACCES else "",
            ) from error
        bound.setblocking(False)  # noqa: FBT003
        return bound


class Datagrams(asyncio.DatagramProtocol):
    """One answer to each packet at most, and none while the socket takes no more."""

    def __init__(self, server: DnsServer) -> None:
        self._server = server
        self._full = False
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.DatagramTransport) -> None:  # type: ignore[override]
        self._transport = transport

    def pause_writing(self) -> None:
        self._full = True

    def resume_writing(self) -> None:
        self._full = False

    def error_received(self, exc: Exception) -> None:
        # An earlier answer did not arrive, as whoever asked has gone: nothing to do about it.
        _log.debug("answer not delivered", reason=str(exc))

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        if self._transport is None or self._full:
            self._server.counters.dropped["busy"] += 1
            return
        wire = self._server.reply(data, source_of(addr), udp=True)
        if wire is not None:
            self._transport.sendto(wire, addr)


def source_of(peer: tuple[str, int] | None) -> bytes | str:
    """Whose budget a question is on: its IPv4 address, or the /64 of its IPv6 one: all of it is one host's."""
    host = "" if peer is None else peer[0]
    return socket.inet_pton(socket.AF_INET6, host.partition("%")[0])[:8] if ":" in host else host
