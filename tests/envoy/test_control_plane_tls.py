"""A control plane on the network, behind TLS: an Envoy of ours finds it again after the CA has rotated."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from federation.app.programs import find_envoy
from federation.app.proxies import TRUST_BUNDLE_FILE, gateway_process
from federation.membership.tokens import create_token
from federation.model.configuration import ClusterSettings
from federation.model.errors import MissingProgramError
from federation.model.settings import parse_cluster_settings
from gateway.xds.cache import SnapshotCache
from gateway.xds.listening import ServingCertificate
from gateway.xds.server import Node, NodeIdentity, XdsServer
from support.certificates import Ca, make_ca, make_leaf

pytestmark = pytest.mark.envoy

CONTROLLER = "spiffe://east.test/federation/controller"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def settings(directory: Path, xds_port: int) -> ClusterSettings:
    return parse_cluster_settings(
        "{clusterset: test, cluster: east, region: eu, trustDomain: east.test, memberKeyFile: k,"
        f" exchange: {{url: 'redis://h'}}, xds: {{listen: '127.0.0.1:{xds_port}'}},"
        f" gateway: {{listen: '127.0.0.1:{free_port()}', admin: '127.0.0.1:{free_port()}'}}}}",
        directory=directory,
    )


async def authenticate(token: str | None, node_id: str, metadata: Mapping[str, Any]) -> NodeIdentity | None:
    return NodeIdentity("gateway")


async def on_node(identity: NodeIdentity, node: Node) -> str | None:
    return "node"


@asynccontextmanager
async def serving(port: int, ca: Ca, identity: str = CONTROLLER) -> AsyncIterator[XdsServer]:
    """A control plane that proves ``identity`` by a certificate of ``ca``."""
    cache = SnapshotCache()
    cache.add_node("node", "group")
    cache.update_group("group")
    cache.update_node("node")
    leaf = make_leaf(ca, datetime.now(UTC), uris=[identity])
    certificate = ServingCertificate(leaf.chain_pem.encode(), leaf.key_pem.encode())
    server = XdsServer(cache, authenticate=authenticate, on_node=on_node, now=lambda: datetime.now(UTC))
    server.listen_tls("127.0.0.1", port, lambda: certificate)
    await server.start()
    try:
        yield server
    finally:
        await server.stop(0.1)


async def eventually(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)


def prepared(directory: Path) -> tuple[ClusterSettings, int, Callable[[Ca], None]]:
    """A site with a gateway, the port of its control plane, and what replaces its trust bundle."""
    try:
        find_envoy()
    except MissingProgramError as error:
        pytest.skip(f"{error}: {error.hint}")
    port = free_port()
    cluster = settings(directory, port)
    cluster.tokens_directory.mkdir(mode=0o700)
    create_token(cluster.tokens_directory / "gateway.token")
    cluster.state_directory.mkdir(mode=0o700)

    def trust(ca: Ca) -> None:
        fresh = cluster.state_directory / "fresh"
        fresh.write_text(ca.pem)
        fresh.replace(cluster.state_directory / TRUST_BUNDLE_FILE)

    return cluster, port, trust


def refusals(cluster: ClusterSettings) -> int:
    """How often Envoy says that the control plane's certificate was not good."""
    log = cluster.state_directory / "gateway" / "envoy.log"
    return log.read_text().count("CERTIFICATE_VERIFY_FAILED") if log.exists() else 0


async def test_an_envoy_follows_the_rotation_of_the_controllers_ca(tmp_path: Path) -> None:
    """With the next CA in the bundle file and the old one gone, the running Envoy comes back to its control plane."""
    cluster, port, trust = prepared(tmp_path)
    old, new = (make_ca(datetime.now(UTC), uris=["spiffe://east.test"], name=name) for name in ("old", "new"))
    trust(old)
    process = gateway_process(cluster)
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(process.run())
        async with serving(port, old) as server:
            await eventually(lambda: len(server.streams()) > 0)
        trust(new)
        async with serving(port, new) as server:
            await eventually(lambda: len(server.streams()) > 0)
        assert process.restarts == 0
        running.cancel()


async def test_an_envoy_talks_to_no_other_workload_of_its_own_trust_domain(tmp_path: Path) -> None:
    """A server with a good certificate for another identity than the controller's is refused."""
    cluster, port, trust = prepared(tmp_path)
    ca = make_ca(datetime.now(UTC), uris=["spiffe://east.test"])
    trust(ca)
    process = gateway_process(cluster)
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(process.run())
        async with serving(port, ca, "spiffe://east.test/ns/demo/sa/echo") as server:
            await eventually(lambda: refusals(cluster) > 0)
            assert server.streams() == ()
        running.cancel()
