"""What this project relies on in a Kubernetes API server: objects, updates, schemas, deletion."""

from __future__ import annotations

import uuid

import pytest

from support.kube.objects import Json
from support.kube.site import (
    CORE,
    MCS,
    MERGE,
    SLICES,
    Site,
    condition,
    config_map,
    export,
    imported,
    names,
    service,
    until_code,
    version,
)

# Objects


async def test_a_new_object_gets_its_system_fields(site: Site) -> None:
    """Uid, creation time, generation 1, a resource version and the manager of its fields are the server's."""
    made = await site.made(site.path("serviceexports"), export(exportedLabels={"a": "b"}))
    metadata = made["metadata"]
    (managed,) = metadata["managedFields"]

    assert uuid.UUID(metadata["uid"])
    assert metadata["creationTimestamp"].endswith("Z")
    assert (metadata["generation"], metadata["namespace"]) == (1, site.namespace)
    assert int(metadata["resourceVersion"]) > 0
    assert (managed["operation"], managed["fieldsType"]) == ("Update", "FieldsV1")
    assert managed["fieldsV1"]["f:spec"]["f:exportedLabels"]["f:a"] == {}


async def test_what_is_not_there_is_told_by_a_status(site: Site) -> None:
    """A missing object, a missing namespace and a resource that is not served are 404 with a Status."""
    missing = await site.admin.get(site.path("serviceexports", "none"))
    homeless = await site.admin.post(f"{MCS}/namespaces/no-such-namespace/serviceexports", export())
    unserved = await site.admin.get("/apis/multicluster.x-k8s.io/v1/serviceexports")

    assert missing.reason == (404, "NotFound")
    assert missing.body["message"] == 'serviceexports.multicluster.x-k8s.io "none" not found'
    details = {"name": "none", "group": "multicluster.x-k8s.io", "kind": "serviceexports"}
    assert (missing.body["kind"], missing.body["details"]) == ("Status", details)
    assert homeless.reason == (404, "NotFound")
    assert homeless.body["message"] == 'namespaces "no-such-namespace" not found'
    assert unserved.code == 404


async def test_a_name_is_taken_once(site: Site) -> None:
    """A second create of a name is 409 AlreadyExists; generateName makes names that differ."""
    await site.made(site.config_maps, config_map())
    again = await site.admin.post(site.config_maps, config_map())
    generated = {"metadata": {"generateName": "many-"}}
    one, other = [await site.made(site.config_maps, generated) for _ in range(2)]

    assert again.reason == (409, "AlreadyExists")
    assert again.body["message"] == 'configmaps "settings" already exists'
    assert one["metadata"]["name"].startswith("many-")
    assert one["metadata"]["name"] != other["metadata"]["name"]


async def test_a_body_must_fit_its_address(site: Site) -> None:
    """Another namespace, version or name than those of the path, a custom resource that does not say what it is, and a
    value of the wrong type, are 400; another kind is 400 of a built-in kind, and 422 of a custom resource."""
    elsewhere = {**config_map(), "metadata": {"name": "x", "namespace": "default"}}
    await site.made(site.config_maps, config_map())
    replies = [
        await site.admin.post(site.config_maps, elsewhere),
        await site.admin.post(site.path("serviceexports"), {"metadata": {"name": "x"}}),
        await site.admin.post(
            site.path("serviceexports"), {**export(), "apiVersion": "multicluster.x-k8s.io/v1alpha1"}
        ),
        await site.admin.post(site.config_maps, {**config_map(), "kind": "Secret"}),
        await site.admin.put(f"{site.config_maps}/settings", config_map("other")),
        await site.admin.ask("POST", site.config_maps, "{no json"),
        await site.admin.post(site.config_maps, {"metadata": {"name": "x", "ownerReferences": [1]}}),
        await site.admin.post(site.path("services", api=CORE), service(ports="http")),
    ]
    other_kind = await site.admin.post(site.path("serviceexports"), imported())

    assert [reply.reason for reply in replies] == [(400, "BadRequest")] * 8
    assert other_kind.reason == (422, "Invalid")
    assert [cause["field"] for cause in other_kind.body["details"]["causes"]] == ["kind"]


async def test_methods_and_media_types_that_make_no_sense_are_refused(site: Site) -> None:
    """POST to an object and DELETE of all namespaces' objects are 405; a patch of an unknown type is 415."""
    await site.made(site.config_maps, config_map())
    to_object = await site.admin.post(f"{site.config_maps}/settings", config_map())
    everywhere = await site.admin.delete(f"{CORE}/configmaps")
    unspoken = await site.admin.ask("PATCH", f"{site.config_maps}/settings", {}, media="application/json")

    assert to_object.reason == (405, "MethodNotAllowed")
    assert everywhere.reason == (405, "MethodNotAllowed")
    assert unspoken.reason == (415, "UnsupportedMediaType")


