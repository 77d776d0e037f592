"""The DNS server on real sockets, asked by dnspython's client and by clients that misbehave."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from ipaddress import IPv4Address

import dns.asyncquery
import dns.flags
import dns.message
import dns.rcode
import pytest

from controllers.dns.answers import MAX_QUERY, MAX_UDP
from controllers.dns.server import Datagrams, DnsServer, Limits, source_of
from controllers.dns.zone import Zone, ZoneView
from controllers.projection import ServiceResult
from federation.model.addresses import HostPort
from federation.model.errors import ConfigError
from federation.model.export import Exported
from federation.model.merge import merge_service
from federation.model.records import EndpointAddress, ImportType
from support.builders import EAST, ECHO, endpoints_record, export_record, key
from support.clock import ManualClock
from support.exchange import until
from support.ports import free_port

DB = key("demo/db")
HOST = "127.0.0.1"


def filled_zone() -> Zone:
    """One service of each kind; the addresses of the headless one don't fit into a packet of UDP."""
    endpoints = [EndpointAddress((f"10.0.0.{number}",)) for number in range(1, 201)]
    database = export_record(DB, type=ImportType.HEADLESS)
    merged = {
        ECHO: merge_service(ECHO, {EAST: (export_record(), endpoints_record())}),
        DB: merge_service(DB, {EAST: (database, endpoints_record(DB, addresses=endpoints))}),
    }
    zone = Zone()
    results = {of: ServiceResult(Exported(), found, (), (), ((EAST,),)) for of, found in merged.items()}
    zone.update(results, results, {ECHO: IPv4Address("240.96.0.1")}, 7)
    return zone


@dataclass
class Site:
    server: DnsServer
    zone: Zone
    clock: ManualClock
    port: int

    async def udp(self, query: dns.message.Message) -> dns.message.Message:
        return await dns.asyncquery.udp(query, HOST, 10, self.port)

    async def tcp(self, query: dns.message.Message) -> dns.message.Message:
        return await dns.asyncquery.tcp(query, HOST, 10, self.port)


@asynccontextmanager
async def served(zone: Zone | None = None, **limits: float) -> AsyncIterator[Site]:
    zone, clock, port = zone or filled_zone(), ManualClock(), free_port(HOST)
    server = DnsServer(
        HostPort(HOST, port),
        5,
        lambda: zone.view,
        lambda: clock().timestamp(),
        Limits(**limits),  # type: ignore[arg-type]
    )
    async with server.serving():
        yield Site(server, zone, clock, port)


def query(name: str = ECHO.host, kind: str = "A", edns: int = -1) -> dns.message.QueryMessage:
    return dns.message.make_query(name, kind, use_edns=edns)


def framed(*queries: dns.message.Message) -> bytes:
    wires = [each.to_wire() for each in queries]
    return b"".join(len(wire).to_bytes(2) + wire for wire in wires)


async def read_message(reader: asyncio.StreamReader) -> dns.message.Message:
    async with asyncio.timeout(10):
        length = int.from_bytes(await reader.readexactly(2))
        return dns.message.from_wire(await reader.readexactly(length))


async def test_the_same_is_answered_over_udp_and_tcp() -> None:
    """Both on one address, and counted by type and response code."""
    async with served() as site:
        answers = [await ask(query()) for ask in (site.udp, site.tcp)]
        missing = await site.udp(query("no.demo.svc.clusterset.local", "SRV"))

    assert [str(answer.answer[0][0]) for answer in answers] == ["240.96.0.1", "240.96.0.1"]
    assert missing.rcode() == dns.rcode.NXDOMAIN
    assert site.server.counters.queries == {("A", "NOERROR"): 2, ("SRV", "NXDOMAIN"): 1}


async def test_a_client_whose_answer_was_cut_gets_the_whole_by_tcp() -> None:
    """As dnspython's own retry does it; what UDP carried is no longer than may be, with EDNS and without."""
    async with served() as site:
        cut = [await site.udp(query(DB.host, edns=edns)) for edns in (-1, 0)]
        whole, by_tcp = await dns.asyncquery.udp_with_fallback(query(DB.host), HOST, 10, site.port)

    assert [bool(answer.flags & dns.flags.TC) for answer in cut] == [True, True]
    assert len(cut[0].to_wire()) <= 512 < len(cut[1].to_wire()) <= MAX_UDP
    assert (by_tcp, len(whole.answer[0])) == (True, 200)
    assert site.server.counters.truncated == 3


