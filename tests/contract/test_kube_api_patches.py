"""What this project relies on in an API server's patches: JSON, merge, strategic merge, and server-side apply."""

from __future__ import annotations

from support.kube.objects import Json
from support.kube.site import (
    CORE,
    JSON_PATCH,
    MERGE,
    STRATEGIC,
    Site,
    condition,
    config_map,
    export,
    service,
    version,
)

# Patches


async def test_json_patch_does_all_or_nothing(site: Site) -> None:
    """Operations are carried out in order; a test that fails refuses the whole with 422."""
    path = f"{site.config_maps}/settings"
    await site.made(site.config_maps, config_map(a="1", labels={"b/c": "1"}))
    done = await site.admin.ask(
        "PATCH",
        path,
        [
            {"op": "test", "path": "/data/a", "value": "1"},
            {"op": "replace", "path": "/metadata/labels/b~1c", "value": "2"},
        ],
        media=JSON_PATCH,
    )
    refused = await site.admin.ask(
        "PATCH",
        path,
        [{"op": "remove", "path": "/data/a"}, {"op": "test", "path": "/data/a", "value": "9"}],
        media=JSON_PATCH,
    )
    assert (done.body["data"], done.body["metadata"]["labels"]) == ({"a": "1"}, {"b/c": "2"})
    assert refused.code == 422
    assert (await site.admin.get(path)).body["data"] == {"a": "1"}


async def test_merge_patch_removes_by_null_and_minds_the_version(site: Site) -> None:
    """Null takes a field away; a resource version in the patch must be the current one."""
    path = f"{site.config_maps}/settings"
    made = await site.made(site.config_maps, config_map(a="1", b="2"))
    done = await site.admin.ask("PATCH", path, {"data": {"a": None}}, media=MERGE)
    stale = {"metadata": {"resourceVersion": version(made)}, "data": {"b": "3"}}

    assert done.body["data"] == {"b": "2"}
    assert (await site.admin.ask("PATCH", path, stale, media=MERGE)).reason == (409, "Conflict")


async def test_strategic_merge_joins_ports_by_number_and_is_not_for_custom_resources(site: Site) -> None:
    """A port of the patch joins that of its number, ``$patch: delete`` takes one away; custom resources answer 415."""
    path = site.path("services", "echo", api=CORE)
    await site.made(site.path("services", api=CORE), service())
    await site.made(site.path("serviceexports"), export())
    added = {"spec": {"ports": [{"port": 81, "name": "more"}, {"port": 80, "appProtocol": "http"}]}}
    joined = await site.admin.ask("PATCH", path, added, media=STRATEGIC)
    taken = {"spec": {"ports": [{"port": 80, "$patch": "delete"}]}}
    left = await site.admin.ask("PATCH", path, taken, media=STRATEGIC)
    custom = await site.admin.ask("PATCH", site.path("serviceexports", "echo"), {}, media=STRATEGIC)

    ports = {port["port"]: (port["name"], port.get("appProtocol")) for port in joined.body["spec"]["ports"]}
    assert ports == {80: ("http", "http"), 81: ("more", None)}
    assert [port["port"] for port in left.body["spec"]["ports"]] == [81]
    assert custom.reason == (415, "UnsupportedMediaType")


# Server-side apply


async def test_apply_creates_then_changes_only_what_differs(site: Site) -> None:
    """The first apply is 201, the same again writes nothing, and without a manager it is refused."""
    path = site.path("serviceexports", "echo")
    first = await site.admin.apply(path, export(exportedLabels={"a": "b"}), "us")
    again = await site.admin.apply(path, export(exportedLabels={"a": "b"}), "us")
    media = "application/apply-patch+yaml"
    nobody = await site.admin.ask("PATCH", path, export(), media=media)

    assert (first.code, again.code) == (201, 200)
    assert version(first.body) == version(again.body)
    (managed,) = first.body["metadata"]["managedFields"]
    assert (managed["manager"], managed["operation"]) == ("us", "Apply")
    assert managed["fieldsV1"] == {"f:spec": {"f:exportedLabels": {"f:a": {}}}}
    assert nobody.code in {400, 422}


