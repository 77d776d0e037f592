"""Tokens that are replaced while Envoy runs: the next stream carries the new one, and nobody is shown either."""

from __future__ import annotations

import asyncio
import urllib.request
import uuid
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from federation.app.proxies import gateway_process
from federation.membership.tokens import create_token
from federation.model.configuration import ClusterSettings
from federation.model.settings import parse_cluster_settings
from gateway.xds.cache import SnapshotCache
from gateway.xds.server import Node, NodeIdentity, XdsServer
from support.exchange import until
from support.kube.real import free_ports

pytestmark = pytest.mark.envoy


def put_in_its_place(path: Path) -> None:
    fresh = path.with_name("fresh")
    create_token(fresh)
    fresh.replace(path)


def removed_and_made(path: Path) -> None:
    """As `federation credentials node-token` would have it."""
    path.unlink(missing_ok=True)
    create_token(path)


def swapped_behind_a_link(path: Path) -> None:
    """As the kubelet does it (atomic writer): a directory per version, and one link that is renamed over the other."""
    version = path.with_name(f"..{uuid.uuid4().hex}")
    version.mkdir()
    create_token(version / path.name)
    fresh = path.with_name("..data_tmp")
    fresh.symlink_to(version.name)
    fresh.replace(path.with_name("..data"))
    if not path.is_symlink():
        path.symlink_to(Path("..data") / path.name)


def settings(directory: Path) -> ClusterSettings:
    listen, admin = free_ports(2)
    return parse_cluster_settings(
        "{clusterset: test, cluster: east, region: eu, trustDomain: east.test, memberKeyFile: k,"
        " exchange: {url: 'redis://h'},"
        f" gateway: {{listen: '127.0.0.1:{listen}', admin: '127.0.0.1:{admin}'}}}}",
        directory=directory,
    )


class Door:
    """A control plane that lets in who has the one token that counts now."""

    def __init__(self) -> None:
        self.good = ""
        self.refused: list[str | None] = []
        cache = SnapshotCache()
        cache.add_node("node", "group")
        cache.update_group("group")
        cache.update_node("node")
        self.server = XdsServer(
            cache, authenticate=self._authenticate, on_node=self._on_node, now=lambda: datetime.now(UTC)
        )

    def only(self, token: str) -> str:
        """From now on this token counts, and who came with another is sent away."""
        self.good = token.strip()
        self.server.refuse_from_now_on(["node"])
        return self.good

    @property
    def is_let_in(self) -> bool:
        return len(self.server.streams()) > 0

    async def _authenticate(self, token: str | None, node_id: str, metadata: Mapping[str, Any]) -> NodeIdentity | None:
        if token == self.good:
            return NodeIdentity("gateway")
        self.refused.append(token)
        return None

    async def _on_node(self, identity: NodeIdentity, node: Node) -> str | None:
        return "node"


@asynccontextmanager
async def opened(socket: Path) -> AsyncIterator[Door]:
    door = Door()
    door.server.listen_unix(socket)
    await door.server.start()
    try:
        yield door
    finally:
        await door.server.stop(0.1)


def shown(cluster: ClusterSettings) -> str:
    """Everything that is to be had of the Envoy: its admin port's answers, its files, and its log."""
    paths = ["ready", "server_info", "stats", "clusters", "listeners", "certs"]
    paths += [f"config_dump?resource=dynamic_{kind}" for kind in ("active_secrets", "active_clusters", "listeners")]
    answers = []
    for path in paths:
        with urllib.request.urlopen(f"http://{cluster.gateway.admin}/{path}", timeout=10) as answer:
            answers.append(answer.read().decode())
    files = [file.read_text() for file in (cluster.state_directory / "gateway").iterdir()]
    return "".join([*answers, *files])


@pytest.mark.parametrize("replaced", [put_in_its_place, removed_and_made, swapped_behind_a_link])
async def test_a_new_token_is_sent_without_a_restart(replaced: Callable[[Path], None], tmp_path: Path) -> None:
    """However the file is replaced, and as often as it is."""
    cluster = settings(tmp_path)
    cluster.tokens_directory.mkdir(mode=0o700)
    token = cluster.tokens_directory / "gateway.token"
    replaced(token)
    process = gateway_process(cluster)
    async with opened(cluster.state_directory / "xds.sock") as door, asyncio.TaskGroup() as tasks:
        sent = [door.only(token.read_text())]
        running = tasks.create_task(process.run())
        await until(lambda: door.is_let_in)
        for _ in range(2):
            replaced(token)
            sent.append(door.only(token.read_text()))
            await until(lambda: not door.is_let_in)
            await until(lambda: door.is_let_in)
        told = await asyncio.to_thread(shown, cluster)
        assert process.restarts == 0
        running.cancel()
    assert len(set(sent)) == 3
    assert [secret for secret in sent if secret in told] == []
    assert set(door.refused) <= set(sent[:2])


async def test_no_older_token_is_sent_than_the_file_holds(tmp_path: Path) -> None:
    """While that is not the one that counts, Envoy is kept out, and comes back with the one that does."""
    cluster = settings(tmp_path)
    cluster.tokens_directory.mkdir(mode=0o700)
    token = cluster.tokens_directory / "gateway.token"
    create_token(token)
    process = gateway_process(cluster)
    async with opened(cluster.state_directory / "xds.sock") as door, asyncio.TaskGroup() as tasks:
        door.only(token.read_text())
        running = tasks.create_task(process.run())
        await until(lambda: door.is_let_in)
        put_in_its_place(token)
        second = token.read_text().strip()
        door.only("another")
        await until(lambda: door.refused.count(second) > 1)
        put_in_its_place(token)
        door.only(token.read_text())
        await until(lambda: door.is_let_in)
        running.cancel()
    first = door.refused.index(second)
    assert set(door.refused[first:]) == {second}
