"""Calls from a meshed caller in one cluster through the gateway of another to a server's sidecar there, by protocol."""

from __future__ import annotations

import asyncio
import json
import re
import socket
from collections.abc import Iterator
from dataclasses import dataclass

import aiohttp
import grpc.aio
import pytest

from support import h2c
from support.apps import STREAM, UNARY
from support.clusterset import Admin, Cluster, ClusterSet, Pod, Sidecar, all_ready, get, identity
from support.processes import eventually

pytestmark = [pytest.mark.envoy, pytest.mark.timeout(120)]

HTTP, H2C, GRPC, TCP = 8080, 8081, 8082, 9000
PORTS = {"http": HTTP, "http2": H2C, "grpc": GRPC, "tcp": TCP}
PROXY = 15002

# Short, so that certificates are renewed while the tests look on; longer than a busy machine may take to do so.
LEAF_TTL = "8s"


@dataclass(frozen=True)
class Sites:
    east: Cluster
    west: Cluster
    caller: Sidecar
    server: Pod

    @property
    def here(self) -> str:
        """The caller's own address, where its sidecar has the local ports."""
        return self.caller.address


@pytest.fixture(scope="module")
def sites(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sites]:
    """East calls, west serves."""
    with ClusterSet(tmp_path_factory.mktemp("datapath")) as clusters:
        lives = {"leafTtl": LEAF_TTL, "propagation": "1s"}
        east, west = clusters.add("east", "eu", ca=lives), clusters.add("west", "us", ca=lives)
        clusters.introduce()
        server = west.pod(11, f"http:{HTTP}", f"h2c:{H2C}", f"grpc:{GRPC}", f"tcp:{TCP}")
        west.export("echo", PORTS, [server.sidecar.address])
        here = east.host(21)
        caller = east.sidecar(
            "caller",
            here,
            "caller",
            httpProxy=f"{here}:{PROXY}",
            outbound=[{"service": "demo/echo", "port": port, "listen": f"{here}:{port}"} for port in PORTS.values()],
        )
        for child in (east.controller, west.controller, west.gateway):
            child.start()
        server.start()
        caller.start()
        all_ready(east, west)
        eventually(server.sidecar.listening, "the server's sidecar listens")
        eventually(lambda: get(here, HTTP)[0] == 200, "the caller reaches the service")
        yield Sites(east, west, caller, server)


def through_gateway(sites: Sites) -> int:
    """Connections that the gateway of west has passed on."""
    return sites.west.gateway_admin.counter(r"tcp\.gateway\.downstream_cx_total")


def test_http_passes_by_the_local_port_with_the_callers_identity(sites: Sites) -> None:
    """HTTP/1.1 arrives through the far gateway, and the server is told who calls."""
    status, body = get(sites.here, HTTP, "/some/path?with=query", method="POST")
    seen = json.loads(body)
    assert (status, seen["app"], seen["method"], seen["path"]) == (200, "west-11", "POST", "/some/path?with=query")
    certificate = dict(part.split("=", 1) for part in seen["headers"]["x-forwarded-client-cert"].split(";"))
    assert (certificate["By"], certificate["URI"]) == (identity("west", "echo"), identity("east", "caller"))
    assert through_gateway(sites) > 0


def test_http_passes_by_the_proxy_port(sites: Sites) -> None:
    """A caller may name the service by its clusterset host, as an HTTP proxy's client does."""
    status, body = get(sites.here, PROXY, f"http://echo.demo.svc.clusterset.local:{HTTP}/x")
    assert (status, json.loads(body)["app"], json.loads(body)["path"]) == (200, "west-11", "/x")


def test_a_host_that_nobody_exports_is_not_proxied(sites: Sites) -> None:
    """The proxy port leads to imported services and nowhere else."""
    assert get(sites.here, PROXY, f"http://other.demo.svc.clusterset.local:{HTTP}/")[0] == 404


async def test_http2_with_prior_knowledge_passes(sites: Sites) -> None:
    """HTTP/2 in the clear from the caller arrives as HTTP/2 in the clear at the server."""
    good, body = await h2c.call(sites.here, H2C, "echo", b"over h2")
    assert (good, json.loads(body)) == (True, {"app": "west-11", "body": "over h2"})


async def test_grpc_unary_passes(sites: Sites) -> None:
    """One message there, one back, and the status."""
    async with grpc.aio.insecure_channel(f"{sites.here}:{GRPC}") as channel:
        assert await channel.unary_unary(UNARY)(b"hello", timeout=10) == b"west-11: hello"


async def test_grpc_streams_pass_both_ways_at_once(sites: Sites) -> None:
    """Each message is answered before the next is sent: nothing on the way waits for the end of the stream."""
    async with grpc.aio.insecure_channel(f"{sites.here}:{GRPC}") as channel:
        stream = channel.stream_stream(STREAM)(timeout=20)
        answers = []
        for number in range(5):
            await stream.write(b"%d" % number)
            answers.append(await stream.read())
        await stream.done_writing()
        assert [b"west-11: %d" % number for number in range(5)] == answers
        assert await stream.code() is grpc.StatusCode.OK


async def test_grpc_status_of_an_unknown_method_comes_back(sites: Sites) -> None:
    """A status in trailers survives the way."""
    async with grpc.aio.insecure_channel(f"{sites.here}:{GRPC}") as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await channel.unary_unary("/echo.Echo/Missing")(b"", timeout=10)
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


