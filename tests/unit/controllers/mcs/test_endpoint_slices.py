"""Endpoints of an import in slices of a hundred; which clusters have any is in tests/golden/mcs."""

from __future__ import annotations

from typing import Any

from controllers.mcs.endpoint_slices import MAX_ENDPOINTS, SliceGroup, endpoint_slices, slice_groups
from controllers.mcs.objects import mapping, sequence, texts
from controllers.projection import Surroundings
from controllers.sources.manifests import ObjectId
from federation.model.locality import Site
from federation.model.names import ClusterId
from federation.model.state import ServiceState
from support.builders import EAST, ECHO, backend, endpoint, endpoint_slice, key, merged_service, service

OWNER = {"kind": "ServiceImport", "uid": "u"}
AROUND = Surroundings(Site(EAST, "eu", ""), "east.test", 15006)


def groups(count: int) -> tuple[SliceGroup, ...]:
    """The group of an own service with so many pods."""
    pods = endpoint_slice(*(endpoint(f"10.0.{number // 250}.{number % 250 + 1}") for number in range(count)))
    return slice_groups(merged_service(backends=[backend(EAST)]), ServiceState(service(), None, (pods,)), AROUND)


def written(count: int, observed: dict[ObjectId, dict[str, Any]] | None = None) -> dict[str, list[object]]:
    """Addresses by the slice's number, for so many pods."""
    return {
        apply.id.name.rpartition("-")[2]: [
            texts(item["addresses"])[0] for item in map(mapping, sequence(apply.document["endpoints"]))
        ]
        for apply in endpoint_slices(ECHO, groups(count), OWNER, observed or {})
    }


def test_a_slice_has_a_hundred_endpoints_at_most() -> None:
    """One more opens another slice, the lowest addresses first."""
    assert {name: len(found) for name, found in written(MAX_ENDPOINTS).items()} == {"0": 100}
    assert {name: len(found) for name, found in written(MAX_ENDPOINTS + 1).items()} == {"0": 100, "1": 1}


def test_endpoints_stay_in_the_slices_that_were_observed() -> None:
    """Slices are known by their names; what else is in the namespace does not count."""
    stem = groups(1)[0].stem(ECHO)
    there = {"endpoints": [{"addresses": ["10.0.0.2"]}, {"addresses": ["10.0.0.9"]}, "no endpoint"]}
    observed = {
        ObjectId("EndpointSlice", "demo", f"{stem}-3"): there,
        ObjectId("EndpointSlice", "demo", f"{stem}-x"): there,
        ObjectId("EndpointSlice", "other", f"{stem}-5"): there,
        ObjectId("Service", "demo", f"{stem}-6"): there,
    }

    assert written(2, observed) == {"3": ["10.0.0.1", "10.0.0.2"]}


def test_names_tell_apart_what_is_spelt_alike() -> None:
    """Service a-b of cluster c and service a of cluster b-c have different slices."""
    one = SliceGroup(ClusterId("c"), "IPv4", (), frozenset()).stem(key("demo/a-b"))
    other = SliceGroup(ClusterId("b-c"), "IPv4", (), frozenset()).stem(key("demo/a"))

    assert (one.rpartition("-")[0], one == other) == (other.rpartition("-")[0], False)


def test_an_endpoint_in_two_slices_is_one() -> None:
    """While a pod moves between slices of Kubernetes' own it is in both."""
    twice = tuple(endpoint_slice(endpoint("10.0.0.1"), name=name) for name in ("a", "b"))
    (group,) = slice_groups(merged_service(backends=[backend(EAST)]), ServiceState(service(), None, twice), AROUND)

    assert [one.addresses for one in group.endpoints] == [("10.0.0.1",)]
