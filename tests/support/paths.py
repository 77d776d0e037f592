"""The ways of a call between clusters, side by side in one set of real processes; and a client of each protocol.

East calls. West serves ``echo`` by sidecars and ``plain`` without any; north, of east's network, serves ``near`` by
sidecars, and its gateway does not run. Each way is an address in east for every port of a service.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import socket
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import grpc.aio

from support import h2c
from support.apps import MEGABYTE, STREAM, UNARY
from support.clusterset import Cluster, ClusterSet, Sidecar, all_ready, get
from support.processes import eventually

PORTS: Mapping[str, int] = {"http": 8080, "http2": 8081, "grpc": 8082, "tcp": 9000}
SERVED = ("http:8080", "h2c:8081", "grpc:8082", "tcp:9000")


@dataclass(frozen=True)
class Way:
    """Where in east a service is called, and who answers there as whom."""

    name: str
    host: str
    ports: Mapping[str, int]
    app: str
    caller: str
    """Path of the SPIFFE ID that the server is told."""


@dataclass(frozen=True)
class Paths:
    east: Cluster
    west: Cluster
    north: Cluster
    ways: Mapping[str, Way]


@contextmanager
def paths(directory: Path) -> Iterator[Paths]:
    """Start the set, and wait until each way leads to its server."""
    with ClusterSet(directory) as clusters:
        east = clusters.add("east", "eu", gateway={"egress": True}, network="shared")
        east.settings["vipRange"] = f"{east.host(0).removesuffix('.1.0')}.128.0/24"
        west, north = clusters.add("west", "us"), clusters.add("north", "us", network="shared")
        clusters.introduce()
        own, served, near = (cluster.pod(11, *SERVED) for cluster in (east, west, north))
        bare = west.pod(12, *SERVED).app
        east.export("own", PORTS, [own.sidecar.address])
        west.export("echo", PORTS, [served.sidecar.address])
        west.export("plain", PORTS, [west.host(12)], mode="terminate")
        north.export("near", PORTS, [near.sidecar.address])
        caller, local = _caller(east, "own", "echo", "plain", "near")
        for cluster in (east, west, north):
            cluster.controller.start()
        for child in (east.gateway, west.gateway, bare):
            child.start()
        for pod in (own, served, near):
            pod.start()
        caller.start()
        all_ready(east, west, north)
        eventually(lambda: local.keys() <= east.services().keys(), "east imports all")
        vips = {name: service["vip"] for name, service in east.services().items()}
        sidecar, gateway = "/ns/demo/sa/caller", "/federation/gateway"
        ways = [
            Way("local mesh", caller.address, local["own"], "east-11", sidecar),
            Way("sidecar to sidecar", caller.address, local["echo"], "west-11", sidecar),
            Way("unmeshed caller", vips["echo"], PORTS, "west-11", gateway),
            Way("terminated", caller.address, local["plain"], "west-12", sidecar),
            Way("unmeshed caller and terminated", vips["plain"], PORTS, "west-12", gateway),
            Way("flat", caller.address, local["near"], "north-11", sidecar),
            Way("unmeshed caller and flat", vips["near"], PORTS, "north-11", gateway),
        ]
        for way in ways:
            eventually(lambda way=way: get(way.host, way.ports["http"])[0] == 200, f"{way.name} leads to its server")
        yield Paths(east, west, north, {way.name: way for way in ways})


def _caller(cluster: Cluster, *services: str) -> tuple[Sidecar, Mapping[str, Mapping[str, int]]]:
    """A sidecar with a local port for each port of the services."""
    here = cluster.host(21)
    local = {
        service: {name: number + 1000 * place for name, number in PORTS.items()}
        for place, service in enumerate(services, start=1)
    }
    outbound = [
        {"service": f"demo/{service}", "port": PORTS[name], "listen": f"{here}:{number}"}
        for service, ports in local.items()
        for name, number in ports.items()
    ]
    return cluster.sidecar("caller", here, "caller", outbound=outbound), local


async def http1(way: Way) -> None:
    """A body arrives, and the server is told who calls."""
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"http://{way.host}:{way.ports['http']}/path?q=1", data=b"body") as answer,
    ):
        seen = await answer.json()
    assert (answer.status, seen["app"], seen["path"], seen["body"]) == (200, way.app, "/path?q=1", "body")
    told = seen["headers"].get("x-forwarded-client-cert", "")
    assert told.partition("URI=")[2].removeprefix("spiffe://east.test") == way.caller


async def http2(way: Way) -> None:
    """HTTP/2 with prior knowledge from end to end."""
    good, body = await h2c.call(way.host, way.ports["http2"], "echo", b"over h2")
    assert (good, json.loads(body)) == (True, {"app": way.app, "body": "over h2"})


async def grpc_unary(way: Way) -> None:
    """A message there, a message back; and the status of what isn't there, in trailers."""
    async with grpc.aio.insecure_channel(f"{way.host}:{way.ports['grpc']}") as channel:
        assert await channel.unary_unary(UNARY)(b"hello", timeout=20) == f"{way.app}: hello".encode()
        call = channel.unary_unary("/echo.Echo/Missing")(b"", timeout=20)
        assert await call.code() is grpc.StatusCode.UNIMPLEMENTED


