"""The cluster's properties in its API server: there while it is a member, healed, and nobody's are overwritten."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from controllers.mcs.objects import MANAGED_BY, MANAGER
from support.exchange import until
from support.kube.cluster import grant
from support.kube.plane import Plane
from support.property_site import DEFINITION, ID, SET, USER, PropertySite, property_site

LABEL = MANAGED_BY["ClusterProperty"]
MARKED = {ID: "east", SET: "acme"}


@pytest.fixture
async def site(kube_plane: Plane, tmp_path: Path) -> AsyncIterator[PropertySite]:
    async with property_site(tmp_path, kube_plane.server) as found:
        yield found


async def marked(site: PropertySite) -> None:
    """Until both properties are as they should be."""
    await until(lambda: site.values == MARKED and site.writer.settled)


async def test_a_member_is_marked_and_then_left_alone(site: PropertySite) -> None:
    """Nothing is written before it is known whether it is one, nor when everything is listed again."""
    site.start(member=None)
    await until(lambda: site.writer._observed.whole)
    before = site.writes
    site.writer.tell(True)
    await marked(site)
    written = site.writes
    await site.cluster.forget()
    site.create("note.example.com", "x")
    site.writer.hurry()
    await until(lambda: site.writer.settled)

    assert (before, written) == ([], [("patch", 201)] * 2)
    assert site.writes == written
    assert [site.one(name)["metadata"]["labels"] for name in (ID, SET)] == [{LABEL: MANAGER}] * 2
    assert site.writer.problems == ()


@pytest.mark.parametrize("name", [ID, SET])
async def test_what_somebody_did_by_hand_heals(name: str, site: PropertySite) -> None:
    """A property that was deleted, edited or has lost its label is as it was."""
    site.start()
    await marked(site)
    site.delete(name)
    await marked(site)
    site.edit(name, {"spec": {"value": "wrong"}})
    await marked(site)
    site.edit(name, {"metadata": {"labels": {LABEL: None}}})
    await until(lambda: site.one(name)["metadata"].get("labels") == {LABEL: MANAGER})

    assert site.values == MARKED
    assert site.writer.problems == ()


async def test_who_leaves_keeps_its_id(site: PropertySite) -> None:
    """The clusterset's property goes, and comes back with the membership."""
    site.start()
    await marked(site)
    site.writer.tell(False)
    await until(lambda: site.values == {ID: "east"} and site.writer.settled)
    site.writer.tell(True)
    await marked(site)


async def test_what_somebody_else_wrote_is_not_overwritten(site: PropertySite) -> None:
    """An id that contradicts the settings is told, the cluster is not marked until one of the two is corrected, and a
    property that agrees is left as it is."""
    site.create(ID, "other")
    site.start()
    await until(lambda: site.writer.settled and bool(site.writer.problems))
    told = [(one.subject, one.reason) for one in site.writer.problems]
    values, writes = site.values, site.writes
    site.edit(ID, {"spec": {"value": "east"}})
    await marked(site)

    assert told == [(f"ClusterProperty {ID}", "ClusterIdDiffers")]
    assert (values, writes) == ({ID: "other"}, [])
    assert "labels" not in site.one(ID)["metadata"]
    assert site.writer.problems == ()


async def test_without_the_api_there_is_one_problem_and_no_write(site: PropertySite) -> None:
    """The CRD may be deleted, and come later: then the properties are there again."""
    definition = await site.cluster.delete_definition(DEFINITION)
    try:
        site.start()
        await until(lambda: site.writer.settled)
        told = site.writer.problems
        writes = site.writes
    finally:
        await site.cluster.restore_definition(definition)
    await marked(site)

    assert [(one.subject, one.reason) for one in told] == [("ClusterProperty", "NotServed")]
    assert writes == []
    await until(lambda: site.writer.problems == ())


async def test_only_the_leader_writes(site: PropertySite) -> None:
    """Whoever comes to lead does what there is to do."""
    site.leading = False
    site.start()
    await until(lambda: site.writer._observed.whole)
    site.create("note.example.com", "x")
    await until(lambda: site.writer._observed.whole)
    before = site.writes, site.writer.settled
    site.leading = True
    site.writer.hurry()
    await marked(site)

    assert before == ([], False)


async def test_a_right_that_is_missing_is_told(kube_plane: Plane, tmp_path: Path) -> None:
    """With the rule that the role must have; once it is there the properties are too."""
    reading: list[dict[str, Any]] = [{"apiGroups": ["*"], "resources": ["*"], "verbs": ["get", "list", "watch"]}]
    async with property_site(tmp_path, kube_plane.server, groups=()) as site:
        grant(site.cluster, "reading", USER, reading)
        site.start()
        await until(lambda: any(one.reason == "Forbidden" for one in site.writer.problems))
        (problem,) = site.writer.problems
        verbs = ["create", "patch", "delete"]
        rule = {"apiGroups": ["about.k8s.io"], "resources": ["clusterproperties"], "verbs": verbs}
        grant(site.cluster, "writing", USER, [rule])
        await marked(site)

        assert problem.message.endswith(
            'the role must have the rule apiGroups: ["about.k8s.io"], resources: ["clusterproperties"],'
            " verbs: [create, patch, delete]"
        )
        await until(lambda: site.writer.problems == ())


@pytest.mark.parametrize("hang", [False, True])
async def test_an_api_server_that_was_away_is_caught_up_with(hang: bool, site: PropertySite) -> None:
    """What became known meanwhile is written once it is back."""
    site.start()
    await marked(site)
    await site.cluster.vanish(hang=hang)
    site.writer.tell(False)
    if not hang:
        await until(lambda: bool(site.writer.problems))
    await site.cluster.come_back()
    await until(lambda: site.values == {ID: "east"} and site.writer.settled)
