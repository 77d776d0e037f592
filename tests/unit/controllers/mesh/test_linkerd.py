"""The adapter of Linkerd as a whole; what it writes is in tests/golden/mesh/linkerd."""

from __future__ import annotations

import pytest

from controllers.mcs.objects import derived_id
from controllers.mesh.base import MeshAdapter
from controllers.mesh.detect import DetectedMesh, MeshKind
from controllers.mesh.linkerd import LinkerdAdapter, LocalGateway
from controllers.projection import ServiceResult, Surroundings
from federation.model.export import Exported
from federation.model.locality import Site
from federation.model.state import ServiceState
from gateway.ir.model import AppProtocol, ImportedPort
from support.builders import EAST, ECHO, merged_service

AROUND = Surroundings(Site(EAST, "eu", ""), "east.test", 15006)
GATEWAY = LocalGateway("federation-system", "federation-gateway", ("10.0.0.9",), {ECHO: {80: 20001}})
RESULT = ServiceResult(
    Exported(), merged_service(), (ImportedPort(ECHO, 80, AppProtocol.HTTP, ("spiffe://west.test/a",), ()),), ()
)


def adapter(gateway: LocalGateway | None = GATEWAY) -> MeshAdapter:
    kinds = {"AuthorizationPolicy": "policy.linkerd.io/v1alpha1"}
    mesh = DetectedMesh(MeshKind.LINKERD, namespace="linkerd", trust_domain="k8s.test", api_versions=kinds)
    return LinkerdAdapter(mesh, gateway)


def test_it_adapts_to_linkerd_alone() -> None:
    """Any other mesh is a mistake of the caller's."""
    with pytest.raises(ValueError, match="the mesh is istio"):
        LinkerdAdapter(DetectedMesh(MeshKind.ISTIO))


def test_its_kinds_and_slices_are_observed() -> None:
    """Slices among them, which it writes as well."""
    assert [resource.kind for resource in adapter().resources] == ["AuthorizationPolicy", "EndpointSlice"]


def test_without_a_gateway_nothing_is_observed() -> None:
    """Nothing is written either, so that rights to read would be too many."""
    assert LinkerdAdapter(DetectedMesh(MeshKind.LINKERD, api_versions={"AuthorizationPolicy": "v1"})).resources == ()


def test_the_derived_service_stays_as_it_is() -> None:
    """It is what callers in Linkerd call."""
    assert adapter().derived_annotations == {}


def test_slices_wait_for_the_derived_service() -> None:
    """Its ports' names are what they refer to."""
    assert adapter().objects(ECHO, RESULT, ServiceState(), {}, AROUND).applied == ()
    derived = {derived_id(ECHO): {"spec": {"ports": [{"port": 80}, 7, {"port": "x"}]}}}
    (slice_,) = adapter().objects(ECHO, RESULT, ServiceState(), derived, AROUND).applied
    assert slice_.document["ports"] == [{"name": "", "protocol": "TCP", "port": 20001}]


def test_the_gateways_are_known_by_their_account_in_the_mesh() -> None:
    """As Linkerd spells the identity of a workload."""
    derived = {derived_id(ECHO): {"spec": {"ports": [{"port": 80}]}}}
    (slice_,) = adapter().objects(ECHO, RESULT, ServiceState(), derived, AROUND).applied
    assert "federation-gateway.federation-system.serviceaccount.identity.linkerd.k8s.test" in str(slice_.document)