async def test_apply_takes_away_what_is_no_longer_applied(site: Site) -> None:
    """A field that only this manager owned goes with its config; what others own stays."""
    path = site.path("serviceexports", "echo")
    await site.admin.apply(path, export(exportedLabels={"a": "1", "b": "2"}), "us")
    await site.admin.apply(path, export(exportedLabels={"b": "2", "c": "3"}), "them")
    left = await site.admin.apply(path, export(exportedLabels={"a": "1"}), "us")

    assert left.body["spec"]["exportedLabels"] == {"a": "1", "b": "2", "c": "3"}
    last = await site.admin.apply(path, export(exportedLabels={"a": "1"}), "them")
    assert last.body["spec"]["exportedLabels"] == {"a": "1"}


async def test_a_map_that_is_applied_empty_stays(site: Site) -> None:
    """Its last field goes, and the map itself is still stated."""
    path = site.path("serviceexports", "echo")
    await site.admin.apply(path, export(exportedLabels={"a": "1"}), "us")
    left = await site.admin.apply(path, export(), "us")

    assert left.body["spec"] == {}
    assert left.body["metadata"]["managedFields"][0]["fieldsV1"] == {"f:spec": {}}


async def test_apply_of_anothers_field_is_a_conflict_until_forced(site: Site) -> None:
    """409 names the manager and the field; forced, the field changes hands, and the other no longer owns it."""
    path = site.path("serviceexports", "echo")
    await site.admin.apply(path, export(exportedLabels={"a": "1"}), "us")
    mine = export(exportedLabels={"a": "2"})
    refused = await site.admin.apply(path, mine, "them")
    forced = await site.admin.apply(path, mine, "them", force="true")
    (cause,) = refused.body["details"]["causes"]

    assert refused.reason == (409, "Conflict")
    assert (cause["reason"], cause["field"]) == ("FieldManagerConflict", ".spec.exportedLabels.a")
    assert 'conflict with "us"' in cause["message"]
    assert (forced.code, forced.body["spec"]) == (200, {"exportedLabels": {"a": "2"}})
    owners = [one["manager"] for one in forced.body["metadata"]["managedFields"]]
    assert owners == ["them"]


async def test_an_update_takes_fields_over_from_an_apply(site: Site) -> None:
    """What somebody else changes by hand is theirs, so that the next apply of it is a conflict."""
    path = site.path("serviceexports", "echo")
    await site.admin.apply(path, export(exportedLabels={"a": "1"}), "us")
    by_hand = {"spec": {"exportedLabels": {"a": "hand"}}}
    changed = await site.admin.ask("PATCH", path, by_hand, media=MERGE, fieldManager="somebody")
    refused = await site.admin.apply(path, export(exportedLabels={"a": "1"}), "us")
    healed = await site.admin.apply(path, export(exportedLabels={"a": "1"}), "us", force="true")

    assert refused.reason == (409, "Conflict")
    assert 'conflict with "somebody"' in refused.body["message"]
    assert [one["manager"] for one in changed.body["metadata"]["managedFields"]] == ["somebody"]
    assert healed.body["spec"] == {"exportedLabels": {"a": "1"}}


async def test_two_managers_own_a_condition_each(site: Site) -> None:
    """Conditions are found by their type: each manager sets and removes its own, in /status."""
    path = site.path("serviceexports", "echo")
    await site.made(site.path("serviceexports"), export())

    def told(*kinds: str) -> Json:
        return {**export(), "status": {"conditions": [condition(kind) for kind in kinds]}}

    await site.admin.apply(f"{path}/status", told("Valid", "Ready"), "us")
    both = await site.admin.apply(f"{path}/status", told("Conflict"), "them")
    left = await site.admin.apply(f"{path}/status", told("Valid"), "us")

    assert sorted(one["type"] for one in both.body["status"]["conditions"]) == ["Conflict", "Ready", "Valid"]
    assert sorted(one["type"] for one in left.body["status"]["conditions"]) == ["Conflict", "Valid"]
    managed = {one["manager"]: one for one in left.body["metadata"]["managedFields"]}
    assert managed["us"]["subresource"] == "status"
    assert list(managed["us"]["fieldsV1"]["f:status"]["f:conditions"]) == ['k:{"type":"Valid"}']


