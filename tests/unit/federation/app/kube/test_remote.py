"""Commands that are run where the controller leads: who that is, and what the pod makes of them."""

from __future__ import annotations

import asyncio
import io
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from controllers.kube.client import KubeAccess
from federation.app.clock import utc_now
from federation.app.kube import remote
from federation.app.kube.remote import (
    MAX_BYTES,
    Invocation,
    NoLeaderError,
    laid_out,
    placeholder,
    read_invocation,
    run_in_leader,
)
from federation.model.errors import ConfigError
from support.exchange import until
from support.kube.exec import Program
from support.kube.objects import Key
from support.kube.server import StandIn, running

LEASES = ("coordination.k8s.io", "leases")


def lease(holder: str, renewed: datetime, seconds: int) -> dict[str, Any]:
    stamp = renewed.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    spec = {"holderIdentity": holder, "leaseDurationSeconds": seconds, "renewTime": stamp}
    return {"metadata": {"namespace": "system", "name": "federation-controller"}, "spec": spec}


class Pods:
    """A cluster whose lease says what a test has it say; a program in a pod ends with the pod's number as its code."""

    def __init__(self, server: StandIn, directory: Path) -> None:
        self._server = server
        self._access = KubeAccess(server.write_kubeconfig(directory / "kubeconfig"))
        self.said: list[str] = []
        server.put(("", "namespaces"), {"metadata": {"name": "system"}})
        server.run_in_pods(lambda pod, _: Program(["sh", "-c", f"exit {pod.rpartition('-')[2]}"]))

    async def run(self) -> int:
        return await run_in_leader(
            self._access,
            "system",
            Invocation(("status",)),
            out=lambda _: None,
            err=lambda said: self.said.append(said.decode()),
        )

    def renew(self, document: dict[str, Any]) -> None:
        kind = next(one for one in self._server.registry.catalog.all() if one.resource == LEASES)
        self._server.registry.delete(kind, Key("system", "federation-controller"), {})
        self._server.put(LEASES, document)


@pytest.mark.parametrize("holder", ["controller-3_a", "controller-4_b"])
async def test_a_leader_that_may_have_died_is_waited_for(holder: str, tmp_path: Path) -> None:
    """Until it is seen to live, or another takes over: the API server is asked to run a program nowhere else."""
    async with running() as server:
        pods = Pods(server, tmp_path)
        server.put(LEASES, lease("controller-3_a", utc_now() - timedelta(seconds=14), 15))
        running_there = asyncio.create_task(pods.run())
        await until(lambda: bool(pods.said))
        early = [one for one in server.audit if one.asked.subresource == "exec"]
        pods.renew(lease(holder, utc_now() - timedelta(seconds=13), 15))
        code = await asyncio.wait_for(running_there, 20)
        asked = [one.asked.name for one in server.audit if one.asked.subresource == "exec"]

    assert (early, code, asked) == ([], int(holder[11]), [holder[:12]])
    assert pods.said == [
        "the controller that leads, controller-3, may have died: waiting for it, or for another one to lead\n"
    ]


async def test_a_leader_that_is_alive_is_not_waited_for(tmp_path: Path) -> None:
    """Its lease was renewed just now."""
    async with running() as server:
        pods = Pods(server, tmp_path)
        server.put(LEASES, lease("controller-3_a", utc_now(), 15))

        assert (await pods.run(), pods.said) == (3, [])


async def test_a_leader_that_died_without_another_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once its lease is over, and whoever could have taken it had the time to."""
    monkeypatch.setattr(remote, "MARGIN_SECONDS", 0.0)
    async with running() as server:
        pods = Pods(server, tmp_path)
        server.put(LEASES, lease("controller-3_a", utc_now() - timedelta(seconds=3600), 1))
        with pytest.raises(
            NoLeaderError, match="controller-3, which did, no longer renews Lease federation-cont"
        ) as told:
            await pods.run()
        asked = [one for one in server.audit if one.asked.subresource == "exec"]

    assert (asked, told.value.exit_code) == ([], 3)


async def test_without_a_leader_nothing_is_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither without a lease nor with one that was given back; the hint says where to look."""
    monkeypatch.setattr(remote, "MARGIN_SECONDS", 0.0)
    async with running() as server:
        access = KubeAccess(server.write_kubeconfig(tmp_path / "kubeconfig"))
        for _ in range(2):
            with pytest.raises(NoLeaderError) as caught:
                await run_in_leader(access, "system", Invocation(("status",)), out=lambda _: None, err=lambda _: None)
            assert (caught.value.exit_code, caught.value.hint.find("`kubectl get pods -n system`")) == (3, 0)
            assert "federation install -n system" in caught.value.hint
            server.put(("", "namespaces"), {"metadata": {"name": "system"}})
            server.put(LEASES, lease("", utc_now(), 1))


def test_files_are_private_and_gone_afterwards() -> None:
    """Their names stand where the operator's did."""
    invocation = Invocation(("init", placeholder(1), f"--ca={placeholder(0)}"), (b"a", b"b"))
    with laid_out(invocation) as words:
        paths = [Path(words[2].removeprefix("--ca=")), Path(words[1])]
        found = [(path.read_bytes(), path.stat().st_mode & 0o777) for path in paths]

    assert found == [(b"a", 0o600), (b"b", 0o600)]
    assert not any(path.exists() for path in paths)


def test_what_is_no_command_or_too_large_is_refused() -> None:
    """Before anything is done."""
    for line in ("", "{}", '{"words": 1}', '{"words": ["' + "x" * MAX_BYTES + '"]}'):
        with pytest.raises(ConfigError, match="no command"):
            read_invocation(io.StringIO(line))