async def test_a_name_or_label_that_breaks_the_grammar_is_invalid(site: Site) -> None:
    """Names, label values and owner references are checked: 422, with the field."""
    bad_name = await site.admin.post(site.config_maps, config_map("Upper_Case"))
    bad_label = await site.admin.post(site.config_maps, config_map(labels={"a": "x" * 64}))
    bad_service = await site.admin.post(site.path("services", api=CORE), service("1st"))

    assert bad_name.reason == (422, "Invalid")
    assert [cause["field"] for cause in bad_name.body["details"]["causes"]] == ["metadata.name"]
    assert bad_label.reason == (422, "Invalid")
    assert [cause["field"] for cause in bad_label.body["details"]["causes"]] == ["metadata.labels"]
    assert bad_service.code in {201, 422}  # since 1.34 a Service may be named as a DNS label


# Updates


async def test_an_update_of_a_stale_object_is_a_conflict(site: Site) -> None:
    """PUT with an old resource version is 409 Conflict; with the current one it is done."""
    path = f"{site.config_maps}/settings"
    old = await site.made(site.config_maps, config_map(a="1"))
    new = await site.admin.put(path, {**old, "data": {"a": "2"}})
    stale = await site.admin.put(path, {**old, "data": {"a": "3"}})

    assert (new.code, new.body["data"]) == (200, {"a": "2"})
    assert int(version(new.body)) > int(version(old))
    assert stale.reason == (409, "Conflict")
    assert "the object has been modified" in stale.body["message"]
    assert (await site.admin.get(path)).body["data"] == {"a": "2"}


async def test_only_some_kinds_may_be_overwritten_blindly(site: Site) -> None:
    """PUT without resource version is taken of a ConfigMap, and 422 of a custom resource."""
    await site.made(site.config_maps, config_map(a="1"))
    await site.made(site.path("serviceexports"), export())
    blind = await site.admin.put(f"{site.config_maps}/settings", config_map(a="2"))
    refused = await site.admin.put(site.path("serviceexports", "echo"), export())

    assert (blind.code, blind.body["data"]) == (200, {"a": "2"})
    assert refused.reason == (422, "Invalid")
    assert "metadata.resourceVersion" in refused.body["message"]


async def test_an_update_that_changes_nothing_is_no_write(site: Site) -> None:
    """The resource version stays, for PUT, merge patch and server-side apply."""
    made = await site.made(site.path("serviceexports"), export(exportedLabels={"a": "b"}))
    path = site.path("serviceexports", "echo")
    put = await site.admin.put(path, made)
    patched = await site.admin.ask("PATCH", path, {"spec": {"exportedLabels": {"a": "b"}}}, media=MERGE)

    assert [version(put.body), version(patched.body)] == [version(made)] * 2


async def test_the_generation_counts_changes_of_the_spec(site: Site) -> None:
    """Metadata and status leave it; the spec raises it; a change of another's uid is refused."""
    path = site.path("serviceexports", "echo")
    await site.made(site.path("serviceexports"), export())
    labelled = await site.admin.ask("PATCH", path, {"metadata": {"labels": {"a": "b"}}}, media=MERGE)
    changed = await site.admin.ask("PATCH", path, {"spec": {"exportedLabels": {"a": "b"}}}, media=MERGE)
    status = {"status": {"conditions": [condition("Valid")]}}
    reported = await site.admin.ask("PATCH", f"{path}/status", status, media=MERGE)
    other = await site.admin.ask("PATCH", path, {"metadata": {"uid": str(uuid.uuid4())}}, media=MERGE)

    assert [reply.body["metadata"]["generation"] for reply in (labelled, changed, reported)] == [1, 2, 2]
    assert other.code in {409, 422}


async def test_spec_and_status_are_written_apart(site: Site) -> None:
    """A write to the object leaves its status, a write to /status leaves the rest."""
    path = site.path("serviceexports", "echo")
    sent = {**export(), "status": {"conditions": [condition("Valid")]}}
    made = await site.made(site.path("serviceexports"), sent)
    told = {**made, "spec": {"exportedLabels": {"a": "b"}}, "status": {"conditions": [condition("Valid")]}}
    reported = await site.admin.put(f"{path}/status", told)
    after = {**reported.body, "spec": {"exportedLabels": {"c": "d"}}, "status": {}}
    written = await site.admin.put(path, after)

    assert "status" not in made
    assert (reported.body["spec"], reported.body["status"]["conditions"][0]["type"]) == ({}, "Valid")
    assert written.body["spec"] == {"exportedLabels": {"c": "d"}}
    assert written.body["status"] == reported.body["status"]


