"""The xDS server with a real Envoy: what Envoy does with what we send, and what it must never be sent."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import http.client
import json
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from federation.app.programs import find_envoy
from federation.model.errors import MissingProgramError
from gateway.xds import protos as pb
from gateway.xds.cache import SnapshotCache
from gateway.xds.resources import Resource, make_resource
from gateway.xds.server import Node, NodeIdentity, XdsServer
from gateway.xds.translate.messages import milliseconds, socket_address
from support.self_signed import self_signed
from support.xds import ads, endpoints, envoy_cluster, http_listener, route_table

pytestmark = pytest.mark.envoy

TOKEN = "the-node's-token"
HOST = "127.0.0.1"

# Envoy asks for a name once. Later connections for a name that is (or has become) absent wait this long, since Envoy
# is still subscribed to it and awaits a change (envoy #25924, #47201).
LOOKUP_MS = 3_000


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


async def eventually(condition: Callable[[], Awaitable[bool]], seconds: float = 10.0) -> None:
    """Await a condition; the deadline is below the 15 s for which Envoy warms what it was not given."""
    async with asyncio.timeout(seconds):
        while not await condition():
            await asyncio.sleep(0.01)


async def http_get(port: int, path: str = "/") -> tuple[int, str]:
    """Status and body of one request; (0, "") where the connection is refused or cut."""

    def get() -> tuple[int, str]:
        connection = http.client.HTTPConnection(HOST, port, timeout=20)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        except (OSError, http.client.HTTPException):
            return 0, ""
        finally:
            connection.close()

    return await asyncio.to_thread(get)


@asynccontextmanager
async def upstream(name: str, tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """A server that answers every request with its name; yields its port."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(f"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {len(name)}\r\n\r\n{name}".encode())
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, HOST, 0, ssl=tls)
    async with server:
        yield server.sockets[0].getsockname()[1]


class Envoy:
    """One Envoy process, talked to over its admin port."""

    def __init__(self, admin: int, log: Path) -> None:
        self._admin = admin
        self._log = log

    async def stat(self, name: str) -> int:
        _, body = await http_get(self._admin, f"/stats?format=json&filter=^{name}$")
        found = json.loads(body)["stats"] if body else []
        return int(found[0]["value"]) if found and "value" in found[0] else 0

    async def active_cluster(self, name: str) -> dict[str, Any]:
        """The configuration of a warmed cluster, as in the config dump."""
        _, body = await http_get(self._admin, "/config_dump?resource=dynamic_active_clusters")
        for entry in json.loads(body).get("configs", []) if body else []:
            if entry["cluster"]["name"] == name:
                return dict(entry["cluster"])
        return {}

    def log(self) -> str:
        return self._log.read_text()


def bootstrap(path: Path, admin: int, dynamic: Mapping[str, object]) -> dict[str, object]:
    """A node that proves itself with TOKEN to the server behind a Unix socket."""
    http2 = {"explicit_http_config": {"http2_protocol_options": {}}}
    options = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
    server = {"endpoint": {"address": {"pipe": {"path": str(path)}}}}
    return {
        "node": {"id": "node-1", "cluster": "test"},
        "admin": {"address": {"socket_address": {"address": HOST, "port_value": admin}}},
        "dynamic_resources": {
            "ads_config": {
                "api_type": "DELTA_GRPC",
                "transport_api_version": "V3",
                "grpc_services": [
                    {
                        "envoy_grpc": {
                            "cluster_name": "xds",
                            "retry_policy": {"retry_back_off": {"base_interval": "0.05s", "max_interval": "0.2s"}},
                        },
                        "initial_metadata": [{"key": "authorization", "value": f"Bearer {TOKEN}"}],
                    }
                ],
            },
            **dynamic,
        },
        "static_resources": {
            "clusters": [
                {
                    "name": "xds",
                    "type": "STATIC",
                    "connect_timeout": "1s",
                    "typed_extension_protocol_options": {options: {"@type": f"type.googleapis.com/{options}", **http2}},
                    "load_assignment": {"cluster_name": "xds", "endpoints": [{"lb_endpoints": [server]}]},
                }
            ]
        },
    }


@asynccontextmanager
async def running_envoy(folder: Path, path: Path, *, cds: bool = True) -> AsyncIterator[Envoy]:
    """Envoy until the end of the block; killed at the latest then."""
    try:
        binary = find_envoy()
    except MissingProgramError as error:
        pytest.skip(f"{error}: {error.hint}")
    source = {"ads": {}, "resource_api_version": "V3"}
    admin = free_port()
    config = folder / "bootstrap.json"
    config.write_text(
        json.dumps(bootstrap(path, admin, {"lds_config": source} | ({"cds_config": source} if cds else {})))
    )
    arguments = ["--disable-hot-restart", "--concurrency", "1", "--log-path", str(folder / "envoy.log")]
    process = await asyncio.create_subprocess_exec(binary, "-c", str(config), *arguments)
    try:
        yield Envoy(admin, folder / "envoy.log")
    finally:
        process.kill()
        await process.wait()


