"""Whose identity the endpoints of a slice have, as their pods come and go."""

from __future__ import annotations

from typing import Any

from controllers.sources.manifests import ManifestObject, ObjectId
from controllers.sources.pod_accounts import PodAccounts, trim_pod
from federation.model.state import Endpoint, EndpointSlice, ServiceExport
from support.builders import ECHO

SLICE = ObjectId("EndpointSlice", "demo", "echo-1")


def pod(name: str, account: str = "backend", namespace: str = "demo") -> dict[str, Any]:
    return {"metadata": {"namespace": namespace, "name": name}, "spec": {"serviceAccountName": account}}


def slice_of(*pods: str) -> EndpointSlice:
    endpoints = (Endpoint((f"10.0.0.{number}",), pod=name) for number, name in enumerate(pods, 1))
    return EndpointSlice("demo", "echo-1", ECHO, "IPv4", (), tuple(endpoints))


def accounts(value: ManifestObject | None) -> list[str]:
    assert isinstance(value, EndpointSlice)
    return [one.service_account for one in value.endpoints]


def test_endpoints_have_the_accounts_of_their_pods() -> None:
    """Whichever is known first; pods of another namespace, and those without a sidecar, say nothing."""
    found = PodAccounts()
    assert found.put(pod("a")) == {}
    assert found.put(pod("c", namespace="other")) == {}
    assert accounts(found.told(SLICE, slice_of("a", "b", "c", ""))) == ["backend", "", "", ""]

    assert {key: accounts(value) for key, value in found.put(pod("b", "other")).items()} == {
        SLICE: ["backend", "other", "", ""]
    }
    assert found.put(pod("b", "other")) == {}


def test_what_is_no_slice_stays_as_it_is() -> None:
    """As does a slice that names no pod."""
    found = PodAccounts()
    export, bare = ServiceExport(ECHO), slice_of("")

    assert found.told(ObjectId("ServiceExport", "demo", "echo"), export) is export
    assert found.told(SLICE, bare) is bare
    assert found.told(SLICE, None) is None


def test_a_pod_that_is_gone_is_remembered_while_an_endpoint_names_it() -> None:
    """What its end says of identities is said once, by the slice; afterwards nothing is known of it."""
    found = PodAccounts()
    found.put(pod("a"))
    found.told(SLICE, slice_of("a"))
    found.remove(pod("a"))
    assert accounts(found.told(SLICE, slice_of("a", "b"))) == ["backend", ""]

    found.told(SLICE, None)
    assert accounts(found.told(SLICE, slice_of("a"))) == [""]


def test_a_pod_of_the_same_name_is_another_one() -> None:
    """As those of a StatefulSet: it may have another account, also before the one before it is forgotten."""
    found = PodAccounts()
    found.put(pod("a"))
    found.told(SLICE, slice_of("a"))
    found.remove(pod("a"))
    changed = found.put(pod("a", "other"))
    found.told(SLICE, None)

    assert [accounts(value) for value in changed.values()] == [["other"]]
    assert accounts(found.told(SLICE, slice_of("a"))) == ["other"]


def test_a_list_of_pods_counts_for_all_of_them() -> None:
    """Those that it lacks are gone, and only slices that are others by it are returned."""
    found = PodAccounts()
    found.replace([pod("a"), pod("b"), {"metadata": {}}, pod("d", "")])
    found.told(SLICE, slice_of("a"))
    assert found.replace([pod("a"), pod("c")]) == {}
    assert [accounts(value) for value in found.replace([pod("a", "new")]).values()] == [["new"]]
    assert found.replace([]) == {}

    assert accounts(found.told(SLICE, slice_of("a", "b", "c"))) == ["new", "", ""]


def test_of_a_pod_little_is_kept() -> None:
    """Namespace, name, version and account: a list of thousands is held until it is whole."""
    whole = pod("a")
    whole["metadata"] |= {"resourceVersion": "7", "labels": {"app": "a"}}
    whole["spec"]["containers"] = [{"name": "app"}]

    assert trim_pod(whole) == {
        "metadata": {"namespace": "demo", "name": "a", "resourceVersion": "7"},
        "spec": {"serviceAccountName": "backend"},
    }
    assert trim_pod({})["spec"] == {"serviceAccountName": None}
