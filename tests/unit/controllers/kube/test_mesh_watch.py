"""Which mesh is taken for the cluster's while it comes, goes, and can't be told."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from controllers.mesh.detect import MeshKind
from support.exchange import until
from support.mesh_site import ISTIO, MeshSite, linkerd, mesh_site


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[MeshSite]:
    async with mesh_site(tmp_path) as found:
        yield found


def kind(site: MeshSite) -> MeshKind | None:
    return None if site.mesh.detected is None else site.mesh.detected.kind


async def test_nothing_is_known_before_all_was_read(site: MeshSite) -> None:
    """Then there is no mesh, and nothing that derived Services must carry."""
    before = site.mesh.decided, site.mesh.derived_annotations, site.mesh.problems
    site.start()
    await until(lambda: site.mesh.decided)
    assert before == (False, None, ())
    assert (kind(site), site.mesh.derived_annotations, site.mesh.resources) == (MeshKind.NONE, {}, ())


async def test_a_mesh_that_is_not_seen_is_not_gone(site: MeshSite) -> None:
    """While the API server is away, what was found last stays in force."""
    site.install()
    site.start()
    await until(lambda: kind(site) is MeshKind.ISTIO)
    await site.site.cluster.vanish()
    await until(lambda: bool(site.mesh.problems))
    known = kind(site), site.mesh.decided, site.mesh.refused
    await site.site.cluster.come_back()
    await until(lambda: site.mesh.problems == ())
    assert known == (MeshKind.ISTIO, True, False)


async def test_of_two_meshes_none_is_taken_and_none_is_gone(site: MeshSite) -> None:
    """What was written for one stays until it is clear which one it is."""
    site.install()
    site.start()
    await until(lambda: kind(site) is MeshKind.ISTIO)
    for resource, body in linkerd():
        site.site.server.put(resource, body)
    await until(lambda: kind(site) is MeshKind.NONE)
    assert [one.reason for one in site.mesh.problems] == ["SeveralMeshes"]
    assert (site.mesh.adapter, site.mesh.decided, site.mesh.derived_annotations) == (None, False, None)


async def test_linkerd_is_found_and_nothing_of_it_is_read(site: MeshSite) -> None:
    """Nothing is written of its kinds while no gateway takes its calls, and that is told."""
    for resource, body in linkerd():
        site.site.server.put(resource, body)
    site.start()
    site.tell()
    await until(lambda: kind(site) is MeshKind.LINKERD and site.writer.settled)
    assert str(site.mesh.detected) == "linkerd edge-26.8.1 in linkerd, trust domain east.test"
    assert site.mesh.resources == ()
    assert [one.reason for one in site.writer.problems] == ["NoWayOut"]
    assert site.reads() == {"customresourcedefinitions", "namespaces", "configmaps"}


async def test_a_kind_that_comes_later_is_written_then(site: MeshSite) -> None:
    """As where definitions are installed one after the other."""
    site.install()
    group, plural = ISTIO["AuthorizationPolicy"]
    removed = await site.site.cluster.delete_definition(f"{plural}.{group}")
    site.start()
    await until(lambda: kind(site) is MeshKind.ISTIO)
    kinds = {resource.kind for resource in site.mesh.resources}
    told = [one.reason for one in site.mesh.problems]
    await site.site.cluster.restore_definition(removed)
    await until(lambda: {resource.kind for resource in site.mesh.resources} == set(ISTIO))
    await until(lambda: site.mesh.problems == ())
    assert (kinds, told) == (set(ISTIO) - {"AuthorizationPolicy"}, ["KindNotServed"])


async def test_another_revision_has_a_configuration_of_its_own(site: MeshSite) -> None:
    """It is read by its name, which the role must allow."""
    site.install(revision="canary", trust_domain="canary.test")
    site.start()
    await until(lambda: kind(site) is MeshKind.ISTIO)
    assert site.mesh.detected is not None
    assert site.mesh.detected.trust_domain == "canary.test"
