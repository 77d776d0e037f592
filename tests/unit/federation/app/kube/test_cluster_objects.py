"""The objects of a membership, cleared away by who has no controller."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from controllers.projection import Surroundings, own_site
from federation.app.kube.cluster_objects import ClusterObjects
from federation.app.kube.post import Post
from federation.model.configuration import KubernetesSettings
from support.builders import ECHO
from support.control import settings


class Told:
    """Stands for a writer, which has news to mark whenever it is told anything, ``times`` times."""

    def __init__(self, times: int = 0) -> None:
        self.told: list[Any] = []
        self.times = times

    @property
    def settled(self) -> bool:
        return len(self.told) > self.times

    def tell(self, what: Any = None, *changed: Any, member: bool = False) -> None:
        self.told.append((what, *changed) if what is not None else member)


@pytest.mark.parametrize("late", ["_writer", "_properties", "_mesh_writer"])
async def test_clearing_ends_once_all_of_it_is_in_order(late: str, tmp_path: Path) -> None:
    """After a look at what was read since it was told; who was told of a service hears that it is gone, once."""
    kubernetes = KubernetesSettings()
    cluster = settings(tmp_path)
    objects: Any = ClusterObjects(cluster, kubernetes, Post(kubernetes, tmp_path))
    parts = {name: Told(3 if name == late else 0) for name in ("_writer", "_properties", "_mesh_writer")}
    for name, part in parts.items():
        setattr(objects, name, part)
    async with asyncio.timeout(20):
        await objects.clear_away(Surroundings(own_site(cluster), cluster.trust_domain, 15443), {ECHO})

    assert {*parts["_properties"].told} == {False}
    for name in ("_writer", "_mesh_writer"):
        told = parts[name].told
        assert len(told) == 4
        assert [changed for _, changed in told] == [{ECHO}, (), (), ()]
        assert all((whole.results, whole.services) == ({}, {}) for whole, _ in told)
