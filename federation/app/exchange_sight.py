"""Goes to the exchange and looks, for `federation check`: each step on the way, the time, what it lets us do, records.

An edge. Everything here has an end within seconds and changes nothing that anybody reads; what it finds is judged in
``exchange_checks``.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from socket import SOCK_STREAM
from time import monotonic

from cryptography import x509

from federation.app.exchange_checks import ClockSample, Denial, Sight, Stage
from federation.exchange.base import Keys
from federation.exchange.board import BoardKeys
from federation.exchange.connection import ExchangeAccess, ExchangeConnection, tls_context
from federation.exchange.failures import explain
from federation.exchange.redis import RedisExchange
from federation.exchange.replica import LoadLog, LoadSnapshot, Need, Replica
from federation.exchange.signing import schema_of
from federation.exchange.transactions import Command
from federation.model.errors import ConfigError, ExchangeUnavailableError, WireError
from federation.model.exchange_address import ExchangeAddress, Node
from federation.model.names import ClusterId
from federation.model.records import Member, Record

STEP_SECONDS = 1.5
"""Time for one step on the way, and for one command."""
_PEERS_SECONDS = 2.0
"""Time to read all peers' records; who is not read by then is not looked at."""
_SAMPLES = 3
_ANY_LEASE_SECONDS = 3.0


@dataclass(frozen=True, slots=True)
class PeerSight:
    """What one peer has in the exchange."""

    records: tuple[Record, ...]
    """Those that its signatures hold for."""
    schema: tuple[int, int] | None
    """Major and minor; None where nothing could be read."""


def is_local(address: ExchangeAddress) -> bool:
    """Whether the exchange is on this host, by its URL."""
    return all(node.host == "localhost" or _is_loopback(node.host) for node in address.nodes)


async def see_servers(access: ExchangeAccess) -> tuple[Sight, ...]:
    """Go to every server that the URL names, all at once; none for a Unix socket."""
    address = access.address
    return tuple(
        await asyncio.gather(*(_see(node, address, access.ca_file) for node in address.nodes)) if address.nodes else ()
    )


async def _see(node: Node, address: ExchangeAddress, ca_file: Path | None) -> Sight:
    stage = Stage.NAME
    try:
        async with asyncio.timeout(STEP_SECONDS):
            await asyncio.get_running_loop().getaddrinfo(node.host, node.port, type=SOCK_STREAM)
        stage = Stage.CONNECTION
        async with asyncio.timeout(STEP_SECONDS):
            _, plain = await asyncio.open_connection(node.host, node.port)
            plain.transport.abort()
        if not address.tls:
            return Sight(str(node), Stage.THERE)
        stage = Stage.TLS
        async with asyncio.timeout(STEP_SECONDS):
            _, writer = await asyncio.open_connection(
                node.host, node.port, ssl=tls_context(ca_file), server_hostname=node.host
            )
    except ConfigError as error:
        return Sight(str(node), stage, str(error), error.hint)
    except (OSError, TimeoutError) as error:
        told = explain(error, str(node))
        return Sight(str(node), stage, str(told), told.hint)
    try:
        ours: ssl.SSLObject = writer.get_extra_info("ssl_object")
        certificate = x509.load_der_x509_certificate(ours.getpeercert(binary_form=True) or b"")
        return Sight(
            str(node),
            Stage.THERE,
            tls_version=ours.version() or "",
            certificate_ends=certificate.not_valid_after_utc,
        )
    finally:
        writer.transport.abort()


async def ask_time(
    connection: ExchangeConnection, clusterset: str, clock: Callable[[], datetime]
) -> tuple[ClockSample, ...]:
    """The exchange's clock beside our own, several times; raises ExchangeUnavailableError."""
    key = BoardKeys(clusterset).roster
    samples = []
    for _ in range(_SAMPLES + 1):
        sent, begun = clock(), monotonic()
        told = await connection.time(key)
        round_trip = timedelta(seconds=monotonic() - begun)
        samples.append(ClockSample(sent, round_trip, told))
    # The first one includes the way in.
    return tuple(samples[1:])


async def try_rights(
    connection: ExchangeConnection, clusterset: str, cluster: ClusterId, other: ClusterId
) -> tuple[Denial, ...]:
    """Have all judged that a member writes, of which nothing is carried out, and read what ``other`` wrote."""
    roster, own, theirs = BoardKeys(clusterset).roster, Keys(clusterset, cluster), Keys(clusterset, other)
    writes: Sequence[Command] = (
        ("SET", own.manifest, ""),
        ("DEL", own.shard(0)),
        ("XADD", own.log, "*", "b", ""),
        ("PUBLISH", own.channel, ""),
    )

    async def hear() -> None:
        async with connection.subscription(theirs.channel):
            pass

    tries: Iterable[tuple[str, Awaitable[object]]] = (
        ("read the roster", connection.command(roster, "GETRANGE", roster, 0, 0)),
        ("read records of others", connection.command(theirs.manifest, "GETRANGE", theirs.manifest, 0, 0)),
        ("read logs of others", connection.command(theirs.log, "XRANGE", theirs.log, "-", "+", "COUNT", 1)),
        ("hear others", hear()),
        ("write its own records and send on its own channel", connection.rehearse(own.manifest, *writes)),
    )
    answers = await asyncio.gather(*(_tried(what, doing) for what, doing in tries))
    return tuple(answer for answer in answers if answer is not None)


async def _tried(what: str, doing: Awaitable[object]) -> Denial | None:
    try:
        await doing
    except (ExchangeUnavailableError, WireError) as error:
        return Denial(what, str(error), error.hint)
    return None


async def read_peers(access: ExchangeAccess, clusterset: str, members: Sequence[Member]) -> dict[ClusterId, PeerSight]:
    """What the members have in the exchange, as far as it could be read in time."""
    deadline = asyncio.get_running_loop().time() + _PEERS_SECONDS
    async with aclosing(RedisExchange(access, clusterset, timeout_seconds=STEP_SECONDS)) as exchange:

        async def read(member: Member) -> PeerSight | None:
            try:
                async with asyncio.timeout_at(deadline):
                    return await _read(exchange, clusterset, member)
            except (ExchangeUnavailableError, WireError, TimeoutError):
                return None

        found = await asyncio.gather(*map(read, members))
    return {member.cluster: sight for member, sight in zip(members, found, strict=True) if sight is not None}


async def _read(exchange: RedisExchange, clusterset: str, member: Member) -> PeerSight:
    replica = Replica(member, clusterset, lease_seconds=_ANY_LEASE_SECONDS)
    schema = None
    need: Need | None = LoadSnapshot()
    while need is not None:
        match need:
            case LoadSnapshot():
                stored = await exchange.read_snapshot(member.cluster)
                if stored is not None:
                    schema = _schema(stored.manifest)
                need = (replica.on_absent() if stored is None else replica.on_snapshot(stored)).need
                if need is None and stored is not None and replica.version is not None:
                    need = LoadLog(replica.version)
            case LoadLog(after):
                # What is missing behind a gap is written into the snapshot within seconds: good enough to look at.
                replica.on_log(await exchange.read_log(member.cluster, after))
                need = None
    return PeerSight(tuple(replica.records.values()), schema)


def _schema(manifest: bytes) -> tuple[int, int] | None:
    try:
        return schema_of(manifest)
    except WireError:
        return None


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
