"""A controller in Kubernetes before there is a membership."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from pathlib import Path

import aiohttp
import pytest
import yaml

from federation.app.kube.post import Post
from federation.app.kube.replica import run_replica
from federation.membership.keys import save_signing_key
from federation.membership.roster import open_roster, sign_roster
from federation.membership.roster_file import RosterFile
from federation.model.configuration import ClusterSettings
from federation.model.errors import ConfigError
from federation.model.names import ClusterId
from support.exchange import until
from support.kube.housekeeping import NAMESPACES
from support.kube.server import running
from support.membership_values import CLUSTERSET, EAST, WEST, key, ledger_of, public

MEMBER = "clusterset: demo\ncluster: east\ntrustDomain: east.example\nexchange: {url: redis://r}\n"


def become_member(directory: Path) -> None:
    """What `federation join` leaves, the roster last."""
    save_signing_key(directory / "member.key", key(EAST))
    (directory / "cluster.yaml").write_text(MEMBER)
    save_roster(directory, EAST, WEST)


def save_roster(directory: Path, *members: ClusterId) -> None:
    blob = sign_roster(ledger_of(*members).roster, key("authority"))
    RosterFile(directory / "state").save(open_roster(blob, CLUSTERSET, public("authority")))


async def never(settings: ClusterSettings, directory: Path, post: Post) -> None:
    raise AssertionError("there is no membership")


@pytest.mark.parametrize(("text", "told"), [(None, "can't be read"), ("region: eu\n", "no section kubernetes")])
async def test_settings_that_are_unusable_are_refused_at_once(tmp_path: Path, text: str | None, told: str) -> None:
    """Before anybody is asked for anything."""
    base = tmp_path / "base.yaml"
    if text is not None:
        base.write_text(text)
    with pytest.raises(ConfigError, match=told):
        await run_replica(base, tmp_path / "cluster", never)


async def test_it_waits_for_a_membership_and_then_runs_with_both_settings(tmp_path: Path) -> None:
    """Until then it lives, says what it waits for, and is not ready."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        listen = f"127.0.0.1:{probe.getsockname()[1]}"
    ran: list[tuple[str, str, bool]] = []

    async def run(settings: ClusterSettings, directory: Path, post: Post) -> None:
        ran.append((settings.cluster, settings.region, post.leads))
        # As when the membership is over.
        (directory / "state" / "roster").unlink()

    async with running() as server, aiohttp.ClientSession() as client:
        server.put(NAMESPACES, {"metadata": {"name": "federation-system"}})
        kubeconfig = server.write_kubeconfig(tmp_path / "kubeconfig")
        base = {"region": "eu", "http": {"listen": listen}, "kubernetes": {"kubeconfig": str(kubeconfig)}}
        (tmp_path / "base.yaml").write_text(yaml.safe_dump(base))
        task = asyncio.create_task(run_replica(tmp_path / "base.yaml", tmp_path / "cluster", run))

        async def said(path: str) -> tuple[int, str]:
            async with client.get(f"http://{listen}{path}") as answer:
                return answer.status, await answer.text()

        try:
            before = await eventually(said, "/readyz"), await said("/healthz")
            become_member(tmp_path / "cluster")
            await until(lambda: bool(ran))
            after = await eventually(said, "/readyz")
        finally:
            task.cancel()
            await asyncio.wait([task])

    assert before == ((503, WAITS), (200, "ok\n"))
    assert ran[0][:2] == ("east", "eu")
    assert after == (503, WAITS)


@pytest.mark.parametrize("lost", ["roster", "key"])
async def test_a_pod_that_starts_evicted_waits_to_be_joined_anew(lost: str, tmp_path: Path) -> None:
    """Whatever its disk holds of the membership that was; it lives, so that a command can be run in it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        listen = f"127.0.0.1:{probe.getsockname()[1]}"
    cluster, ran = tmp_path / "cluster", asyncio.Event()
    cluster.mkdir()
    become_member(cluster)
    if lost == "roster":
        save_roster(cluster, WEST)
    else:
        (cluster / "member.key").unlink()
        save_signing_key(cluster / "member.key", key("former"))

    async def run(settings: ClusterSettings, directory: Path, post: Post) -> None:
        ran.set()
        await asyncio.Event().wait()

    async with running() as server, aiohttp.ClientSession() as client:
        server.put(NAMESPACES, {"metadata": {"name": "federation-system"}})
        kubeconfig = server.write_kubeconfig(tmp_path / "kubeconfig")
        base = {"region": "eu", "http": {"listen": listen}, "kubernetes": {"kubeconfig": str(kubeconfig)}}
        (tmp_path / "base.yaml").write_text(yaml.safe_dump(base))
        task = asyncio.create_task(run_replica(tmp_path / "base.yaml", cluster, run))

        async def said(path: str) -> tuple[int, str]:
            async with client.get(f"http://{listen}{path}") as answer:
                return answer.status, await answer.text()

        try:
            waits = await eventually(said, "/readyz")
            alive = await said("/healthz")
            (cluster / "member.key").unlink()
            become_member(cluster)
            await until(ran.is_set)
        finally:
            task.cancel()
            await asyncio.wait([task])

    assert (waits[0], alive) == (503, (200, "ok\n"))
    assert {"roster": "evicted: join with a new token", "key": "is not the one that the roster names"}[lost] in waits[1]


WAITS = "waiting for a membership: `federation init` founds a clusterset, `federation join` joins one\n"


async def eventually(said: Callable[[str], object], path: str) -> tuple[int, str]:
    """The answer, once somebody gives one."""
    async with asyncio.timeout(20):
        while True:
            try:
                found: tuple[int, str] = await said(path)  # type: ignore[misc]
            except aiohttp.ClientError:
                await asyncio.sleep(0.01)
            else:
                return found