async def test_a_zone_that_is_not_known_yet_fails_and_then_answers() -> None:
    """The server asks for the view at each question: SERVFAIL, then what the first pass brought."""
    zone = Zone()
    async with served(zone) as site:
        before = await site.udp(query())
        zone.update([], {}, {}, 7)
        after = await site.udp(query())

    assert (before.rcode(), after.rcode()) == (dns.rcode.SERVFAIL, dns.rcode.NXDOMAIN)


async def test_pipelined_questions_are_answered_in_their_order() -> None:
    """Fifty in one piece, then the connection serves on."""
    async with served() as site:
        reader, writer = await asyncio.open_connection(HOST, site.port)
        queries = [query(kind=kind) for kind in ("A", "SRV", "TXT", "ANY", "AAAA") * 10]
        writer.write(framed(*queries))
        answers = [await read_message(reader) for _ in queries]
        writer.write(framed(last := query()))
        assert last.is_response(await read_message(reader))
        writer.close()

    assert [each.is_response(answer) for each, answer in zip(queries, answers, strict=True)] == [True] * 50


async def test_a_message_in_pieces_is_answered() -> None:
    """Octet by octet, as TCP may deliver it."""
    async with served() as site:
        reader, writer = await asyncio.open_connection(HOST, site.port)
        for octet in framed(asked := query()):
            writer.write(bytes((octet,)))
            await writer.drain()
        assert asked.is_response(await read_message(reader))
        writer.close()


@pytest.mark.parametrize(
    "sent",
    [b"", b"\0", (MAX_QUERY + 1).to_bytes(2), b"\0\0", b"\0\x0c" + b"\0\0\x80" + b"\0" * 9],
    ids=["nothing", "half a length", "too long", "empty", "an answer"],
)
async def test_a_connection_without_a_question_ends(sent: bytes) -> None:
    """By its own end of input, at once where it can't be a question, and after the idle time in any case."""
    async with served(idle_seconds=0.2) as site:
        reader, writer = await asyncio.open_connection(HOST, site.port)
        writer.write(sent)
        async with asyncio.timeout(10):
            with pytest.raises((asyncio.IncompleteReadError, ConnectionResetError)):
                await reader.readexactly(1)
        writer.close()
        await until(lambda: site.server.counters.connections == 0)


async def test_a_length_beyond_any_query_ends_the_connection_at_once() -> None:
    """What it announces is not waited for."""
    async with served(idle_seconds=3600.0) as site:
        reader, writer = await asyncio.open_connection(HOST, site.port)
        writer.write((MAX_QUERY + 1).to_bytes(2))
        async with asyncio.timeout(10):
            with pytest.raises((asyncio.IncompleteReadError, ConnectionResetError)):
                await reader.readexactly(1)
        writer.close()

    assert site.server.counters.dropped == {"unreadable": 1}


async def test_callers_are_spread_over_endpoints() -> None:
    """Each answer begins with another of those that are equally near."""
    async with served() as site:
        firsts = {str((await site.tcp(query(DB.host))).answer[0][0]) for _ in range(5)}

    assert len(firsts) == 5


async def test_everybody_else_has_a_turn_between_two_answers() -> None:
    """However many questions a connection has in the buffer, the loop goes round after each."""
    zone, turns, asked, seen = filled_zone(), 0, 0, []

    def view() -> ZoneView | None:
        nonlocal asked
        asked += 1
        seen.append(turns)
        return zone.view

    async def go_round() -> None:
        nonlocal turns
        while asked < 100:
            turns += 1
            await asyncio.sleep(0)

    server = DnsServer(HostPort(HOST, free_port(HOST)), 5, view, lambda: 0.0)
    async with server.serving():
        _, writer = await asyncio.open_connection(HOST, server.listen.port)
        writer.write(framed(*[query()] * 100))
        async with asyncio.timeout(20):
            await go_round()
        writer.close()

    assert len(set(seen)) == 100