async def grpc_stream(way: Way) -> None:
    """Each message is answered before the next is sent: nothing on the way waits for the end of the stream."""
    async with grpc.aio.insecure_channel(f"{way.host}:{way.ports['grpc']}") as channel:
        stream = channel.stream_stream(STREAM)(timeout=30)
        for number in range(5):
            await stream.write(b"%d" % number)
            assert await stream.read() == f"{way.app}: {number}".encode()
        await stream.done_writing()
        assert await stream.code() is grpc.StatusCode.OK


async def websocket(way: Way) -> None:
    """Messages both ways, and an end in order."""
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(f"http://{way.host}:{way.ports['http']}/ws") as connection,
    ):
        for text in ("one", "two"):
            await connection.send_str(text)
            assert await connection.receive_str(timeout=20) == f"{way.app}: {text}"
        await connection.close()
        assert connection.close_code == aiohttp.WSCloseCode.OK


async def half_closed(way: Way) -> None:
    """TCP. A client that has sent its last is still answered, and then is told the end."""

    def call() -> bytes:
        with socket.create_connection((way.host, way.ports["tcp"]), 20) as connection:
            connection.sendall(b"x" * 100_000)
            connection.shutdown(socket.SHUT_WR)
            received = b""
            while data := connection.recv(65536):
                received += data
        return received

    assert await asyncio.to_thread(call) == b"x" * 100_000 + f"|{way.app} 100000".encode()


async def bodies(way: Way, megabytes: int) -> None:
    """Large bodies in both directions arrive whole, and nobody on the way holds them."""
    digest = hashlib.sha256()
    for _ in range(megabytes):
        digest.update(MEGABYTE)

    async def sent() -> AsyncIterator[bytes]:
        for _ in range(megabytes):
            yield MEGABYTE

    url = f"http://{way.host}:{way.ports['http']}"
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=None)) as session:
        async with session.post(f"{url}/take", data=sent()) as answer:
            taken = await answer.json()
        assert taken == {"app": way.app, "bytes": megabytes << 20, "sha256": digest.hexdigest()}
        received = hashlib.sha256()
        async with session.get(f"{url}/give/{megabytes}") as answer:
            async for data in answer.content.iter_any():
                received.update(data)
        assert received.digest() == digest.digest()


async def ended(writer: asyncio.StreamWriter) -> None:
    """Close a connection, and wait until it is."""
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()


async def tcp_bodies(way: Way, megabytes: int) -> None:
    """The same over TCP: all comes back."""
    reader, writer = await asyncio.open_connection(way.host, way.ports["tcp"])
    count = 0

    async def send() -> None:
        for _ in range(megabytes):
            writer.write(MEGABYTE)
            await writer.drain()
        writer.write_eof()

    sending = asyncio.create_task(send())
    tail = b""
    while data := await reader.read(1 << 20):
        count += len(data)
        tail = (tail + data)[-100:]
    await sending
    await ended(writer)
    last = f"|{way.app} {megabytes << 20}".encode()
    assert (count, tail.endswith(last)) == ((megabytes << 20) + len(last), True)


async def idle(way: Way, seconds: float) -> None:
    """Connections of every kind that say nothing for longer than any timer of ours go on where they were."""
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(f"http://{way.host}:{way.ports['http']}/ws") as connection,
        grpc.aio.insecure_channel(f"{way.host}:{way.ports['grpc']}") as channel,
    ):
        stream = channel.stream_stream(STREAM)()
        reader, writer = await asyncio.open_connection(way.host, way.ports["tcp"])

        async def exchange(text: str) -> tuple[str, bytes, bytes]:
            await connection.send_str(text)
            await stream.write(text.encode())
            writer.write(text.encode())
            return (
                await connection.receive_str(timeout=20),
                await asyncio.wait_for(stream.read(), 20),
                await asyncio.wait_for(reader.readexactly(len(text)), 20),
            )

        for text in ("before", "after"):
            assert await exchange(text) == (f"{way.app}: {text}", f"{way.app}: {text}".encode(), text.encode())
            # Time itself is what is tried here.
            await asyncio.sleep(seconds if text == "before" else 0)
        stream.cancel()
        await ended(writer)