@pytest.mark.parametrize("by_proxy", [False, True], ids=["local port", "proxy port"])
async def test_websockets_pass(sites: Sites, by_proxy: bool) -> None:
    """An upgraded connection carries messages both ways and closes in order, although the way between is HTTP/2."""
    host = f"echo.demo.svc.clusterset.local:{HTTP}"
    port = PROXY if by_proxy else HTTP
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(f"http://{sites.here}:{port}/ws", headers={"Host": host}) as connection,
    ):
        for text in ("one", "two"):
            await connection.send_str(text)
            assert await connection.receive_str(timeout=10) == f"west-11: {text}"
        await connection.close()
        assert connection.close_code == aiohttp.WSCloseCode.OK


def test_tcp_passes_with_half_close(sites: Sites) -> None:
    """A client that has sent its last is still answered: the end of one direction is carried, alone, to the server."""
    with socket.create_connection((sites.here, TCP), 10) as connection:
        connection.sendall(b"x" * 100_000)
        connection.shutdown(socket.SHUT_WR)
        received = b""
        while data := connection.recv(65536):
            received += data
    assert received == b"x" * 100_000 + b"|west-11 100000"


def test_the_gateway_holds_no_key_and_no_certificate(sites: Sites) -> None:
    """What passes a gateway is not to be read there: there is nothing to read it with."""
    admin = sites.west.gateway_admin
    kinds = ("listeners", "active_clusters", "active_secrets", "warming_secrets")
    held = {kind: admin.read(f"/config_dump?resource=dynamic_{kind}") for kind in kinds}
    # The file of its own token, of which not even the path is shown.
    (token,) = held["active_secrets"].pop("configs")
    assert token["secret"]["generic_secret"] == {"secret": {"filename": "[redacted]"}}
    assert [held["active_secrets"], held["warming_secrets"]] == [{}, {}]
    assert len(held["listeners"]["configs"]) == 1
    assert re.search(r"private_?key|tls_?certificate|TlsContext", json.dumps(held)) is None
    assert sites.west.gateway_admin.read("/certs") == {"certificates": []}


def test_a_sidecar_admits_only_to_its_owner_what_key_it_has(sites: Sites) -> None:
    """The bootstrap is for its owner's eyes, and no dump shows a private key or a token."""
    modes = [
        path.stat().st_mode & 0o077
        for cluster in (sites.east, sites.west)
        for path in cluster.directory.glob("state/**/envoy.json")
    ]
    assert modes == [0] * 3
    secrets = sites.caller.admin.read("/config_dump?resource=dynamic_active_secrets")
    assert sorted(secret["name"] for secret in secrets["configs"]) == ["ALL", "default", "token"]
    tokens = [path.read_text().strip() for path in sites.east.directory.glob("tokens/*.token")]
    assert tokens
    assert [secret for secret in ("PRIVATE KEY", *tokens) if secret in json.dumps(secrets)] == []


@pytest.mark.parametrize("path", ["/config_dump", "/config_dump?resource=bootstrap", "/quitquitquit", "/logging"])
def test_the_admin_port_neither_shows_the_token_nor_takes_orders(sites: Sites, path: str) -> None:
    """Everybody on the host reaches the admin port: no bootstrap, and nothing that changes the proxy."""
    for admin in (sites.caller.admin, sites.west.gateway_admin):
        for method in ("GET", "POST"):
            status, body = get(admin.host, admin.port, path, method=method)
            assert (status, "Bearer" in body) == (403, False)


async def test_renewed_certificates_drop_no_connection(sites: Sites) -> None:
    """Streams and connections of all kinds outlive the certificates of both sides with which they began."""
    admins = [sites.caller.admin, sites.server.sidecar.admin]
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(f"http://{sites.here}:{HTTP}/ws") as websocket,
        grpc.aio.insecure_channel(f"{sites.here}:{GRPC}") as channel,
    ):
        stream = channel.stream_stream(STREAM)()
        reader, writer = await asyncio.open_connection(sites.here, TCP)

        async def exchange(text: str) -> tuple[str, bytes, bytes]:
            await websocket.send_str(text)
            await stream.write(text.encode())
            writer.write(text.encode())
            return (
                await websocket.receive_str(timeout=10),
                await stream.read(),
                await asyncio.wait_for(reader.readexactly(len(text)), 10),
            )

        async def renewed(before: list[str]) -> list[str]:
            while True:
                after = _serials(admins)
                if all(old != new for old, new in zip(before, after, strict=True)):
                    return after
                await exchange("meanwhile")
                await asyncio.sleep(0.1)

        def answer(text: str) -> tuple[str, bytes, bytes]:
            return f"west-11: {text}", f"west-11: {text}".encode(), text.encode()

        assert answer("before") == await exchange("before")
        async with asyncio.timeout(40):
            serials = await renewed(_serials(admins))
            await renewed(serials)
        assert answer("after") == await exchange("after")
        writer.close()
        await writer.wait_closed()
        stream.cancel()
    assert get(sites.here, HTTP)[0] == 200


def _serials(admins: list[Admin]) -> list[str]:
    return [admin.certificate() for admin in admins]
