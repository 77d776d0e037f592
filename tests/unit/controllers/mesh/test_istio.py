"""The adapter of Istio as a whole; what it writes is in tests/golden/mesh/istio."""

from __future__ import annotations

from dataclasses import replace

import pytest

from controllers.mesh.base import MeshAdapter, Whole
from controllers.mesh.detect import DetectedMesh, IstioSetup, MeshKind
from controllers.mesh.istio import IstioAdapter
from controllers.mesh.istio_mesh_config import MeshConfig
from controllers.projection import Surroundings
from federation.model.locality import Site
from federation.model.state import ServiceState
from support.builders import EAST, ECHO

AROUND = Surroundings(Site(EAST, "eu", ""), "east.test", 15006)
PEERS = {"west.test": (b"",)}


def adapter(config: MeshConfig | None = None, **api_versions: str) -> MeshAdapter:
    setup = IstioSetup(config or MeshConfig())
    return IstioAdapter(DetectedMesh(MeshKind.ISTIO, namespace="istio-system", api_versions=api_versions, istio=setup))


def test_it_adapts_to_istio_alone() -> None:
    """Any other mesh is a mistake of the caller's."""
    with pytest.raises(ValueError, match="the mesh is linkerd"):
        IstioAdapter(DetectedMesh(MeshKind.LINKERD))


def test_every_kind_is_observed_in_the_version_that_is_served() -> None:
    """Whole: an object of somebody else that has the name of ours must be seen."""
    (resource,) = adapter(ServiceEntry="networking.istio.io/v1beta1").resources
    assert resource.path(resource.api_versions[0]) == "/apis/networking.istio.io/v1beta1/serviceentries"
    assert resource.label_selector == ""


def test_the_derived_service_is_hidden_from_istio() -> None:
    """It has the entry's address, and no endpoint."""
    assert adapter().derived_annotations == {"networking.istio.io/exportTo": "~"}


def test_without_its_kinds_nothing_is_written() -> None:
    """One of the two alone would be half a way."""
    whole = Whole({}, {}, AROUND, PEERS)
    assert adapter().shared(whole).applied == ()
    assert adapter(ServiceEntry="v1").objects(ECHO, None, ServiceState(), {}, AROUND).applied == ()


def test_a_root_namespace_that_is_configured_has_the_policy_of_the_mesh() -> None:
    """Istio reads policies for all namespaces there."""
    made = adapter(MeshConfig(root_namespace="mesh-root"), AuthorizationPolicy="v1").shared(
        Whole({}, {}, AROUND, PEERS)
    )
    assert [apply.id.namespace for apply in made.applied] == ["mesh-root"]


def test_a_port_of_our_own_sidecars_is_told() -> None:
    """The gateway would call workloads where Istio's don't listen."""

    def told(port: int) -> list[str]:
        return [one.reason for one in adapter().shared(Whole({}, {}, replace(AROUND, sidecar_port=port))).problems]

    assert "SidecarPortSet" in told(15006)
    assert "SidecarPortSet" not in told(0)
