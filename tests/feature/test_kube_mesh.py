"""A cluster with Istio: its own objects are there for what is imported, heal, and go; nobody else's are touched."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from controllers.mcs.objects import MANAGED_BY, MANAGER, SERVICE_NAME_LABEL
from controllers.mesh.detect import MeshKind
from support.builders import EAST, ECHO, WEST
from support.exchange import until
from support.kube.cluster import grant
from support.kube_members import SECONDS, kube_clusters
from support.kube_members import exported as documents
from support.mesh_site import (
    ISTIO,
    MESH_USER,
    NOTHING,
    WANTED,
    MeshSite,
    install_istio,
    mesh_objects,
    mesh_site,
)
from support.writer_site import DERIVED, exported

LABEL = MANAGED_BY["ServiceEntry"]
HIDDEN = "networking.istio.io/exportTo"


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[MeshSite]:
    async with mesh_site(tmp_path) as found:
        yield found


def mcs_objects(site: MeshSite) -> dict[str, Any]:
    """What the cluster has of the service besides the mesh's objects."""
    return {kind: sorted(map(str, site.site.of(kind))) for kind in ("ServiceImport", "Service", "EndpointSlice")}


def annotations(site: MeshSite) -> dict[str, str]:
    found: dict[str, str] = site.site.of("Service")[DERIVED]["metadata"]["annotations"]
    return found


async def test_a_cluster_without_a_mesh_is_asked_for_nothing_more(site: MeshSite) -> None:
    """It has the objects of the MCS API and no others; a mesh that comes later is adapted to."""
    site.start()
    site.tell()
    await site.site.in_order()
    await until(lambda: site.writer.settled)
    before = site.reads(), site.writes, site.mesh.problems, annotations(site)
    site.install()
    await site.in_order()

    assert before[:3] == ({"customresourcedefinitions", "namespaces"}, [], ())
    assert HIDDEN not in before[3]
    assert annotations(site)[HIDDEN] == "~"
    assert str(site.mesh.detected) == "istio 1.30.1 in istio-system, trust domain east.test"


async def test_what_is_imported_is_there_for_istio_and_then_left_alone(site: MeshSite) -> None:
    """With the clusterset IP that the API server gave; nothing is written when all is told, or listed, again."""
    site.install()
    site.start()
    site.tell()
    await site.in_order()
    (ip,) = {ip for one in site.site.of("ServiceImport").values() for ip in one["spec"]["ips"]}
    await until(lambda: site.one("ServiceEntry")["spec"].get("addresses") == [ip])
    await site.in_order()
    written = len(site.writes), len(site.site.writes)
    await site.site.cluster.forget()
    site.tell()
    site.writer.hurry()
    site.site.writer.hurry()
    await site.in_order()

    assert (len(site.writes), len(site.site.writes)) == written
    assert site.one("ServiceEntry")["metadata"]["labels"] == {LABEL: MANAGER, SERVICE_NAME_LABEL: "echo"}
    assert [one.reason for one in site.writer.problems] == ["CaNotTrusted", "CallersRefused"]


@pytest.mark.parametrize("kind", ISTIO)
async def test_what_somebody_did_by_hand_heals(kind: str, site: MeshSite) -> None:
    """An object that was edited, lost its labels or was deleted is as it was."""
    site.install()
    site.start()
    site.tell()
    await site.in_order()
    spec = site.one(kind)["spec"]
    site.edit(kind, {"spec": {"host": "wrong", "hosts": ["wrong"], "action": "ALLOW"}})
    ours = {"host", "hosts", "action"} & spec.keys()
    await until(lambda: all(site.one(kind)["spec"][name] == spec[name] for name in ours))
    site.edit(kind, {"metadata": {"labels": None}})
    await until(lambda: site.one(kind)["metadata"].get("labels", {}).get(LABEL) == MANAGER)
    uid = site.one(kind)["metadata"]["uid"]
    site.delete(kind)
    await site.in_order()

    assert site.one(kind)["metadata"]["uid"] != uid
    assert ours