def test_while_the_socket_takes_nothing_packets_are_dropped() -> None:
    """Answers are not heaped up for a network that is full; they go on when it takes them again."""

    class Transport(asyncio.DatagramTransport):
        def __init__(self) -> None:
            super().__init__()
            self.sent: list[tuple[bytes, tuple[str, int]]] = []

        def sendto(self, data: bytes, addr: tuple[str, int] | None = None) -> None:  # type: ignore[override]
            assert addr is not None
            self.sent.append((data, addr))

    zone, transport, client = filled_zone(), Transport(), ("127.0.0.2", 5000)
    server = DnsServer(HostPort(HOST, 53), 5, lambda: zone.view, lambda: 0.0)
    protocol = Datagrams(server)
    protocol.connection_made(transport)
    sent = []
    for change in (lambda: None, protocol.pause_writing, protocol.resume_writing):
        change()
        protocol.datagram_received(query().to_wire(), client)
        sent.append(len(transport.sent))

    assert sent == [1, 1, 2]
    assert server.counters.dropped == {"busy": 1}


@pytest.mark.parametrize("turns", range(6))
async def test_a_connection_made_at_the_very_end_ends_too(turns: int) -> None:
    """Whether it was accepted already or not: nothing that came in stays behind."""
    with socket.socket() as client:
        client.settimeout(5)
        async with served(idle_seconds=3600.0) as site:
            client.connect((HOST, site.port))
            for _ in range(turns):
                await asyncio.sleep(0)
        try:
            ended = await asyncio.to_thread(client.recv, 1) == b""
        except ConnectionResetError:
            ended = True

    assert ended


async def test_an_answer_that_is_not_taken_ends_the_connection() -> None:
    """Whoever asks and does not read fills its own buffers only: after the idle time it is gone."""
    async with served(idle_seconds=1.0, burst=1e9) as site:
        loop = asyncio.get_running_loop()
        with socket.socket() as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.setblocking(False)
            await loop.sock_connect(client, (HOST, site.port))

            async def ask_on() -> None:
                while True:
                    await loop.sock_sendall(client, questions)

            questions = framed(*[query(DB.host)] * 50)
            with pytest.raises((ConnectionResetError, BrokenPipeError)):
                await asyncio.wait_for(ask_on(), 20)
        await until(lambda: site.server.counters.connections == 0)
    assert site.server.counters.dropped == {}
    # 3 KB each: what the kernel takes for a connection, and no heap of ours.
    assert site.server.counters.queries.total() < 5_000