async def test_a_dry_run_answers_and_writes_nothing(site: Site) -> None:
    """With dryRun=All the object is shown as it would be, and is not there."""
    reply = await site.admin.post(site.config_maps, config_map(a="1"), dryRun="All")
    assert (reply.code, reply.body["data"]) == (201, {"a": "1"})
    assert (await site.admin.get(f"{site.config_maps}/settings")).code == 404


# Schemas


async def test_unknown_fields_are_dropped_with_a_warning_or_refused(site: Site) -> None:
    """By default a field that the schema lacks is pruned and told in a Warning header; strictly, it is 400."""
    path = site.path("serviceimports")
    body = imported(targetPort=8080)
    strict = await site.admin.post(path, body, fieldValidation="Strict")
    warned = await site.admin.post(path, body)

    assert strict.reason == (400, "BadRequest")
    assert "spec.targetPort" in strict.body["message"]
    assert "targetPort" not in warned.body["spec"]
    assert [text for text in warned.headers.getall("Warning") if "spec.targetPort" in text] != []


@pytest.mark.parametrize(
    ("spec", "field", "reason"),
    [
        ({"type": "Other"}, "spec.type", "FieldValueNotSupported"),
        ({"ports": [{"name": "http"}]}, "spec.ports[0].port", "FieldValueRequired"),
        ({"ports": [{"port": "http"}]}, "spec.ports[0].port", "FieldValueTypeInvalid"),
        ({"ips": ["10.0.0.1", "10.0.0.2", "10.0.0.3"]}, "spec.ips", "FieldValueTooMany"),
    ],
)
async def test_a_schema_refuses_with_the_field_and_the_reason(site: Site, spec: Json, field: str, reason: str) -> None:
    """422 Invalid, whose causes name each field."""
    refused = await site.admin.post(site.path("serviceimports"), imported(**spec))
    causes = [(cause["field"], cause["reason"]) for cause in refused.body["details"]["causes"]]

    assert refused.reason == (422, "Invalid")
    assert (field, reason) in causes


async def test_conditions_are_checked_and_unique(site: Site) -> None:
    """Two conditions of a type, and a reason with a blank, are 422."""
    path = site.path("serviceexports", "echo")
    await site.made(site.path("serviceexports"), export())
    twice = {"status": {"conditions": [condition("Valid"), condition("Valid")]}}
    blank = {"status": {"conditions": [{**condition("Valid"), "reason": "two words"}]}}

    assert (await site.admin.ask("PATCH", f"{path}/status", twice, media=MERGE)).reason == (422, "Invalid")
    assert (await site.admin.ask("PATCH", f"{path}/status", blank, media=MERGE)).reason == (422, "Invalid")


async def test_services_get_addresses_and_defaults(site: Site) -> None:
    """A cluster IP that stays, TCP, the target port, no affinity; a headless Service gets none."""
    path = site.path("services", api=CORE)
    made = await site.made(path, service())
    headless = await site.made(path, service("quiet", clusterIP="None"))
    moved = await site.admin.put(f"{path}/echo", {**made, "spec": {**made["spec"], "clusterIP": "10.96.200.200"}})
    kept = await site.admin.put(f"{path}/echo", {**service(), "metadata": made["metadata"]})
    spec = made["spec"]

    assert spec["ports"] == [{"name": "http", "port": 80, "protocol": "TCP", "targetPort": 80}]
    assert (spec["type"], spec["sessionAffinity"], spec["internalTrafficPolicy"]) == ("ClusterIP", "None", "Cluster")
    assert (spec["ipFamilies"], spec["clusterIPs"]) == (["IPv4"], [spec["clusterIP"]])
    assert (headless["spec"]["clusterIP"], headless["spec"]["clusterIPs"]) == ("None", ["None"])
    assert moved.reason == (422, "Invalid")
    assert (kept.code, kept.body["spec"]["clusterIP"]) == (200, spec["clusterIP"])


