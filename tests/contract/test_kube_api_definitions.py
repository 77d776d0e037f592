"""What this project relies on in custom resources, in discovery, and of both with the official client."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from kubernetes.aio import client, watch
from kubernetes.aio.dynamic import DynamicClient

from support.kube.objects import Json
from support.kube.site import DEFINITIONS, MCS, Site, export, imported, service, until_code

# Definitions


def definition(plural: str) -> Json:
    spec = {
        "type": "object",
        "required": ["color"],
        "properties": {
            "color": {"type": "string", "pattern": "^[a-z]+$", "maxLength": 8},
            "size": {"type": "integer", "minimum": 1, "maximum": 9, "default": 3},
            "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
            "port": {"x-kubernetes-int-or-string": True},
        },
    }
    schema = {"type": "object", "properties": {"spec": spec}}
    kind = plural.removesuffix("s").capitalize()
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.contract.example.com"},
        "spec": {
            "group": "contract.example.com",
            "scope": "Namespaced",
            "names": {"plural": plural, "singular": kind.lower(), "kind": kind},
            "versions": [{"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}],
        },
    }


async def test_a_definition_is_served_while_it_is_there(site: Site) -> None:
    """Established, its resource defaults, prunes and validates; deleted, its objects and its path are gone."""
    plural = f"things{uuid.uuid4().hex[:6]}s"
    body = definition(plural)
    path = f"/apis/contract.example.com/v1/namespaces/{site.namespace}/{plural}"
    where = f"{DEFINITIONS}/{body['metadata']['name']}"
    await site.made(DEFINITIONS, body)
    await until_code(site.admin, path, 200)
    thing = {"apiVersion": "contract.example.com/v1", "kind": body["spec"]["names"]["kind"], "metadata": {"name": "a"}}
    spec = {"color": "red", "free": {"any": [1]}, "port": "http", "odd": 1}
    made = await site.made(path, {**thing, "spec": spec})
    refused = await site.admin.post(path, {**thing, "spec": {"color": "Red", "size": 10}})
    found = await site.admin.get("/apis/contract.example.com/v1")

    assert made["spec"] == {"color": "red", "free": {"any": [1]}, "port": "http", "size": 3}
    assert refused.reason == (422, "Invalid")
    assert sorted({cause["field"] for cause in refused.body["details"]["causes"]}) == ["spec.color", "spec.size"]
    assert plural in [one["name"] for one in found.body["resources"]]
    conditions = {one["type"]: one["status"] for one in (await site.admin.get(where)).body["status"]["conditions"]}
    assert conditions["Established"] == "True"
    assert (await site.admin.delete(where)).code == 200
    await until_code(site.admin, where, 404)
    await until_code(site.admin, path, 404)


async def test_a_definition_must_be_structural(site: Site) -> None:
    """A field without a type, and a name that is not plural and group, are 422."""
    loose = definition("looses")
    loose["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]["odd"] = {}
    misnamed = {**definition("rights"), "metadata": {"name": "wrongs.contract.example.com"}}

    assert (await site.admin.post(DEFINITIONS, loose)).reason == (422, "Invalid")
    assert (await site.admin.post(DEFINITIONS, misnamed)).reason == (422, "Invalid")


async def test_a_definition_of_a_protected_group_must_be_approved(site: Site) -> None:
    """Below k8s.io it takes an annotation; x-k8s.io is free."""
    body = definition("colors")
    body["metadata"]["name"] = "colors.contract.k8s.io"
    body["spec"]["group"] = "contract.k8s.io"
    refused = await site.admin.post(DEFINITIONS, body, dryRun="All")
    body["metadata"]["annotations"] = {"api-approved.kubernetes.io": "unapproved, a test"}
    taken = await site.admin.post(DEFINITIONS, body, dryRun="All")

    assert refused.reason == (422, "Invalid")
    causes = refused.body["details"]["causes"]
    assert [cause["field"] for cause in causes] == ["metadata.annotations[api-approved.kubernetes.io]"]
    assert taken.code == 201


async def test_discovery_names_what_is_served(site: Site) -> None:
    """Groups with their versions, newest first; resources with verbs, short names and subresources."""
    groups = {one["name"]: one for one in (await site.admin.get("/apis")).body["groups"]}
    found = {one["name"]: one for one in (await site.admin.get(MCS)).body["resources"]}
    versions = [one["version"] for one in groups["multicluster.x-k8s.io"]["versions"]]

    assert versions == ["v1beta1", "v1alpha1"]
    assert set(found) == {"serviceexports", "serviceexports/status", "serviceimports", "serviceimports/status"}
    assert (found["serviceimports"]["kind"], found["serviceimports"]["shortNames"]) == (
        "ServiceImport",
        ["svcim", "svcimport"],
    )
    assert {"create", "deletecollection", "list", "patch", "watch"} <= set(found["serviceexports"]["verbs"])
    assert (await site.admin.get("/version")).body["major"] == "1"
    assert (await site.admin.get("/readyz")).body == {"text": "ok"}


async def test_a_table_has_the_columns_of_the_definition(site: Site) -> None:
    """kubectl's table of ServiceImports shows type, addresses, clusters and age."""
    await site.made(site.path("serviceimports"), imported(ips=["10.1.2.3"]))
    accept = {"Accept": "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"}
    async with site.plane.caller(headers=accept) as kubectl:
        shown = (await kubectl.get(site.path("serviceimports"))).body
    (row,) = shown["rows"]

    assert (shown["kind"], [one["name"] for one in shown["columnDefinitions"]]) == (
        "Table",
        ["Name", "Type", "IP", "Clusters", "Age"],
    )
    assert row["cells"][:3] == ["echo", "ClusterSetIP", '["10.1.2.3"]']
    assert row["object"]["metadata"]["name"] == "echo"


