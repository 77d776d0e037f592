"""A controller's place among those of its cluster, over a stand-in API server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from federation.app.kube.post import POD_NAME, Post, pod_of
from federation.app.kube.shared_state import SECRET
from federation.install.vocabulary import LEASE
from federation.model.configuration import KubernetesSettings
from support.exchange import until
from support.kube.housekeeping import NAMESPACES
from support.kube.objects import Key
from support.kube.server import StandIn, running

SYSTEM = "federation-system"


@pytest.fixture
async def server() -> AsyncIterator[StandIn]:
    async with running() as started:
        started.put(NAMESPACES, {"metadata": {"name": SYSTEM}})
        yield started


def post(server: StandIn, directory: Path) -> Post:
    directory.mkdir()
    kubeconfig = server.write_kubeconfig(directory.with_suffix(".kubeconfig"))
    return Post(KubernetesSettings(kubeconfig=kubeconfig, lease_seconds=3), directory)


@asynccontextmanager
async def at_work(one: Post) -> AsyncIterator[None]:
    task = asyncio.create_task(one.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


async def test_whoever_leads_is_told_and_tells_which_pod_it_is(
    server: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once it has taken over all there was; and the lease has the pod's name."""
    monkeypatch.setenv(POD_NAME, "controller-7")
    one = post(server, tmp_path / "one")
    heard: list[bool] = []
    forget = one.listen(lambda _: heard.append(one.leads))
    before = one.leads, one.seconds_left
    async with at_work(one):
        await one.wait_leading()
        await until(lambda: heard == [True])
        leader, left = one.leader, one.seconds_left
        forget()
    await one.wait_following()
    lease = server.objects(("coordination.k8s.io", "leases"))[Key(SYSTEM, LEASE)]

    assert (before, leader, left > 0) == ((False, 0.0), "controller-7", True)
    assert lease["spec"].get("holderIdentity", "") == ""
    assert pod_of("a_b_1234") == "a_b"


async def test_whoever_ends_leaves_all_that_it_has_made(server: StandIn, tmp_path: Path) -> None:
    """Also what it made a moment ago; the next one begins with it, and at once."""
    one, other = post(server, tmp_path / "one"), post(server, tmp_path / "other")
    async with at_work(one):
        await one.wait_leading()
        (tmp_path / "one" / "member.key").write_text("key")
    async with at_work(other):
        await other.wait_leading()
        found = (tmp_path / "other" / "member.key").read_text()

    assert (found, len(server.objects(("", "secrets")))) == ("key", 1)
    assert Key(SYSTEM, SECRET) in server.objects(("", "secrets"))


async def test_whoever_waits_for_what_is_saved_hears_too_that_it_is_not_its_own_any_more(
    server: StandIn, tmp_path: Path
) -> None:
    """An API server that is away keeps it waiting no longer than this process leads."""
    one = post(server, tmp_path / "one")
    async with at_work(one):
        await one.wait_leading()
        (tmp_path / "one" / "member.key").write_text("key")
        saved = await one.saved()
        held = Key(SYSTEM, SECRET) in server.objects(("", "secrets"))
        await server.vanish()
        (tmp_path / "one" / "member.key").write_text("another")
        async with asyncio.timeout(30):
            lost = await one.saved()
        await server.come_back()

    assert (saved, held, lost) == (True, True, False)