async def test_endpoint_slices_keep_their_address_type(site: Site) -> None:
    """The type of addresses is required and fixed; ports default to TCP; a change counts a generation."""
    path = site.path("endpointslices", api=SLICES)
    body = {"metadata": {"name": "echo"}, "addressType": "IPv4", "endpoints": [], "ports": [{"port": 80}]}
    made = await site.made(path, body)
    moved = await site.admin.put(f"{path}/echo", {**made, "addressType": "IPv6"})
    grown = await site.admin.put(f"{path}/echo", {**made, "endpoints": [{"addresses": ["10.0.0.1"]}]})

    assert made["ports"] == [{"name": "", "port": 80, "protocol": "TCP"}]
    assert moved.reason == (422, "Invalid")
    assert (grown.code, grown.body["metadata"]["generation"]) == (200, 2)
    assert (await site.admin.post(path, {"metadata": {"name": "x"}, "endpoints": []})).reason == (422, "Invalid")


# Deletion


async def test_a_deletion_minds_its_preconditions(site: Site) -> None:
    """Another uid or resource version is 409; the right one deletes."""
    path = f"{site.config_maps}/settings"
    made = await site.made(site.config_maps, config_map())
    wrong = await site.admin.delete(path, {"preconditions": {"uid": str(uuid.uuid4())}})
    right = await site.admin.delete(path, {"preconditions": {"uid": made["metadata"]["uid"]}})

    assert wrong.reason == (409, "Conflict")
    assert (right.code, right.body["status"]) == (200, "Success")
    assert (await site.admin.get(path)).code == 404


async def test_finalizers_hold_an_object_until_they_are_gone(site: Site) -> None:
    """A deletion marks it; nothing can be added any more; the last finalizer's end is the object's."""
    path = f"{site.config_maps}/settings"
    held = config_map()
    held["metadata"]["finalizers"] = ["example.com/hold"]
    await site.made(site.config_maps, held)
    marked = await site.admin.delete(path)
    more = {"metadata": {"finalizers": ["example.com/hold", "example.com/more"]}}
    refused = await site.admin.ask("PATCH", path, more, media=MERGE)
    freed = await site.admin.ask("PATCH", path, {"metadata": {"finalizers": []}}, media=MERGE)

    assert marked.code == 200
    assert "deletionTimestamp" in (marked.body["metadata"])
    assert refused.reason == (422, "Invalid")
    assert freed.code == 200
    assert (await site.admin.get(path)).code == 404


async def test_a_collection_is_deleted_by_selector(site: Site) -> None:
    """Of a namespace's objects only those that match go."""
    for name, color in (("a", "red"), ("b", "red"), ("c", "blue")):
        await site.made(site.config_maps, config_map(name, {"color": color}))
    await site.admin.delete(site.config_maps, labelSelector="color=red")
    left = await site.admin.get(site.config_maps, labelSelector="color")

    assert names(left) == ["c"]


async def test_what_is_owned_goes_with_its_owner(reconciled: Site) -> None:
    """Once all its owners are gone an object is collected; one with an owner left stays."""
    site = reconciled
    owners = [await site.made(site.config_maps, config_map(name)) for name in ("first", "second")]
    references = [
        {"apiVersion": "v1", "kind": "ConfigMap", "name": one["metadata"]["name"], "uid": one["metadata"]["uid"]}
        for one in owners
    ]
    for name, owned_by in (("one", references[:1]), ("both", references)):
        body = config_map(name)
        body["metadata"]["ownerReferences"] = owned_by
        await site.made(site.config_maps, body)
    await site.admin.delete(f"{site.config_maps}/first")
    await until_code(site.admin, f"{site.config_maps}/one", 404)

    assert (await site.admin.get(f"{site.config_maps}/both")).code == 200
    await site.admin.delete(f"{site.config_maps}/second")
    await until_code(site.admin, f"{site.config_maps}/both", 404)


async def test_a_namespace_is_emptied_before_it_goes(reconciled: Site) -> None:
    """Deleted, it is Terminating and takes nothing new; what finalizers hold in it keeps it."""
    site = reconciled
    held = config_map()
    held["metadata"]["finalizers"] = ["example.com/hold"]
    await site.made(site.config_maps, held)
    await site.made(site.path("serviceexports"), export())
    home = f"{CORE}/namespaces/{site.namespace}"
    await site.admin.delete(home)
    await until_code(site.admin, site.path("serviceexports", "echo"), 404)
    refused = await site.admin.post(site.config_maps, config_map("late"))

    assert (await site.admin.get(home)).body["status"]["phase"] == "Terminating"
    assert refused.reason == (403, "Forbidden")
    assert refused.body["details"]["causes"][0]["reason"] == "NamespaceTerminating"
    await site.admin.ask("PATCH", f"{site.config_maps}/settings", {"metadata": {"finalizers": []}}, media=MERGE)
    await until_code(site.admin, home, 404)