async def test_applied_ports_are_found_by_number_and_protocol(site: Site) -> None:
    """Two ports of one number but different protocols are two; the defaults of the server stay the server's."""
    path = site.path("services", "echo", api=CORE)
    ports = [{"name": "dns", "port": 53, "protocol": "UDP"}, {"name": "dns-tcp", "port": 53, "protocol": "TCP"}]
    made = await site.admin.apply(path, service(ports=ports), "us")
    fewer = await site.admin.apply(path, service(ports=ports[:1]), "us")

    assert made.code == 201
    assert {port["protocol"] for port in made.body["spec"]["ports"]} == {"TCP", "UDP"}
    assert [port["protocol"] for port in fewer.body["spec"]["ports"]] == ["UDP"]
    assert fewer.body["spec"]["clusterIP"] == made.body["spec"]["clusterIP"]


async def test_apply_refuses_what_is_not_of_the_type(site: Site) -> None:
    """A field that the schema lacks, another type and a key that is there twice are 500, validated strictly or not."""
    path = site.path("serviceexports", "echo")
    await site.made(site.path("serviceexports"), export())
    status = {**export(), "status": {"conditions": [condition("Valid"), condition("Valid")]}}
    replies = [
        await site.admin.apply(path, export(color="red"), "us"),
        await site.admin.apply(path, export(color="red"), "us", fieldValidation="Strict"),
        await site.admin.apply(path, export(exportedLabels={"a": 1}), "us"),
        await site.admin.apply(f"{path}/status", status, "us"),
        await site.admin.apply(site.path("services", "echo", api=CORE), service(color="red"), "us"),
    ]
    unnamed = await site.admin.apply(path, {"metadata": {"name": "echo"}}, "us")

    assert [reply.code for reply in replies] == [500] * 5
    assert all(reply.body["message"].startswith("failed to create typed patch object") for reply in replies)
    found = [reply.body["message"].partition("): ")[2].partition(" ")[0] for reply in replies]
    assert found == [
        ".spec.color:",
        ".spec.color:",
        ".spec.exportedLabels.a:",
        ".status.conditions:",
        ".spec.color:",
    ]
    assert unnamed.reason == (400, "BadRequest")


async def test_a_patch_stays_with_its_object(site: Site) -> None:
    """Another name or namespace in it is 400, another uid or time of deletion 422."""
    path = f"{site.config_maps}/settings"
    await site.made(site.config_maps, config_map())
    other_uid = {"uid": "00000000-0000-0000-0000-000000000000"}
    changes = ({"name": "other"}, {"namespace": "default"}, other_uid, {"deletionTimestamp": "2026-01-01T00:00:00Z"})
    replies = [await site.admin.ask("PATCH", path, {"metadata": one}, media=MERGE) for one in changes]

    assert [reply.code for reply in replies] == [400, 400, 422, 422]


async def test_options_are_checked(site: Site) -> None:
    """A manager's name has its length; validation, dry runs and propagation know their words: 422."""
    path = site.config_maps
    replies = [
        await site.admin.post(path, config_map(), fieldManager="m" * 129),
        await site.admin.post(path, config_map(), fieldValidation="Sometimes"),
        await site.admin.post(path, config_map(), dryRun="Some"),
        await site.admin.delete(f"{path}/settings", {"propagationPolicy": "Nonsense"}),
    ]
    assert [reply.reason for reply in replies] == [(422, "Invalid")] * 4


async def test_what_the_server_gives_is_nobody_s(site: Site) -> None:
    """Whoever creates a Service owns what was sent and defaulted, not the address that it got."""
    made = await site.made(site.path("services", api=CORE), service())
    (managed,) = made["metadata"]["managedFields"]
    owned = managed["fieldsV1"]["f:spec"]

    assert {"f:type", "f:ports", "f:sessionAffinity"} <= set(owned)
    assert not {"f:clusterIP", "f:clusterIPs", "f:ipFamilies", "f:ipFamilyPolicy"} & set(owned)
