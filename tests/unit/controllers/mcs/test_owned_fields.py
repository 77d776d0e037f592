"""Which objects need a write: what differs in our fields, and what we own and state no more."""

from __future__ import annotations

from typing import Any

import pytest

from controllers.mcs.objects import FIELD_MANAGER, MANAGED_BY, MANAGER
from controllers.mcs.owned_fields import is_ours_to_write, needs_write, owns
from controllers.sources.manifests import ObjectId

SERVICE: dict[str, Any] = {
    "kind": "Service",
    "metadata": {"name": "x", "labels": {"a": "b"}},
    "spec": {"type": "ClusterIP", "ports": [{"port": 80, "protocol": "TCP"}], "ipFamilies": ["IPv4"]},
}
OWNED: dict[str, Any] = {
    "f:metadata": {"f:labels": {"f:a": {}}},
    "f:spec": {
        "f:type": {},
        "f:ipFamilies": {},
        "f:ports": {'k:{"port":80,"protocol":"TCP"}': {".": {}, "f:port": {}, "f:protocol": {}}},
    },
}


def stored(document: dict[str, Any], owned: object = OWNED, **entry: Any) -> dict[str, Any]:
    """The document as an API server has it after we applied it."""
    managed = {"manager": FIELD_MANAGER, "operation": "Apply", "fieldsV1": owned, **entry}
    return {**document, "metadata": {**document["metadata"], "uid": "u", "managedFields": [managed]}}


def with_spec(**changed: Any) -> dict[str, Any]:
    return {**SERVICE, "spec": {**SERVICE["spec"], **changed}}


def test_what_is_as_stated_needs_no_write() -> None:
    """An object that has all that is stated, of which we own nothing else, is left alone."""
    assert not needs_write(stored(SERVICE), SERVICE, "")


def test_fields_of_others_are_none_of_our_business() -> None:
    """What others added to maps and keyed lists, and what the server filled in, is no difference."""
    ports = [{"port": 80, "protocol": "TCP", "targetPort": 80}, {"port": 81, "protocol": "TCP"}]
    found = stored(with_spec(ports=ports, clusterIP="10.0.0.1"))
    found["metadata"]["labels"] = {"a": "b", "c": "d"}

    assert not needs_write(found, SERVICE, "")


@pytest.mark.parametrize(
    "changed",
    [
        {"type": "NodePort"},
        {"ipFamilies": ["IPv4", "IPv6"]},
        {"ports": [{"port": 80, "protocol": "UDP"}]},
        {"ports": []},
        {"ports": None},
    ],
)
def test_a_field_that_differs_needs_a_write(changed: dict[str, Any]) -> None:
    """Another value, another list where the list is one value, an item of a keyed list that is missing."""
    assert needs_write(stored(with_spec(**changed)), SERVICE, "")


@pytest.mark.parametrize(
    "more",
    [
        {"f:spec": {**OWNED["f:spec"], "f:clusterIP": {}}},
        {"f:metadata": {"f:labels": {"f:a": {}, "f:old": {}}}},
        {"f:spec": {"f:ports": {'k:{"port":81,"protocol":"TCP"}': {".": {}}}}},
        {"f:spec": {"f:ports": {'k:{"port":80,"protocol":"TCP"}': {"f:name": {}}}}},
    ],
)
def test_a_field_that_we_own_and_state_no_more_needs_a_write(more: dict[str, Any]) -> None:
    """Only an apply without it gives it up."""
    assert needs_write(stored(SERVICE, {**OWNED, **more}), SERVICE, "")


@pytest.mark.parametrize(
    "entry", [{"manager": "kubectl"}, {"operation": "Update"}, {"subresource": "status"}, {"fieldsV1": None}]
)
def test_what_we_never_applied_needs_a_write(entry: dict[str, Any]) -> None:
    """Equal values that are another's, or of another subresource, are not ours: we could not take them away again."""
    assert needs_write(stored(SERVICE, **entry), SERVICE, "")


def test_what_is_not_there_needs_a_write() -> None:
    """An object that was not observed is created."""
    assert needs_write(None, SERVICE, "")


def test_ports_of_an_import_are_one_value() -> None:
    """In a ServiceImport a port that somebody added is a difference, since the schema has no keys for them."""
    stated: dict[str, Any] = {"kind": "ServiceImport", "metadata": {}, "spec": {"ports": [{"port": 80}]}}
    owned = {"f:spec": {"f:ports": {}}}
    more = {**stated, "spec": {"ports": [{"port": 80}, {"port": 81}]}}

    assert not needs_write(stored(stated, owned), stated, "")
    assert needs_write(stored(more, owned), stated, "")


def test_an_empty_list_may_be_left_out_or_null() -> None:
    """API servers differ in how they show a list without items."""
    stated: dict[str, Any] = {"kind": "EndpointSlice", "metadata": {}, "ports": []}
    owned = {"f:ports": {}}

    assert not needs_write(stored({**stated, "ports": None}, owned), stated, "")
    assert not needs_write(stored({"kind": "EndpointSlice", "metadata": {}}, owned), stated, "")


def test_owned_fields_are_found_by_path() -> None:
    """A field is ours if our entry for the object itself has it."""
    assert owns(stored(SERVICE), "spec", "type")
    assert not owns(stored(SERVICE), "spec", "clusterIPs")
    assert not owns(None, "spec", "type")


def test_an_object_is_ours_to_write_by_label_or_by_fields() -> None:
    """Of our kinds what has our label or our fields, of other kinds anything."""
    service, export = ObjectId("Service", "demo", "x"), ObjectId("ServiceExport", "demo", "x")

    assert is_ours_to_write(service, {"metadata": {"labels": {MANAGED_BY["Service"]: MANAGER}}})
    assert is_ours_to_write(service, stored(SERVICE))
    assert not is_ours_to_write(service, SERVICE)
    assert is_ours_to_write(export, {})


def test_ports_of_a_service_entry_are_told_apart_by_their_names() -> None:
    """Istio's schema says so: one that somebody added is theirs, and one of ours that was changed is written again."""
    ours = {"number": 80, "name": "http", "protocol": "HTTP"}
    stated = {"kind": "ServiceEntry", "spec": {"ports": [ours]}}
    owned = {"f:spec": {"f:ports": {'k:{"name":"http"}': {".": {}, "f:name": {}, "f:number": {}, "f:protocol": {}}}}}
    entry = {"manager": FIELD_MANAGER, "operation": "Apply", "fieldsV1": owned}
    others = {"number": 1, "name": "theirs"}

    def existing(*ports: object) -> dict[str, object]:
        return {"kind": "ServiceEntry", "metadata": {"managedFields": [entry]}, "spec": {"ports": list(ports)}}

    assert not needs_write(existing(others, ours), stated, "")
    assert needs_write(existing({**ours, "number": 81}), stated, "")
    assert needs_write(existing(others), stated, "")