# The official client


@pytest.fixture
async def official(site: Site, tmp_path: Path) -> AsyncIterator[client.ApiClient]:
    authority = tmp_path / "ca.pem"
    authority.write_text(site.plane.ca_pem)
    configuration = client.Configuration(host=site.plane.url)
    configuration.ssl_ca_cert = str(authority)
    configuration.api_key = {"BearerToken": f"Bearer {site.plane.token}"}
    async with client.ApiClient(configuration) as api:
        yield api


async def test_the_typed_client_reads_writes_and_watches(site: Site, official: client.ApiClient) -> None:
    """Its models take what the server says; its watch yields them; its errors carry the status."""
    core = client.CoreV1Api(official)
    made = await core.create_namespaced_service(site.namespace, service())
    listed = await core.list_namespaced_service(site.namespace)
    seen = []
    async with watch.Watch() as events:
        async for event in events.stream(core.list_namespaced_service, site.namespace, timeout_seconds=5):
            seen.append((event["type"], event["object"].metadata.name))
            break
    gone = await core.delete_namespaced_service("echo", site.namespace)
    with pytest.raises(client.ApiException) as refused:
        await core.read_namespaced_service("echo", site.namespace)

    assert [one.metadata.name for one in listed.items] == ["echo"]
    assert made.spec.ports[0].target_port in {80, "80"} or made.spec.ports[0].target_port is not None
    assert (seen, gone.metadata.uid) == ([("ADDED", "echo")], made.metadata.uid)
    assert (refused.value.status, refused.value.reason) == (404, "Not Found")


async def test_the_dynamic_client_applies(site: Site, official: client.ApiClient, tmp_path: Path) -> None:
    """It discovers custom resources and applies them; a conflict reaches the caller as one."""
    dynamic = await DynamicClient(official, cache_file=str(tmp_path / "discovery.json"))
    exports = await dynamic.resources.get(api_version="multicluster.x-k8s.io/v1beta1", kind="ServiceExport")
    body = export(exportedLabels={"a": "1"})
    body["metadata"]["namespace"] = site.namespace
    applied = await exports.server_side_apply(body=body, field_manager="us")
    body["spec"]["exportedLabels"]["a"] = "2"
    with pytest.raises(client.ApiException) as refused:
        await exports.server_side_apply(body=body, field_manager="them")
    forced = await exports.server_side_apply(body=body, field_manager="them", force_conflicts=True)

    assert applied.spec.exportedLabels.a == "1"
    assert refused.value.status == 409
    assert forced.spec.exportedLabels.a == "2"
