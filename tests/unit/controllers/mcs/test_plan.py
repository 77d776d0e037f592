"""Plans: order, what is deleted, and what is left alone."""

from __future__ import annotations

from typing import Any

from controllers.mcs.objects import MANAGED_BY, MANAGER, Apply, Delete
from controllers.mcs.plan import plan_writes
from controllers.sources.manifests import ObjectId

IMPORT = ObjectId("ServiceImport", "demo", "echo")
SERVICE = ObjectId("Service", "demo", "derived-x")
SLICE = ObjectId("EndpointSlice", "demo", "echo-0")
EXPORT = ObjectId("ServiceExport", "demo", "echo")


def apply(id_: ObjectId, subresource: str = "") -> Apply:
    return Apply(id_, subresource, {"kind": id_.kind, "metadata": {"name": id_.name}})


def ours(id_: ObjectId, **metadata: Any) -> dict[str, Any]:
    labels = {MANAGED_BY[id_.kind]: MANAGER}
    return {
        "metadata": {
            "name": id_.name,
            "uid": f"uid of {id_.name}",
            "resourceVersion": "7",
            "labels": labels,
            **metadata,
        }
    }


def test_objects_come_before_their_status_and_before_what_refers_to_them() -> None:
    """Services, imports, slices, then every status, in whatever order they were desired."""
    desired = [apply(EXPORT, "status"), apply(IMPORT, "status"), apply(SLICE), apply(SERVICE), apply(IMPORT)]

    plan = plan_writes({}, desired, namespaces={"demo"})

    written = [(one.id, one.subresource) for one in plan.applied]
    assert written == [(SERVICE, ""), (IMPORT, ""), (SLICE, ""), (IMPORT, "status"), (EXPORT, "status")]
    assert plan == plan_writes({}, reversed(desired), namespaces={"demo"})


def test_deletions_name_exactly_what_was_observed() -> None:
    """Uid and resourceVersion go along, so that nothing is deleted that changed since; slices go first."""
    plan = plan_writes({one: ours(one) for one in (IMPORT, SERVICE, SLICE)}, [], namespaces={"demo"})

    assert plan.deleted == (
        Delete(SLICE, "uid of echo-0", "7"),
        Delete(IMPORT, "uid of echo", "7"),
        Delete(SERVICE, "uid of derived-x", "7"),
    )


def test_nothing_of_others_is_deleted() -> None:
    """Neither without our label, nor with another's, nor of a kind that we make none of, whatever label it has."""
    observed = {
        SERVICE: {"metadata": {"name": "derived-x"}},
        SLICE: {"metadata": {"labels": {MANAGED_BY["EndpointSlice"]: "endpointslice-controller.k8s.io"}}},
        EXPORT: {"metadata": {"labels": {MANAGED_BY["Service"]: MANAGER}}},
    }

    assert plan_writes(observed, [], namespaces={"demo"}).empty


def test_a_namespace_that_is_gone_is_left_to_the_api_server() -> None:
    """Neither writes nor deletions go there."""
    assert plan_writes({SLICE: ours(SLICE)}, [apply(IMPORT)], namespaces={"other"}).empty


def test_what_is_about_to_go_is_waited_for() -> None:
    """An object with a deletionTimestamp is neither written nor deleted again."""
    observed = {one: ours(one, deletionTimestamp="2026-01-01T00:00:00Z") for one in (IMPORT, SLICE)}

    assert plan_writes(observed, [apply(IMPORT)], namespaces={"demo"}).empty


def test_an_object_of_others_in_our_place_is_told() -> None:
    """It is not written, and the problem names it."""
    plan = plan_writes(
        {IMPORT: {"metadata": {"name": "echo"}}}, [apply(IMPORT), apply(IMPORT, "status")], namespaces={"demo"}
    )

    assert plan.empty
    assert [(one.subject, one.reason) for one in plan.problems] == [("ServiceImport demo/echo", "NotOurs")]