async def test_what_is_exported_no_longer_goes_and_others_stay(site: MeshSite) -> None:
    """An object of somebody else that has our label's key or our kind of name is nobody's to delete."""
    site.install()
    mine = {"metadata": {"name": "federation-web", "labels": {LABEL: "somebody"}}, "spec": {"hosts": ["web.example"]}}
    await site.create("ServiceEntry", mine)
    site.start()
    site.tell()
    await site.in_order({**WANTED, "ServiceEntry": {"demo/federation-echo", "demo/federation-web"}})
    site.site.exports[WEST] = {}
    site.tell()
    site.writer.tell(site.writer._whole, [ECHO])  # type: ignore[arg-type]
    site.site.writer.tell(site.site.computed(), [ECHO])
    rest = {**NOTHING, "ServiceEntry": {"demo/federation-web"}, "AuthorizationPolicy": WANTED["AuthorizationPolicy"]}
    await site.in_order(rest)
    site.anchors = {}
    site.tell()
    await site.in_order({**NOTHING, "ServiceEntry": {"demo/federation-web"}})


async def test_what_somebody_else_made_by_that_name_is_left_and_told(site: MeshSite) -> None:
    """Once it is out of the way, ours is there."""
    site.install()
    mine = {"metadata": {"name": "federation-echo"}, "spec": {"hosts": ["echo.example"]}}
    await site.create("ServiceEntry", mine)
    site.start()
    site.tell()
    await site.in_order()
    told = [(one.subject, one.reason) for one in site.writer.problems if one.reason == "NotOurs"]
    hosts = site.one("ServiceEntry")["spec"]["hosts"]
    site.delete("ServiceEntry")
    await site.in_order()

    assert told == [("ServiceEntry demo/federation-echo", "NotOurs")]
    assert hosts == ["echo.example"]
    assert site.one("ServiceEntry")["spec"]["hosts"] == ["echo.demo.svc.clusterset.local"]
    assert not any(one.reason == "NotOurs" for one in site.writer.problems)


async def test_namespaces_that_export_get_a_policy(site: MeshSite) -> None:
    """It goes with the last export, and what foreign callers may do at all stays."""
    site.install()
    site.site.exports[EAST] = {ECHO: exported()}
    site.start()
    site.tell()
    both = {"istio-system/federation-foreign-callers", "demo/federation-foreign-callers"}
    await site.in_order({**WANTED, "AuthorizationPolicy": both})
    del site.site.exports[EAST]
    site.tell()
    await site.in_order()


async def test_a_mesh_that_is_gone_takes_our_objects_along(site: MeshSite) -> None:
    """Its definitions may stay; the objects of the MCS API do."""
    site.install()
    site.start()
    site.tell()
    await site.in_order()
    before = mcs_objects(site)
    site.uninstall()
    await site.in_order(NOTHING)
    await until(lambda: HIDDEN not in annotations(site))
    assert site.mesh.detected is not None
    assert site.mesh.detected.kind is MeshKind.NONE
    assert mcs_objects(site) == before


async def test_definitions_that_vanish_leave_nothing_to_delete(site: MeshSite) -> None:
    """Objects of the MCS API stay as they are; once the definitions are back, so are our objects."""
    site.install()
    site.start()
    site.tell()
    await site.in_order()
    before = mcs_objects(site), site.site.one("ServiceImport")["spec"]["ips"]
    names = [f"{plural}.{group}" for group, plural in ISTIO.values()]
    gone = [await site.site.cluster.delete_definition(name) for name in names]
    await until(lambda: site.mesh.detected is not None and site.mesh.detected.kind is MeshKind.NONE)
    await site.in_order(NOTHING)
    during = mcs_objects(site), site.site.one("ServiceImport")["spec"]["ips"]
    for definition in gone:
        await site.site.cluster.restore_definition(definition)
    await site.in_order()

    assert during == before
    assert not any(verb == "delete" for verb, _, _ in site.writes)