async def authenticate(token: str | None, node_id: str, metadata: Mapping[str, Any]) -> NodeIdentity | None:
    return NodeIdentity("spiffe://a.mesh/node-1") if token == TOKEN else None


async def on_node(identity: NodeIdentity, node: Node) -> str | None:
    return node.id


@asynccontextmanager
async def serving(cache: SnapshotCache, path: Path) -> AsyncIterator[XdsServer]:
    server = XdsServer(
        cache,
        authenticate=authenticate,
        on_node=on_node,
        now=lambda: datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC),
    )
    server.listen_unix(path)
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


def one_node(group: list[Resource], own: list[Resource]) -> SnapshotCache:
    cache = SnapshotCache()
    cache.add_node("node-1", "group")
    assert cache.update_group("group", group) == ()
    assert cache.update_node("node-1", own) == ()
    return cache


async def test_one_change_sends_one_resource_and_a_restart_sends_none(tmp_path: Path) -> None:
    """Envoy serves a request from what it was sent. A changed endpoint is one resource; an updated cluster is in
    use at once, with its endpoints sent behind it; a restarted server that knows the same sends nothing."""
    path, port = tmp_path / "xds" / "s", free_port()
    async with upstream("first") as first, upstream("second") as second:
        names = [f"svc-{number}" for number in range(50)]
        cache = one_node(
            [make(name) for name in names for make in (envoy_cluster, endpoints)]
            + [envoy_cluster("echo"), endpoints("echo", first), route_table("outbound", "echo", *names)],
            [http_listener("http", port, table="outbound")],
        )

        async with running_envoy(tmp_path, path) as envoy:
            async with serving(cache, path) as server:

                async def answered_by(name: str) -> bool:
                    return await http_get(port) == (200, name)

                await eventually(lambda: answered_by("first"))
                assert server.counters.resources_sent == {
                    pb.CLUSTER: 51,
                    pb.ENDPOINT: 51,
                    pb.LISTENER: 1,
                    pb.ROUTE: 1,
                }

                before = server.counters.resources_sent.total()
                cache.update_group("group", [endpoints("echo", second)])
                await eventually(lambda: answered_by("second"))

                async def counted() -> bool:
                    # Envoy may act on what is sent before it is counted.
                    return server.counters.resources_sent.total() > before

                await eventually(counted)
                assert server.counters.resources_sent.total() == before + 1

                cache.update_group("group", [envoy_cluster("echo", timeout_ms=2000)])

                async def updated() -> bool:
                    return (await envoy.active_cluster("echo")).get("connect_timeout") == "2s"

                await eventually(updated)
                assert await answered_by("second")
                assert server.counters.resources_sent.total() == before + 3

                # A new service: its cluster and endpoints are there before the route that leads to them.
                added = [envoy_cluster("new"), endpoints("new", first), route_table("outbound", "new", *names)]
                cache.update_group("group", added)
                seen = set()
                while (answer := await http_get(port)) != (200, "first"):
                    seen.add(answer)
                assert seen <= {(200, "second")}
                cache.update_group("group", removals=[envoy_cluster("echo").key, endpoints("echo").key])

                async def removed() -> bool:
                    return await envoy.active_cluster("echo") == {}

                await eventually(removed)
                assert not server.counters.nacks

            async with serving(cache, path) as server:

                async def all_types_are_back() -> bool:
                    return sum(len(stream.types) for stream in server.streams()) == 4

                await eventually(all_types_are_back)
                cache.update_group("group", [endpoints("new", second)])
                await eventually(lambda: answered_by("second"))
                assert server.counters.resources_sent == {pb.ENDPOINT: 1}


async def test_a_bad_listener_stands_alone_and_shows_envoys_words(tmp_path: Path) -> None:
    """Of three listeners in one response, Envoy refuses one: the others serve, the status says which and why."""
    path, ports = tmp_path / "xds" / "s", [free_port(), free_port()]
    async with upstream("echo") as port:
        bad = make_resource(pb.LISTENER, "bad", pb.Listener(name="bad", address=socket_address("not an ip", 1)))
        cache = one_node(
            [envoy_cluster("echo"), endpoints("echo", port), route_table("outbound", "echo")],
            [
                http_listener("one", ports[0], table="outbound"),
                bad,
                http_listener("two", ports[1], table="outbound"),
            ],
        )

        async with serving(cache, path) as server, running_envoy(tmp_path, path):

            async def serves(port: int) -> bool:
                return await http_get(port) == (200, "echo")

            async def nacks() -> Mapping[str, str]:
                return {
                    nack.name: nack.message
                    for stream in server.streams()
                    for status in stream.types
                    for nack in status.nacks
                }

            async def refused() -> bool:
                return list(await nacks()) == ["bad"]

            async def accepted() -> bool:
                return not await nacks()

            for listener in ports:
                await eventually(lambda listener=listener: serves(listener))
            await eventually(refused)
            assert "malformed IP address: not an ip" in (await nacks())["bad"]

            cache.update_node("node-1", [http_listener("bad", free_port(), table="outbound")])
            await eventually(accepted)


