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
from federation.model.configuration import ClusterSettings
from federation.model.errors import ConfigError
from support.exchange import until
from support.kube.housekeeping import NAMESPACES
from support.kube.server import running

MEMBER = "clusterset: acme\ncluster: east\ntrustDomain: east.acme\nexchange: {url: redis://r}\n"


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
            (tmp_path / "cluster" / "cluster.yaml").write_text(MEMBER)
            (tmp_path / "cluster" / "state").mkdir()
            (tmp_path / "cluster" / "state" / "roster").write_text("")
            await until(lambda: bool(ran))
            after = await eventually(said, "/readyz")
        finally:
            task.cancel()
            await asyncio.wait([task])

    assert before == ((503, WAITS), (200, "ok\n"))
    assert ran[0][:2] == ("east", "eu")
    assert after == (503, WAITS)


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
