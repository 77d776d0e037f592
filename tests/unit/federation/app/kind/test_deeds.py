"""Single steps where they may go wrong; all of them together are in tests/feature/test_kind.py."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from federation.app.kind.commands import Command, Ended, Kit
from federation.app.kind.deeds import Deeds, Options
from federation.app.kind.look import Look
from federation.app.kind.plan import Deed, StepId
from federation.app.kind.programs import ProgramError
from federation.app.kind.topology import load_topology
from federation.model.errors import ConfigError
from support.fake_kind import CONFIGS, FakeKind
from support.fake_kind_program import fresh

IMAGE, CLUSTER, FOUND = StepId(Deed.IMAGE), StepId(Deed.CLUSTER, "east"), StepId(Deed.FOUND, "east")


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeKind:
    fakes = FakeKind(tmp_path / "fakes")
    fakes.install(monkeypatch)
    return fakes


def deeds(tmp_path: Path, options: Options) -> Deeds:
    return Deeds(Look(load_topology(CONFIGS), Kit(tmp_path, ("federation",))), options, lambda _: None)


async def test_a_ready_made_image_is_taken_or_pulled(host: FakeKind, tmp_path: Path) -> None:
    """Never built."""
    one = deeds(tmp_path, Options("federation-gateway:0.1.0"))
    assert not await one.is_true(IMAGE)
    await one.make_true(IMAGE)
    assert await one.is_true(IMAGE)
    assert host.asked("docker pull federation-gateway:0.1.0") != []


async def test_without_a_checkout_there_is_nothing_to_build(host: FakeKind, tmp_path: Path) -> None:
    """The hint names the other way."""
    with pytest.raises(ConfigError, match="no deploy/image/Dockerfile") as refused:
        await deeds(tmp_path, Options(source=tmp_path)).make_true(IMAGE)
    assert "--image" in refused.value.hint


async def test_a_cluster_that_failed_half_made_is_removed(host: FakeKind, tmp_path: Path) -> None:
    """It would be in the way of the next run; one that was there before is not."""
    one = deeds(tmp_path, Options())
    host.state["broken"] = ["kind create cluster --name east"]
    with pytest.raises(ProgramError, match="boom"):
        await one.make_true(CLUSTER)
    assert host.asked("kind delete cluster --name east") != []

    host.log.clear()
    host.state.update(broken=["wait"], clusters={"east": fresh(3)})
    with pytest.raises(ProgramError, match="boom"):
        await one.make_true(CLUSTER)
    assert host.asked("kind delete") == []


async def test_an_interrupt_leaves_no_half_made_cluster(
    host: FakeKind, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was begun is removed before the run ends."""
    begun, never = asyncio.Event(), asyncio.Event()

    async def execute(program: str, command: Command) -> Ended:
        if command.words[:3] == ("kind", "create", "cluster"):
            begun.set()
            await never.wait()
        return await host.execute(program, command)

    monkeypatch.setattr("federation.app.kind.programs.execute", execute)
    making = asyncio.ensure_future(deeds(tmp_path, Options()).make_true(CLUSTER))
    await begun.wait()
    making.cancel()
    with pytest.raises(asyncio.CancelledError):
        await making
    assert host.log[-1][0] == "kind delete cluster --name east"


async def test_a_cluster_with_too_few_nodes_is_not_ready(host: FakeKind, tmp_path: Path) -> None:
    """As after somebody changed its configuration."""
    host.state["clusters"]["east"] = fresh(1)
    one = deeds(tmp_path, Options())
    assert not await one.is_true(CLUSTER)
    with pytest.raises(ProgramError, match="not all of its 3 nodes"):
        await one.make_true(CLUSTER)


async def test_credentials_of_the_exchange_are_private(host: FakeKind, tmp_path: Path) -> None:
    """They are files of the run, that only its user reads."""
    host.state["clusters"]["east"] = {**fresh(3), "exchange": True, "installed": True}
    host.state["images"]["i:1"] = "sha256:1"
    one = deeds(tmp_path, Options("i:1"))
    await one.is_true(CLUSTER)
    await one.make_true(FOUND)
    assert (tmp_path / "exchange-admin.credentials").stat().st_mode & 0o777 == 0o600
    assert await one.is_true(FOUND)
