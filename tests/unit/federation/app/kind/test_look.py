"""Looking at clusters changes nothing; the whole of it is in tests/feature/test_kind.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from federation.app.kind.commands import Kit
from federation.app.kind.look import Look
from federation.app.kind.programs import ProgramError
from federation.app.kind.topology import load_topology
from support.fake_kind import CONFIGS, FakeKind
from support.fake_kind_program import fresh


@pytest.fixture
def look(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Look, FakeKind]:
    host = FakeKind(tmp_path / "fakes")
    host.install(monkeypatch)
    host.state["clusters"]["east"] = fresh(3)
    return Look(load_topology(CONFIGS), Kit(tmp_path, ("federation",))), host


async def test_a_bare_cluster_is_seen_as_it_is(look: tuple[Look, FakeKind]) -> None:
    """Its nodes are there, and nothing else; the others do not exist. Kubeconfigs are private."""
    sights = await look[0].clusters()
    assert [sight.exists for sight in sights] == [True, False, False]
    assert (str(sights[0].nodes), str(sights[0].controllers), sights[0].member) == ("3/3", "0/1", False)
    modes = {path.name: path.stat().st_mode & 0o777 for path in look[0].kit.work.glob("*.kubeconfig")}
    assert modes == {"east.kubeconfig": 0o600}


async def test_trouble_with_one_cluster_is_its_own(look: tuple[Look, FakeKind]) -> None:
    """One whose API is silent, one of somebody else: told, with a way out."""
    look[1].state["silent"] = "east"
    assert "docker start east-control-plane" in (await look[0].clusters())[0].trouble
    look[1].state.update(silent="")
    look[1].state["clusters"]["east"]["ours"] = False
    with pytest.raises(ProgramError, match="did not make") as refused:
        await look[0].nodes(look[0].topology.seat)
    assert "kind delete cluster --name east" in refused.value.hint
