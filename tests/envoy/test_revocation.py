"""What is open ends when trust is withdrawn: three clusters on real Envoys, one of which is no longer a member.

The doomed cluster's own connections are raw TLS with a certificate of its CA, which answer no request to end. What it
costs the others is in docs/decisions/011.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from federation.app.admissions import opened_authority
from federation.app.sites import load_cluster
from federation.model.names import ClusterId
from support import h2c
from support.apps import STREAM
from support.certificates import Ca, make_leaf
from support.clusterset import GATEWAY_PORT, Cluster, ClusterSet, Pod, all_ready, get, identity, port_name
from support.load import calls_reach, steady_load
from support.processes import eventually
from trustbundle.identity import TrustDomain
from trustbundle.keystore import FileKeystore

pytestmark = [pytest.mark.envoy, pytest.mark.timeout(180)]

EAST, WEST, NORTH = NAMES = ("east", "west", "north")
"""West is the one that goes."""
PORTS = {"http": 8080, "grpc": 8083, "tcp": 9000}
PROXY = 15001
LIMIT = 10.0
"""Seconds after which nothing of a removed member may be open."""


@dataclass(frozen=True)
class Sites:
    """The clusters with a pod each, which serves its cluster's service and calls the two others'."""

    set: ClusterSet
    directory: Path
    pods: Mapping[str, Pod]

    def cluster(self, name: str) -> Cluster:
        return self.set.clusters[name]

    def address(self, name: str) -> str:
        return self.pods[name].sidecar.address

    def way(self, caller: str, to: str, port: str) -> tuple[str, int]:
        """Where the caller's sidecar takes calls of another cluster's service."""
        return self.address(caller), local_port(to, port)

    def url(self, caller: str, to: str) -> str:
        host, port = self.way(caller, to, "http")
        return f"http://{host}:{port}/"

    def counter(self, name: str, pattern: str) -> int:
        """A counter of the sidecar of a cluster's pod."""
        return self.pods[name].sidecar.admin.counter(pattern)

    async def evict(self, name: str) -> None:
        """Take a cluster out of the roster, as the authority, which is east's."""
        async with opened_authority(load_cluster(self.cluster(EAST).directory)) as (authority, _):
            await authority.evict(ClusterId(name))


def local_port(to: str, port: str) -> int:
    return PORTS[port] + 1000 * (1 + NAMES.index(to))


def service(name: str) -> str:
    return f"echo-{name}"


@pytest.fixture(scope="module")
def sites(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sites]:
    """All call all."""
    directory = tmp_path_factory.mktemp("revocation")
    with ClusterSet(directory) as clusters:
        pods = {}
        for name in NAMES:
            cluster = clusters.add(name, "eu")
            here = cluster.host(11)
            outbound = [
                {"service": f"demo/{service(to)}", "port": PORTS[port], "listen": f"{here}:{local_port(to, port)}"}
                for to in NAMES
                if to != name
                for port in PORTS
            ]
            served = [f"{kind}:{port}" for kind, port in PORTS.items()]
            pods[name] = cluster.pod(11, *served, outbound=outbound, httpProxy=f"{here}:{PROXY}")
            cluster.export(service(name), PORTS, [here])
        clusters.introduce()
        for name, cluster in clusters.clusters.items():
            cluster.controller.start()
            cluster.gateway.start()
            pods[name].start()
        all_ready(*clusters.clusters.values())
        found = Sites(clusters, directory, pods)
        for caller in NAMES:
            for to in NAMES:
                if caller != to:
                    eventually(
                        lambda caller=caller, to=to: get(*found.way(caller, to, "http"))[0] == 200,
                        f"{caller} reaches {to}",
                    )
        yield found


