"""What all sidecars of a cluster in Kubernetes have in common, by its settings and its version."""

from __future__ import annotations

from ipaddress import ip_network
from pathlib import Path

import pytest

from federation.app.kube.pod_sidecars import IMAGE, has_sidecar_containers, injection_of
from federation.model.configuration import KubernetesSettings
from support.control import settings


def test_sidecars_find_the_controllers_of_their_own_installation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the Service in its namespace; and their image is the controller's unless another is named."""
    monkeypatch.setenv(IMAGE, "registry/f:0")
    bare = injection_of(settings(tmp_path), KubernetesSettings())
    told = injection_of(
        settings(tmp_path), KubernetesSettings("mesh", sidecar_image="registry/f:1", redirect=("10.96.0.0/12",))
    )

    assert (bare.image, bare.xds) == (
        "registry/f:0",
        "federation-controller.federation-system.svc:15012",
    )
    assert (told.image, told.xds, told.include) == (
        "registry/f:1",
        "federation-controller.mesh.svc:15012",
        (ip_network("10.96.0.0/12"),),
    )
    assert (told.clusterset, told.cluster, told.trust_domain) == ("test", "east", "east.test")


@pytest.mark.parametrize(
    ("version", "has"),
    [
        ({"major": "1", "minor": "28"}, False),
        ({"major": "1", "minor": "29+"}, True),
        ({"major": "2", "minor": "0"}, True),
        ({}, True),
    ],
)
def test_containers_of_their_own_kind_come_with_the_version(version: dict[str, str], has: bool) -> None:
    """What says nothing is taken for a cluster of today."""
    assert has_sidecar_containers(version) is has
