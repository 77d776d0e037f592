"""The objects of a cluster in its API server: they come, stay as they should be, go, and nothing else is written."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from controllers.kube.writer import WritingApi
from controllers.mcs.export_status import Delivery, Publication
from controllers.mcs.objects import MANAGED_BY, MANAGER, import_id
from federation.model.names import ServiceKey
from support.builders import EAST, ECHO, WEST
from support.exchange import until
from support.kube.cluster import grant
from support.kube.housekeeping import NAMESPACES
from support.kube.objects import Key
from support.kube.plane import Plane
from support.writer_site import DERIVED, USER, Opened, WriterSite, exported, writer_site

OURS = ("ServiceImport", "Service", "EndpointSlice")
IMPORTS_CRD = "serviceimports.multicluster.x-k8s.io"
EXPORTS_CRD = "serviceexports.multicluster.x-k8s.io"
STALE = {
    "metadata": {"name": "old", "labels": {MANAGED_BY["ServiceImport"]: MANAGER}},
    "spec": {"type": "ClusterSetIP", "ports": []},
}


@pytest.fixture
async def site(kube_plane: Plane, tmp_path: Path) -> AsyncIterator[WriterSite]:
    """With the namespace demo; west exports demo/echo, and nobody was told."""
    async with writer_site(tmp_path, kube_plane.server) as found:
        found.namespace()
        yield found


@pytest.fixture
async def faulty(tmp_path: Path) -> AsyncIterator[WriterSite]:
    """The same on a stand-in of its own, whose faults a real API server does not have at will."""
    async with writer_site(tmp_path) as found:
        found.namespace()
        yield found


def content(site: WriterSite) -> list[Any]:
    """What the objects say, without what each version of them has of its own."""
    return [
        {name: value for name, value in site.one(kind).items() if name not in {"metadata", "status"}} for kind in OURS
    ]


async def quiet(site: WriterSite) -> None:
    """Resources are listed again, every service is looked at again, and no work is left."""
    before = site.lists()
    await site.cluster.forget()
    await until(lambda: site.lists() > before)
    await until(lambda: site.writer.settled)
    site.tell()
    await until(lambda: site.writer.settled)


async def test_an_import_comes_with_all_that_belongs_to_it_and_is_then_left_alone(site: WriterSite) -> None:
    """Its address is the derived Service's, its slice leads to west's gateway; when nothing changes nothing is
    written, whatever is listed and marked again."""
    site.tell()
    site.start()
    await site.in_order()
    service_import, derived, piece = (site.one(kind) for kind in OURS)

    assert service_import["spec"]["ips"] == derived["spec"]["clusterIPs"]
    assert service_import["status"]["clusters"] == [{"cluster": WEST}]
    assert [one["addresses"] for one in piece["endpoints"]] == [["192.0.2.1"]]
    assert piece["metadata"]["ownerReferences"][0]["uid"] == service_import["metadata"]["uid"]
    assert {code for _, _, code in site.writes} <= {200, 201}
    assert site.writer.problems == ()

    before = site.writes
    await quiet(site)
    assert site.writes == before


@pytest.mark.parametrize("kind", OURS)
@pytest.mark.parametrize(
    "meddle",
    [
        lambda site, kind: site.delete(kind),
        lambda site, kind: site.edit(kind, {"metadata": {"labels": None}}),
        lambda site, kind: site.edit(
            kind,
            {
                "ServiceImport": {"spec": {"ips": ["10.9.9.9"]}},
                "Service": {"spec": {"ports": [{"name": "other", "port": 80}]}},
                "EndpointSlice": {"endpoints": [{"addresses": ["10.9.9.9"]}]},
            }[kind],
        ),
    ],
    ids=["deleted", "unlabelled", "edited"],
)
async def test_what_somebody_did_by_hand_heals(
    meddle: Callable[[WriterSite, str], None], kind: str, site: WriterSite
) -> None:
    """A derived object that was deleted or edited is as it was, and the clusterset IP never changes."""
    site.tell()
    site.start()
    await site.in_order()
    before = content(site)
    spec_before = site.one("ServiceImport")["spec"]
    meddle(site, kind)

    def healed() -> bool:
        labels = site.one(kind).get("metadata", {}).get("labels", {})
        whole = all(site.of(one) for one in OURS) and labels.get(MANAGED_BY[kind]) == MANAGER
        return whole and content(site) == before and site.writer.settled

    await until(healed)
    writes = site.writes
    await quiet(site)

    assert site.one("ServiceImport")["spec"] == spec_before
    assert site.writes == writes


async def test_what_is_no_longer_exported_goes(site: WriterSite) -> None:
    """With all that belonged to it; what somebody else made stays, also under a name that is one of ours."""
    other = ServiceKey("demo", "other")
    site.create("Service", {"metadata": {"name": "echo"}, "spec": {"ports": [{"port": 80}]}})
    site.create("ServiceImport", {"metadata": {"name": "other"}, "spec": {"type": "ClusterSetIP", "ports": []}})
    site.exports[WEST][other] = exported(other)
    site.tell()
    site.start()
    await until(lambda: len(site.of("ServiceImport")) == 2 and bool(site.of("EndpointSlice")) and site.writer.settled)
    told = [(one.subject, one.reason) for one in site.writer.problems]
    site.exports[WEST] = {}
    site.tell(ECHO, other)
    await until(lambda: not site.of("EndpointSlice") and import_id(ECHO) not in site.of("ServiceImport"))
    await until(lambda: DERIVED not in site.of("Service") and site.writer.settled)

    assert told == [("ServiceImport demo/other", "NotOurs")]
    assert [id_.name for kind in OURS for id_ in site.of(kind)] == ["other", "echo"]
    assert site.writer.problems == ()


async def test_nothing_is_written_before_all_is_known(faulty: WriterSite) -> None:
    """What is left over from before goes only when the computed state was told, and every resource was read."""
    faulty.create("ServiceImport", STALE)
    faulty.server.fail(500, times=10_000, verbs=["list"], plural="services")
    faulty.tell()
    faulty.start()
    await until(lambda: faulty.lists("endpointslices") > 0 and faulty.lists("services") > 3)
    before = faulty.writes
    faulty.server.heal()
    await faulty.in_order()

    assert before == []
    await until(lambda: [id_.name for id_ in faulty.of("ServiceImport")] == ["echo"])


async def test_an_untold_writer_writes_nothing(faulty: WriterSite) -> None:
    """All is observed, and what is exported is unknown: that is not the same as nothing."""
    faulty.create("ServiceImport", STALE)
    faulty.start()
    await until(
        lambda: all(faulty.lists(one) for one in ("services", "namespaces", "serviceimports", "endpointslices"))
    )
    watched = len(faulty.server.audit)
    faulty.edit("ServiceImport", {"metadata": {"labels": {"team": "a"}}})
    faulty.server.compact()
    faulty.server.drop_watches()
    await until(lambda: len(faulty.server.audit) >= watched + 6)

    assert (faulty.writes, len(faulty.of("ServiceImport"))) == ([], 1)


async def test_definitions_that_were_deleted_and_came_back_heal(site: WriterSite) -> None:
    """While they are gone nothing is written; the import comes back with its address and its slices."""
    site.tell()
    site.start()
    await site.in_order()
    before = content(site)
    definition = await site.cluster.delete_definition(IMPORTS_CRD)
    await until(lambda: not site.writer.settled)
    without = site.writes
    site.tell()
    lists = site.lists()
    await site.cluster.forget()
    await until(lambda: site.lists() > lists + 1)
    during = site.writes
    await site.cluster.restore_definition(definition)
    await until(lambda: all(site.of(one) for one in OURS) and content(site) == before and site.writer.settled)

    assert during == without
    assert site.one("ServiceImport")["status"]["clusters"] == [{"cluster": WEST}]


@pytest.mark.parametrize("hang", [False, True])
async def test_an_api_server_that_was_away_is_caught_up_with(hang: bool, site: WriterSite) -> None:
    """What became known meanwhile is written once it is back, and nothing was emptied."""
    site.tell()
    site.start()
    await site.in_order()
    kept = content(site)[1]
    await site.cluster.vanish(hang=hang)
    other = ServiceKey("demo", "other")
    site.exports[WEST][other] = exported(other)
    site.tell()
    if not hang:
        await until(lambda: bool(site.writer.problems))
    await site.cluster.come_back()
    await until(lambda: len(site.of("EndpointSlice")) == 2 and site.writer.settled)
    await until(lambda: site.writer.problems == ())

    assert site.of("Service")[DERIVED]["spec"] == kept["spec"]
    assert not any(verb == "delete" for verb, _, _ in site.writes)


@pytest.mark.parametrize("code", [429, 500, 503, 409, 404])
async def test_failures_of_the_api_server_pass(code: int, faulty: WriterSite) -> None:
    """Whatever it answers for a while, all is in order in the end, and each write was tried again."""
    faulty.server.fail(code, times=3, verbs=["patch"])
    faulty.tell()
    faulty.start()
    await faulty.in_order()

    assert [answer for _, _, answer in faulty.writes].count(code) == 3
    await until(lambda: faulty.writer.problems == ())


async def test_a_right_that_is_missing_is_told_and_hinders_nothing_else(kube_plane: Plane, tmp_path: Path) -> None:
    """The problem names verb, resource and rule; once the rule is there the slices are too."""
    rules: list[dict[str, Any]] = [
        {"apiGroups": ["*"], "resources": ["*"], "verbs": ["get", "list", "watch"]},
        {"apiGroups": ["", "multicluster.x-k8s.io"], "resources": ["*"], "verbs": ["*"]},
    ]
    slices = {"apiGroups": ["discovery.k8s.io"], "resources": ["*"], "verbs": ["*"]}
    async with writer_site(tmp_path, kube_plane.server, groups=()) as site:
        site.namespace()
        grant(site.cluster, "some", USER, rules)
        site.tell()
        site.start()
        await until(lambda: any(one.reason == "Forbidden" for one in site.writer.problems))
        await until(lambda: "ips" in site.one("ServiceImport").get("spec", {}))
        (problem,) = site.writer.problems
        without = site.of("EndpointSlice")
        grant(site.cluster, "rest", USER, [slices])
        await site.in_order()
        await until(lambda: site.writer.problems == ())

    assert without == {}
    assert problem.subject.startswith("EndpointSlice demo/")
    assert 'cannot patch resource "endpointslices"' in problem.message
    assert problem.message.endswith(
        'the role must have the rule apiGroups: ["discovery.k8s.io"], resources: ["endpointslices"],'
        " verbs: [create, patch]"
    )


async def test_what_the_api_server_has_no_field_for_harms_itself_only(kube_plane: Plane, tmp_path: Path) -> None:
    """It answers 500, as if it were in trouble: that is told of the object, and all others are written."""
    other = ServiceKey("demo", "other")

    class Colouring:
        """A client whose API server is older than the objects of one service."""

        def __init__(self, api: WritingApi) -> None:
            self._api = api
            self.get, self.watch, self.delete = api.get, api.watch, api.delete

        async def apply(self, document: Any, *rest: Any, **options: Any) -> Any:
            if document["metadata"]["name"] == "other" and "spec" in document:
                document = {**document, "spec": {**document["spec"], "color": "red"}}
            return await self._api.apply(document, *rest, **options)

    def around(opened: Opened) -> Opened:
        @asynccontextmanager
        async def opening() -> AsyncIterator[WritingApi]:
            async with opened() as api:
                yield Colouring(api)

        return opening

    async with writer_site(tmp_path, kube_plane.server, around=around) as site:
        site.namespace()
        site.exports[WEST][other] = exported(other)
        site.tell(other, ECHO)
        site.start()
        await until(lambda: all(site.of(kind) for kind in OURS))
        await until(lambda: any(one.reason == "Refused" for one in site.writer.problems))
        (problem,) = site.writer.problems

        assert [id_.name for id_ in site.of("ServiceImport")] == ["echo"]
    assert problem.subject == "ServiceImport demo/other"
    assert ".spec.color: field not declared in schema" in problem.message


async def test_an_export_is_told_how_far_it_came(site: WriterSite) -> None:
    """Its conditions follow the publisher, and nothing but its status is written."""
    site.create("ServiceExport", {"metadata": {"name": "echo"}})
    site.exports = {EAST: {ECHO: exported()}}
    site.publication = Publication(Delivery.PENDING)
    site.tell()
    site.start()

    def ready() -> tuple[str, str]:
        found = site.one("ServiceExport").get("status", {}).get("conditions", [])
        return next(((one["status"], one["reason"]) for one in found if one["type"] == "Ready"), ("", ""))

    await until(lambda: ready() == ("False", "Pending"))
    site.publication = Publication(Delivery.EXPORTED)
    site.tell()
    await until(lambda: ready() == ("True", "Exported"))
    await site.in_order()
    before = site.writes
    await quiet(site)

    assert {name for verb, name, _ in site.writes if name.startswith("serviceexports")} == {"serviceexports/status"}
    assert site.writes == before


async def test_namespaces_come_and_go(site: WriterSite) -> None:
    """An import comes with its namespace, and nothing is written to one that is gone."""
    if not site.cluster.has_controllers:
        pytest.skip("no kube-controller-manager runs beside this real-api-server")
    far = ServiceKey("far", "echo")
    site.exports[WEST][far] = exported(far)
    site.tell()
    site.start()
    await site.in_order()
    before = len(site.of("ServiceImport"))
    site.namespace("far")
    await until(lambda: import_id(far) in site.of("ServiceImport") and site.writer.settled)
    site.cluster.delete(NAMESPACES, Key("", "far"))
    # A real namespace controller takes its time, above all after the API server was away.
    await until(lambda: import_id(far) not in site.of("ServiceImport"), 50.0)
    written = site.writes
    await quiet(site)

    assert before == 1
    assert site.writes == written


async def test_what_changed_since_it_was_seen_is_not_deleted_by_an_old_plan(faulty: WriterSite) -> None:
    """The API server refuses, it is observed again, and only then it goes."""
    faulty.tell()
    faulty.start()
    await faulty.in_order()
    faulty.server.slow_watches(1.5)
    faulty.edit("ServiceImport", {"metadata": {"annotations": {"note": "mine"}}})
    faulty.exports[WEST] = {}
    faulty.tell(ECHO)
    await until(lambda: ("delete", "serviceimports", 409) in faulty.writes)
    faulty.server.heal()
    await until(lambda: not faulty.of("ServiceImport"))

    assert ("delete", "serviceimports", 200) in faulty.writes


async def test_watches_that_tell_everything_twice_cost_no_write(faulty: WriterSite) -> None:
    """What is known is no news."""
    faulty.server.duplicate_events()
    faulty.tell()
    faulty.start()
    await faulty.in_order()
    before = faulty.writes
    faulty.tell()
    await until(lambda: faulty.writer.settled)

    assert faulty.writes == before