class Line:
    """One open connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.http2 = False

    async def end(self) -> float:
        """The time at which the connection ends; until then its pings are answered, and nothing else."""
        with contextlib.suppress(OSError, ssl.SSLError, asyncio.IncompleteReadError):
            while True:
                if self.http2:
                    kind, flags, _, payload = await h2c.read_frame(self.reader)
                    if kind in {h2c.PING, h2c.SETTINGS} and not flags & h2c.ACK:
                        self.writer.write(h2c.frame(kind, h2c.ACK, 0, payload if kind == h2c.PING else b""))
                elif not await self.reader.read(65536):
                    break
        return asyncio.get_running_loop().time()


@asynccontextmanager
async def opened(host: str, port: int, tls: ssl.SSLContext | None = None, name: str = "") -> AsyncIterator[Line]:
    reader, writer = await asyncio.open_connection(host, port, ssl=tls, server_hostname=name or None)
    try:
        yield Line(reader, writer)
    finally:
        writer.transport.abort()


async def keep_alive(line: Line) -> None:
    """An HTTP/1.1 connection that has served a call and waits for the next."""
    line.writer.write(b"GET / HTTP/1.1\r\nhost: echo\r\n\r\n")
    head = await line.reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200"), head
    length = next(int(each[15:]) for each in head.lower().split(b"\r\n") if each.startswith(b"content-length:"))
    await line.reader.readexactly(length)


async def streaming(line: Line, authority: str = "echo") -> None:
    """A gRPC stream that has had an answer and waits for the next message."""
    fields = {":path": STREAM, ":authority": authority, "content-type": "application/grpc", "te": "trailers"}
    block = bytes([h2c.METHOD_POST, h2c.SCHEME_HTTP]) + b"".join(h2c.literal(*field) for field in fields.items())
    message = b"\x00" + len(b"hello").to_bytes(4, "big") + b"hello"
    line.http2 = True
    line.writer.write(h2c.PREFACE + h2c.frame(h2c.SETTINGS, 0, 0))
    line.writer.write(h2c.frame(h2c.HEADERS, h2c.END_HEADERS, 1, block) + h2c.frame(h2c.DATA, 0, 1, message))
    async for kind, _, _, payload in h2c.frames(line.reader, line.writer):
        if kind == h2c.DATA:
            assert payload.endswith(b": hello"), payload
            return


async def talking(line: Line) -> None:
    """A TCP connection that has had an answer and is open both ways."""
    line.writer.write(b"hello")
    assert await line.reader.readexactly(5) == b"hello"


KINDS: Mapping[str, tuple[str, Callable[[Line], Awaitable[None]]]] = {
    "HTTP/1.1, idle": ("http", keep_alive),
    "HTTP/2, a stream in progress": ("grpc", streaming),
    "TCP": ("tcp", talking),
}


def authority(cluster: Cluster) -> Ca:
    """The CA of a cluster, from its controller's state."""
    keystore = FileKeystore(cluster.directory / "state" / "ca", TrustDomain(cluster.trust_domain))
    state = keystore.load()
    assert state is not None
    assert state.current is not None
    key = load_pem_private_key(keystore.load_key(state.current.id).reveal(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    return Ca(x509.load_der_x509_certificate(state.current.certificate), key)


def workload(sites: Sites, name: str, port: str) -> ssl.SSLContext:
    """TLS of a workload of a cluster, which takes any server."""
    leaf = make_leaf(authority(sites.cluster(name)), datetime.now(UTC), uris=[identity(name, "echo")])
    path = sites.directory / f"{name}.pem"
    path.write_text(leaf.key_pem + leaf.chain_pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.load_cert_chain(path)
    context.set_alpn_protocols({"http": ["http/1.1"], "grpc": ["h2"], "tcp": []}[port])
    return context


def to_gateway(sites: Sites, to: str, port: str) -> tuple[str, int, str]:
    """A cluster's gateway, and the name that leads to a port of its service."""
    return sites.cluster(to).host(1), GATEWAY_PORT, port_name(service(to), PORTS[port])


async def refused(line: Line) -> bool:
    """Whether a connection comes to nothing, although its handshake may seem to be done to the caller."""
    try:
        await talking(line)
    except (OSError, ssl.SSLError, asyncio.IncompleteReadError):
        return True
    return False


async def insistent(host: str, port: int, tls: ssl.SSLContext, name: str) -> list[float]:
    """Open one connection after the other until one is refused; the times at which they end."""
    ends = []
    async with AsyncExitStack() as stack:
        while True:
            line = await stack.enter_async_context(opened(host, port, tls, name))
            if await refused(line):
                return await asyncio.gather(*ends)
            ends.append(asyncio.create_task(line.end()))
            await asyncio.sleep(0.02)


async def resumed(sites: Sites, context: ssl.SSLContext, ticket: ssl.SSLSession) -> bool:
    """Whether east still takes the ticket; SSLError or EOF where it takes no connection of that caller."""
    host, port, name = to_gateway(sites, EAST, "tcp")

    def connect() -> bool:
        with (
            socket.create_connection((host, port), 10) as plain,
            context.wrap_socket(plain, server_hostname=name, session=ticket) as line,
        ):
            line.sendall(b"x")
            if not line.recv(1):
                raise ssl.SSLError("closed")
            return bool(line.session_reused)

    return await asyncio.to_thread(connect)


async def ticket(sites: Sites, context: ssl.SSLContext) -> ssl.SSLSession:
    """What a whole handshake with east is rewarded with."""
    host, port, name = to_gateway(sites, EAST, "tcp")

    def connect() -> ssl.SSLSession | None:
        with (
            socket.create_connection((host, port), 10) as plain,
            context.wrap_socket(plain, server_hostname=name) as line,
        ):
            # Tickets come behind the handshake, before the server's first byte.
            line.sendall(b"x")
            line.recv(1)
            return line.session

    given = await asyncio.to_thread(connect)
    assert given is not None
    assert given.has_ticket
    return given


async def test_a_session_is_resumed_while_trust_stands(sites: Sites) -> None:
    """A caller that comes back is spared the whole handshake."""
    context = workload(sites, WEST, "tcp")
    assert await resumed(sites, context, await ticket(sites, context))


async def test_what_a_removed_member_has_open_ends(sites: Sites) -> None:
    """Within the limit, in both directions and whatever it speaks; nothing new is accepted; the others lose no call."""
    loop = asyncio.get_running_loop()
    targets = {sites.url(caller, to): 40.0 for caller, to in ((EAST, NORTH), (NORTH, EAST))}
    doubted = r"listener\.inbound\.ssl\.fail_verify_error"
    old = workload(sites, WEST, "tcp")
    spare = await ticket(sites, old)
    async with AsyncExitStack() as stack:
        ends: dict[str, asyncio.Task[float]] = {}
        for kind, (port, begin) in KINDS.items():
            host, number, name = to_gateway(sites, EAST, port)
            there = await stack.enter_async_context(opened(host, number, workload(sites, WEST, port), name))
            here = await stack.enter_async_context(opened(*sites.way(EAST, WEST, port)))
            for way, line in ((f"from west, {kind}", there), (f"to west, {kind}", here)):
                await begin(line)
                ends[way] = asyncio.create_task(line.end())
        proxied = await stack.enter_async_context(opened(sites.address(EAST), PROXY))
        await streaming(proxied, f"{service(WEST)}.demo.svc.clusterset.local:{PORTS['grpc']}")
        ends["to west, HTTP/2 by the proxy port"] = asyncio.create_task(proxied.end())
        async with steady_load(targets) as outcomes:
            await asyncio.gather(*(calls_reach(outcome, 80) for outcome in outcomes.values()))
            assert [way for way, task in ends.items() if task.done()] == []

            host, number, name = to_gateway(sites, EAST, "tcp")
            again = asyncio.create_task(insistent(host, number, workload(sites, WEST, "tcp"), name))
            since = loop.time()
            await sites.evict(WEST)
            _, still_open = await asyncio.wait(ends.values(), timeout=since + LIMIT - loop.time())
            assert [way for way, task in ends.items() if task in still_open] == []
            async with asyncio.timeout_at(since + LIMIT):
                # Also what was opened while the eviction took effect.
                assert len(await again) > 0

            before = sites.counter(EAST, doubted)
            async with opened(host, number, workload(sites, WEST, "tcp"), name) as late:
                assert await refused(late)
            assert sites.counter(EAST, doubted) == before + 1
            # Nor is a ticket of before good for anything.
            with pytest.raises((ssl.SSLError, ConnectionError)):
                await resumed(sites, old, spare)
            with pytest.raises(ConnectionRefusedError):
                await asyncio.open_connection(*sites.way(EAST, WEST, "tcp"))
            await asyncio.gather(*(calls_reach(outcome, 80) for outcome in outcomes.values()))
        assert [outcome.failures for outcome in outcomes.values()] == [[], []]