def own_stream() -> pb.Message:
    """A config source with a delta stream of its own to the same server."""
    service = pb.GrpcService(
        envoy_grpc=pb.GrpcService.EnvoyGrpc(cluster_name="xds"),
        initial_metadata=[pb.HeaderValue(key="authorization", value=f"Bearer {TOKEN}")],
    )
    return pb.ConfigSource(
        resource_api_version=pb.ApiVersion.V3,
        api_config_source=pb.ApiConfigSource(
            api_type=pb.ApiConfigSource.DELTA_GRPC,
            transport_api_version=pb.ApiVersion.V3,
            grpc_services=[service],
        ),
    )


def sni_listener(port: int, source: pb.Message) -> Resource:
    """A gateway: the SNI names the cluster, which is asked for when the first connection needs it."""
    proxy = pb.TcpProxy(
        stat_prefix="gateway",
        cluster="unknown",
        on_demand=pb.TcpProxy.OnDemand(odcds_config=source, timeout=milliseconds(LOOKUP_MS)),
    )
    sni = pb.Filter(name="envoy.filters.network.sni_cluster", typed_config=pb.pack(pb.SniCluster()))
    tcp = pb.Filter(name="envoy.filters.network.tcp_proxy", typed_config=pb.pack(proxy))
    inspector = pb.ListenerFilter(name="envoy.filters.listener.tls_inspector", typed_config=pb.pack(pb.TlsInspector()))
    message = pb.Listener(
        name="gateway",
        address=socket_address(HOST, port),
        listener_filters=[inspector],
        filter_chains=[pb.FilterChain(filters=[sni, tcp])],
    )
    return make_resource(pb.LISTENER, "gateway", message)


async def tls_get(port: int, sni: str) -> str:
    """What the server behind an SNI answers; empty where the connection is refused or cut."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        reader, writer = await asyncio.open_connection(HOST, port, ssl=context, server_hostname=sni)
        writer.write(b"GET / HTTP/1.1\r\nhost: any\r\n\r\n")
        answer = (await reader.read()).decode()
        writer.close()
    except OSError:
        return ""
    return answer.partition("\r\n\r\n")[2]


@pytest.mark.parametrize("source", [ads, own_stream])
async def test_a_gateway_takes_clusters_on_demand(tmp_path: Path, source: Callable[[], pb.Message]) -> None:
    """A known SNI is proxied at the first connection; an unknown one is cut as soon as the server has answered, and
    works once the name appears; a removed one is cut. On the aggregated stream and on one of its own."""
    path, port = tmp_path / "xds" / "s", free_port()
    certificate = self_signed("any")
    (tmp_path / "chain.pem").write_bytes(certificate.chain_pem)
    (tmp_path / "key.pem").write_bytes(certificate.key_pem)
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(tmp_path / "chain.pem", tmp_path / "key.pem")

    async with upstream("echo", tls) as echo:
        cache = one_node(
            [make(f"svc-{number}") for number in range(50) for make in (envoy_cluster, endpoints)]
            + [envoy_cluster("known.test"), endpoints("known.test", echo)],
            [sni_listener(port, source())],
        )

        async with serving(cache, path) as server, running_envoy(tmp_path, path, cds=False) as envoy:

            async def listening() -> bool:
                return await envoy.stat("listener_manager.workers_started") == 1

            await eventually(listening)
            async with asyncio.timeout(LOOKUP_MS / 1000):
                assert await tls_get(port, "known.test") == "echo"
                assert await tls_get(port, "later.test") == ""
            assert server.counters.resources_sent == {pb.LISTENER: 1, pb.CLUSTER: 1, pb.ENDPOINT: 1}

            cache.update_group("group", [envoy_cluster("later.test"), endpoints("later.test", echo)])

            async def proxied() -> bool:
                return await tls_get(port, "later.test") == "echo"

            await eventually(proxied)

            cache.update_group("group", [envoy_cluster("known.test", timeout_ms=2000)])

            async def updated() -> bool:
                return (await envoy.active_cluster("known.test")).get("connect_timeout") == "2s"

            await eventually(updated)
            assert await tls_get(port, "known.test") == "echo"

            gone = [envoy_cluster("later.test").key, endpoints("later.test").key]
            cache.update_group("group", removals=gone)

            async def cut() -> bool:
                return await tls_get(port, "later.test") == ""

            await eventually(cut)
            assert not server.counters.nacks
