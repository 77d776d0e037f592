"""The writer of a mesh's objects where the API server fails, refuses, or another leads."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from controllers.mesh.base import Whole
from support.exchange import until
from support.kube.cluster import grant
from support.mesh_site import MESH_USER, NOTHING, MeshSite, mesh_site


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[MeshSite]:
    async with mesh_site(tmp_path) as found:
        yield found


@pytest.mark.parametrize("code", [409, 429, 500])
async def test_failures_of_the_api_server_pass(code: int, site: MeshSite) -> None:
    """Whatever it answers for a while, in the end all is in order and nothing is told any more."""
    site.install()
    site.site.server.fail(code, times=3, verbs=["patch"], plural="serviceentries")
    site.start()
    site.tell()
    await site.in_order()
    await until(lambda: not any(one.reason == "Unwritable" for one in site.writer.problems))
    assert [answer for _, _, answer in site.writes if answer == code]


async def test_nothing_is_written_before_the_state_is_told(site: MeshSite) -> None:
    """Nor is it settled: what there is to be is not known."""
    site.install()
    site.start()
    await until(lambda: site.mesh.adapter is not None and site.writer._objects.whole)
    before = site.writes, site.writer.settled
    site.tell()
    await site.in_order()
    assert before == ([], False)


async def test_only_the_leader_writes(site: MeshSite) -> None:
    """The others observe, and tell what the mesh lacks; whoever comes to lead does what there is to do."""
    leading = False
    site.writer._leading = lambda: leading
    site.install(trust_domain="other.test")
    site.start()
    site.tell()
    await until(lambda: site.mesh.adapter is not None and site.writer._objects.whole)
    before = site.writes, site.writer.settled, "TrustDomainDiffers" in [one.reason for one in site.writer.problems]
    leading = True
    site.writer.hurry()
    await site.in_order()
    assert before == ([], False, True)


async def test_a_right_to_write_that_is_missing_is_told(tmp_path: Path) -> None:
    """With the rule that the role must have; what may be written is."""
    reading = [{"apiGroups": ["*"], "resources": ["*"], "verbs": ["get", "list", "watch"]}]
    writing = [{"apiGroups": ["networking.istio.io"], "resources": ["*"], "verbs": ["create", "patch", "delete"]}]
    async with mesh_site(tmp_path, groups=()) as site:
        grant(site.site.cluster, "reading", MESH_USER, reading)
        grant(site.site.cluster, "writing", MESH_USER, writing)
        site.install()
        site.start()
        site.tell()
        await until(lambda: any(one.reason == "Forbidden" for one in site.writer.problems))
        await until(lambda: site.objects()["ServiceEntry"] == {"demo/federation-echo"})
        (told,) = [one for one in site.writer.problems if one.reason == "Forbidden"]
        assert 'resources: ["authorizationpolicies"], verbs: [create, patch]' in told.message
        assert site.site.writer.settled


async def test_who_leaves_the_clusterset_leaves_nothing_behind(site: MeshSite) -> None:
    """Nothing is what was computed, and nobody is trusted."""
    site.install()
    site.start()
    site.tell()
    await site.in_order()
    around = replace(site.site.computed().around, sidecar_port=0)
    site.writer.tell(Whole({}, {}, around), site.site.computed().results.keys())
    await site.in_order(NOTHING)
