"""When a command in a pod is done: over a stand-in API server, with a controller's part played by the test."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest
import yaml

from controllers.kube.client import KubeAccess, open_client
from federation.app.kube import keeping
from federation.app.kube.keeping import NotKeptError, wait_kept
from federation.app.kube.post import POD_NAME
from federation.app.kube.shared_state import JOURNAL, SharedState, shared_files
from support.exchange import until
from support.kube.server import StandIn, running

SYSTEM = "federation-system"
LEASES = ("coordination.k8s.io", "leases")


@pytest.fixture
async def server() -> AsyncIterator[StandIn]:
    async with running() as started:
        started.put(("", "namespaces"), {"metadata": {"name": SYSTEM}})
        yield started


class Pod:
    """One whose controller writes the Secret when the test says so."""

    def __init__(self, server: StandIn, directory: Path, leader: str) -> None:
        self.server = server
        self.directory = directory / "cluster"
        (self.directory / "state").mkdir(parents=True)
        kubeconfig = server.write_kubeconfig(directory / "kubeconfig")
        base = yaml.safe_dump({"region": "eu", "kubernetes": {"kubeconfig": str(kubeconfig)}})
        (self.directory / "base.yaml").write_text(base)
        self.controller = SharedState(partial(open_client, KubeAccess(kubeconfig)), SYSTEM, self.directory)
        metadata = {"namespace": SYSTEM, "name": "federation-controller"}
        server.put(LEASES, {"metadata": metadata, "spec": {"holderIdentity": f"{leader}_a"}})

    def asked(self) -> int:
        return sum(one.asked.plural == "secrets" and one.asked.verb == "get" for one in self.server.audit)


@pytest.fixture(autouse=True)
def _in_pod(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(POD_NAME, "controller-1")


@pytest.mark.parametrize("changed_since", [False, True])
async def test_a_command_is_done_once_the_secret_has_what_it_made(
    changed_since: bool, server: StandIn, tmp_path: Path
) -> None:
    """Not before; what the controller there makes of it since is as good."""
    pod = Pod(server, tmp_path, "controller-1")
    before = shared_files(pod.directory)
    (pod.directory / "member.key").write_text("key")
    waiting = asyncio.create_task(wait_kept(pod.directory, before))
    await until(lambda: pod.asked() >= 2)
    early = waiting.done()
    if changed_since:
        (pod.directory / "member.key").write_text("next")
    await pod.controller.save(seconds_left=9)
    await asyncio.wait_for(waiting, 20)

    assert not early


async def test_a_command_that_made_nothing_asks_nobody(server: StandIn, tmp_path: Path) -> None:
    """Whatever the controller writes beside it."""
    pod = Pod(server, tmp_path, "controller-1")
    before = shared_files(pod.directory)
    (pod.directory / JOURNAL).write_text("{}")
    await wait_kept(pod.directory, before)

    assert pod.asked() == 0


async def test_an_api_server_that_is_away_is_told_with_what_was_made(
    server: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where it is, and what to do."""
    monkeypatch.setattr(keeping, "KEEP_SECONDS", 0.3)
    pod = Pod(server, tmp_path, "controller-1")
    (pod.directory / "member.key").write_text("key")
    await server.vanish()
    with pytest.raises(NotKeptError, match=r"key on the disk of controller-1 alone: .*can't be reached") as told:
        await wait_kept(pod.directory, {})
    await server.come_back()

    assert (told.value.exit_code, "keep that pod" in told.value.hint) == (1, True)


async def test_what_was_made_where_nobody_leads_any_more_is_told_to_be_lost(server: StandIn, tmp_path: Path) -> None:
    """Another has taken over without it; if it has it, all is well."""
    pod = Pod(server, tmp_path, "controller-2")
    await pod.controller.save(seconds_left=9)
    before = shared_files(pod.directory)
    (pod.directory / "member.key").write_text("key")
    with pytest.raises(NotKeptError, match=r"controller-2 leads since: .* is lost"):
        await wait_kept(pod.directory, before)
    await pod.controller.save(seconds_left=9)
    await wait_kept(pod.directory, before)