async def test_rights_that_are_missing_keep_nothing_else_waiting(tmp_path: Path) -> None:
    """Without them there is no mesh, and a problem with the rule; with them there is one."""
    see = ["list", "watch"]
    base = [
        {"apiGroups": ["apiextensions.k8s.io"], "resources": ["customresourcedefinitions"], "verbs": see},
        {"apiGroups": [""], "resources": ["namespaces", "services"], "verbs": see},
    ]
    async with mesh_site(tmp_path, groups=()) as site:
        grant(site.site.cluster, "base", MESH_USER, base)
        site.install()
        site.start()
        site.tell()
        await site.site.in_order()
        await until(lambda: len(site.mesh.problems) == 2 and site.writer.settled)
        told = site.mesh.problems
        more = [
            {"apiGroups": ["apps"], "resources": ["deployments"], "verbs": see},
            {"apiGroups": [""], "resources": ["configmaps"], "resourceNames": ["istio"], "verbs": see},
            {"apiGroups": ["networking.istio.io", "security.istio.io"], "resources": ["*"], "verbs": ["*"]},
        ]
        grant(site.site.cluster, "istio", MESH_USER, more)
        await site.in_order()

        assert {one.reason for one in told} == {"Unreadable"}
        assert 'apiGroups: ["apps"], resources: ["deployments"], verbs: [list, watch]' in told[1].message
        assert 'resources: ["configmaps"], resourceNames: ["istio"], verbs: [list, watch]' in told[0].message
        assert site.mesh.problems == ()


async def test_derived_services_stay_hidden_while_the_mesh_is_not_known(site: MeshSite) -> None:
    """As after a restart: what an earlier controller wrote is not taken back before it is seen that there is none."""
    site.install()
    site.start()
    site.tell()
    await site.in_order()
    writes = len(site.site.writes)
    site.site.writer.on_derived_annotations(None)
    await site.in_order()

    assert annotations(site)[HIDDEN] == "~"
    assert len(site.site.writes) == writes


async def test_a_whole_controller_adapts_to_istio(tmp_path: Path) -> None:
    """What is exported is there for Istio until it is so no longer, and the status tells the mesh."""
    imported = {**NOTHING, "DestinationRule": {"demo/federation-echo"}, "ServiceEntry": {"demo/federation-echo"}}
    async with kube_clusters(tmp_path) as clusters:
        east = await clusters.add("east", "eu", mesh={"sidecarPort": 0})
        install_istio(east.server, "east.acme")
        await clusters.found(east)
        east.namespace()
        for document in documents():
            east.create(document)
        await until(lambda: mesh_objects(east.server) == imported, seconds=SECONDS)
        await until(lambda: east.replicas[0].status().kubernetes.in_order, seconds=SECONDS)  # type: ignore[union-attr]
        (entry,) = east.server.objects(ISTIO["ServiceEntry"]).values()
        status = east.replicas[0].status()
        derived = [one for name, one in east.objects("Service").items() if name.startswith("derived-")]
        east.delete("ServiceExport", "echo")
        await until(lambda: mesh_objects(east.server) == NOTHING, seconds=SECONDS)

    assert [(one["address"], one["ports"]) for one in entry["spec"]["endpoints"]] == [("10.0.0.1", {"http": 8080})]
    assert entry["spec"]["addresses"] == derived[0]["spec"]["clusterIPs"]
    assert [one["metadata"]["annotations"][HIDDEN] for one in derived] == ["~"]
    assert status.kubernetes is not None
    assert status.kubernetes.mesh is not None
    assert (status.kubernetes.mesh.kind, status.kubernetes.mesh.trust_domain) == ("istio", "east.acme")
    assert "trustDomain: east.acme" in status.kubernetes.mesh.settings
    assert not any("mesh" in one for one in status.problems)