async def test_connections_are_bounded_in_all_and_for_each_source() -> None:
    """The third of one source is refused; so is the fourth of all, and places come free."""
    async with served(connections=3, connections_per_source=2) as site:

        async def connect(host: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
            return await asyncio.open_connection(HOST, site.port, local_addr=(host, 0))

        async def works(connection: tuple[asyncio.StreamReader, asyncio.StreamWriter]) -> bool:
            reader, writer = connection
            writer.write(framed(query()))
            try:
                await read_message(reader)
            except (asyncio.IncompleteReadError, ConnectionResetError):
                return False
            return True

        made = [await connect(host) for host in ("127.0.0.2", "127.0.0.2", "127.0.0.2", "127.0.0.3", "127.0.0.4")]
        found = [await works(connection) for connection in made]
        made[0][1].close()
        await until(lambda: site.server.counters.connections == 2)
        again = await works(fresh := await connect("127.0.0.4"))
        for _, writer in (*made, fresh):
            writer.close()

    assert (found, again) == ([True, True, False, True, False], True)
    assert site.server.counters.dropped == {"connections": 2}


async def test_a_source_that_floods_is_not_answered_and_others_are() -> None:
    """Two questions are its budget; time gives it more. Over TCP the connection ends."""
    async with served(per_second=1, burst=2) as site:
        loop = asyncio.get_running_loop()

        async def ask(host: str, times: int) -> int:
            with socket.socket(type=socket.SOCK_DGRAM) as client:
                client.setblocking(False)
                client.bind((host, 0))
                before = sum(site.server.counters.queries.values())
                for _ in range(times):
                    await loop.sock_sendto(client, query().to_wire(), (HOST, site.port))
                handled = before + site.server.counters.dropped["flood"] + times
                await until(
                    lambda: (
                        sum(site.server.counters.queries.values()) + site.server.counters.dropped["flood"] == handled
                    )
                )
                return sum(site.server.counters.queries.values()) - before

        flood, other = await ask("127.0.0.2", 5), await ask("127.0.0.3", 1)
        reader, writer = await asyncio.open_connection(HOST, site.port, local_addr=("127.0.0.2", 0))
        writer.write(framed(query()))
        with pytest.raises((asyncio.IncompleteReadError, ConnectionResetError)):
            await read_message(reader)
        writer.close()

    assert (flood, other) == (2, 1)
    assert site.server.counters.dropped == {"flood": 4}


async def test_garbage_over_udp_harms_nobody() -> None:
    """What can't be read gets no answer or a format error; the next question is answered."""
    async with served() as site:
        with socket.socket(type=socket.SOCK_DGRAM) as client:
            for wire in (b"", b"\0" * 5, b"\xff" * 600, b"\0" * 5000, query().to_wire()[:-3]):
                client.sendto(wire, (HOST, site.port))
            answer = await site.udp(query())

    assert answer.rcode() == dns.rcode.NOERROR


async def test_time_spent_is_counted() -> None:
    """In seconds, and those answers that took more than a millisecond by their number."""
    times = iter([0.0, 0.25, 1.0, 1.0005])
    zone = filled_zone()
    server = DnsServer(HostPort(HOST, 53), 5, lambda: zone.view, lambda: next(times))
    for _ in range(2):
        assert server.reply(query().to_wire(), HOST, udp=True) is not None

    assert (server.counters.seconds, server.counters.slow) == (pytest.approx(0.2505), 1)


async def test_the_end_closes_every_connection_and_frees_the_address() -> None:
    """Idle connections do not hold up the end, and the same address can be had at once again."""
    async with served() as site:
        reader, writer = await asyncio.open_connection(HOST, site.port)
        writer.write(framed(query()))
        await read_message(reader)
    async with asyncio.timeout(10):
        with pytest.raises((asyncio.IncompleteReadError, ConnectionResetError)):
            await reader.readexactly(1)
    writer.close()
    assert site.server.counters.connections == 0
    async with site.server.serving():
        assert (await site.udp(query())).rcode() == dns.rcode.NOERROR


async def test_it_serves_ipv6_where_it_listens_there() -> None:
    """Over both transports at [::1]."""
    try:
        port = free_port("::1")
    except OSError:
        pytest.skip("this host has no IPv6")
    zone = filled_zone()
    server = DnsServer(HostPort("::1", port), 5, lambda: zone.view, lambda: 0.0)
    async with server.serving():
        answers = [
            await dns.asyncquery.udp(query(), "::1", 10, port),
            await dns.asyncquery.tcp(query(), "::1", 10, port),
        ]

    assert [answer.rcode() for answer in answers] == [dns.rcode.NOERROR, dns.rcode.NOERROR]


@pytest.mark.parametrize(("kind", "transport"), [(socket.SOCK_STREAM, "TCP"), (socket.SOCK_DGRAM, "UDP")])
async def test_an_address_that_is_taken_is_told(kind: socket.SocketKind, transport: str) -> None:
    """Whichever of the two it is, and nothing stays open."""
    port = free_port(HOST)
    server = DnsServer(HostPort(HOST, port), 5, lambda: None, lambda: 0.0)
    with socket.socket(type=kind) as taken:
        taken.bind((HOST, port))
        if kind == socket.SOCK_STREAM:
            taken.listen()
        with pytest.raises(ConfigError, match=rf"dns cannot listen on {HOST}:{port} \({transport}\): Address already"):
            async with server.serving():
                pass


def test_a_source_is_an_address_or_the_network_of_a_host() -> None:
    """IPv6 by /64: one host has all of it to choose from."""
    assert source_of(("192.0.2.1", 53)) == "192.0.2.1"
    assert source_of(("2001:db8::1", 53)) == source_of(("2001:db8::2%eth0", 53))
    assert source_of(("2001:db8::1", 53)) != source_of(("2001:db8:0:1::1", 53))
