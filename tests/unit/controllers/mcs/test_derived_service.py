"""Which addresses an import has, and which its derived Service asks for."""

from __future__ import annotations

from typing import Any

import pytest

from controllers.mcs.derived_service import Allocation, allocation, derived_service, key_of
from controllers.mcs.objects import FIELD_MANAGER, section
from support.builders import merged_service

V4, V6, BOTH = ("IPv4",), ("IPv6",), ("IPv4", "IPv6")


def derived(*ips: str, families: tuple[str, ...] = V4) -> dict[str, Any]:
    return {"spec": {"ipFamilies": list(families), "clusterIPs": list(ips)}}


def imported(*ips: str, families: tuple[str, ...] = V4) -> dict[str, Any]:
    return {"spec": {"ipFamilies": list(families), "ips": list(ips)}}


@pytest.mark.parametrize(
    ("families", "supported", "service", "service_import", "expected"),
    [
        (V4, V4, None, None, Allocation(V4, ())),
        (BOTH, V4, None, None, Allocation(V4, ())),
        (V6, V4, None, None, Allocation((), (), supported=False)),
        (V4, V4, derived("10.0.0.1"), None, Allocation(V4, (("IPv4", "10.0.0.1"),))),
        (V4, V4, derived(families=()), None, Allocation(V4, ())),
        (BOTH, BOTH, derived("fd00::1", families=V6), None, Allocation(("IPv6", "IPv4"), (("IPv6", "fd00::1"),))),
        (V6, BOTH, derived("10.0.0.1"), None, Allocation((), ())),
        (V4, BOTH, derived("10.0.0.1", "fd00::1", families=BOTH), None, Allocation(V4, (("IPv4", "10.0.0.1"),))),
        (V4, V4, None, imported("10.0.0.1"), Allocation(V4, (("IPv4", "10.0.0.1"),), held=True)),
        (
            BOTH,
            BOTH,
            None,
            imported("fd00::1", families=V6),
            Allocation(("IPv6", "IPv4"), (("IPv6", "fd00::1"),), held=True),
        ),
        (V4, V4, None, imported("no address"), Allocation(V4, ())),
        (V4, V4, None, imported("fd00::1"), Allocation(V4, ())),
        (V4, V4, derived("10.0.0.2"), imported("10.0.0.1"), Allocation(V4, (("IPv4", "10.0.0.2"),))),
    ],
)
def test_an_import_has_the_addresses_of_its_derived_service_or_those_it_had(
    families: tuple[str, ...],
    supported: tuple[str, ...],
    service: dict[str, Any] | None,
    service_import: dict[str, Any] | None,
    expected: Allocation,
) -> None:
    """The Service's, in its order, as far as they are wanted; without it those of the import, asked for again."""
    found = allocation(families, supported=supported, derived=service, service_import=service_import)

    assert found == expected


def test_addresses_that_were_given_to_others_are_not_asked_for_again() -> None:
    """None of them: the second address can't be had without the first."""
    had = imported("10.0.0.1", "fd00::1", families=BOTH)

    assert allocation(BOTH, supported=BOTH, derived=None, service_import=had, taken={"10.0.0.1"}) == Allocation(
        BOTH, ()
    )


def test_addresses_are_stated_where_they_are_asked_for_and_while_they_are_ours() -> None:
    """What the API server chose is its own and not stated; what we once asked for stays stated, or it is given up."""
    entry = {"manager": FIELD_MANAGER, "operation": "Apply", "fieldsV1": {"f:spec": {"f:clusterIPs": {}}}}
    ours = {"metadata": {"managedFields": [entry]}}
    chosen = Allocation(V4, (("IPv4", "10.0.0.1"),))
    held = Allocation(V4, (("IPv4", "10.0.0.1"),), held=True)

    def stated(allocated: Allocation, observed: dict[str, Any] | None) -> object:
        spec = section(derived_service(merged_service(), allocated, observed).document, "spec")
        return spec.get("clusterIP"), spec.get("clusterIPs")

    assert stated(chosen, {}) == (None, None)
    assert stated(held, None) == ("10.0.0.1", ["10.0.0.1"])
    assert stated(chosen, ours) == ("10.0.0.1", ["10.0.0.1"])


def test_a_derived_service_tells_whose_it_is() -> None:
    """Its name is a digest, so an annotation names the service; anything may stand there."""
    made = derived_service(merged_service(), Allocation(V4, ()), None)

    assert key_of(made.document) == "demo/echo"
    assert key_of({"metadata": {"annotations": {"federation-gateway.dev/service": 1}}}) == ""


def test_what_the_mesh_needs_stands_beside_it() -> None:
    """Where the mesh is not known, what is ours of it stays, and nobody else's becomes ours."""
    hidden = {"networking.istio.io/exportTo": "~"}
    ours = {"f:metadata": {"f:annotations": {"f:networking.istio.io/exportTo": {}}}}
    entry = {"manager": FIELD_MANAGER, "operation": "Apply", "fieldsV1": ours}
    told = {"annotations": {**hidden, "others": "x"}, "managedFields": [entry]}

    def annotations(wanted: dict[str, str] | None, observed: dict[str, object] | None = None) -> dict[str, object]:
        made = derived_service(merged_service(), Allocation(V4, ()), observed, wanted)
        return {**section(made.document, "metadata", "annotations")}

    service = {"federation-gateway.dev/service": "demo/echo"}
    assert annotations(hidden) == {**hidden, **service}
    assert annotations(None, {"metadata": told}) == {**hidden, **service}
    assert annotations({}, {"metadata": told}) == service
    assert annotations(None) == service
