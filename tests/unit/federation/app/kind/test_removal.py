"""Deleting the clusters, each by itself; with the command in tests/feature/test_kind.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from federation.app.kind.commands import Kit
from federation.app.kind.look import Look
from federation.app.kind.removal import remove
from federation.app.kind.topology import load_topology
from support.fake_kind import CONFIGS, FakeKind
from support.fake_kind_program import fresh


async def test_one_that_stays_keeps_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An API that does not answer can't say that the cluster is ours, so it stays; all else goes."""
    host = FakeKind(tmp_path / "fakes")
    host.install(monkeypatch)
    host.state["clusters"] = {name: fresh(2) for name in ("east", "west", "north", "other")}
    host.state["silent"] = "west"
    told: list[str] = []
    (error,) = await remove(Look(load_topology(CONFIGS), Kit(tmp_path, ("federation",))), told.append)

    assert sorted(host.state["clusters"]) == ["other", "west"]
    assert "west" in str(error)
    assert sorted(told) == ["east: deleted", "north: deleted"]
