"""Problems of manifests by the service that they are told on, and what is told of a mesh."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import pytest

from controllers.injection.trust_objects import CONFIG_MAPS
from controllers.mesh.detect import DetectedMesh, MeshKind
from federation.app.kube.cluster_side import ClusterSide, anchors_of, mesh_status, noted_by_service, untold_seconds
from federation.app.kube.post import Post
from federation.model.configuration import KubernetesSettings
from federation.model.documents import read_yaml
from federation.model.problems import Problem
from support.builders import ECHO
from support.control import settings, started_authority
from trustbundle.bundle import TrustBundle, TrustView
from trustbundle.identity import TrustDomain


def test_problems_of_a_service_and_of_its_export_are_told_on_the_export() -> None:
    """Those of slices, of resources and of what has no usable name are not any service's."""
    service = Problem("Service demo/echo", "A", "a")
    export = Problem("ServiceExport demo/echo", "B", "b", "spec")
    subjects = ("EndpointSlice demo/echo", "services", "Service X")
    others = [Problem(subject, "C", "c") for subject in subjects]

    assert noted_by_service([service, *others, export]) == {ECHO: (service, export)}


def test_a_mesh_is_told_with_what_its_administrator_must_set() -> None:
    """Nothing is told of a cluster without one; Linkerd's configuration has nothing of ours."""
    anchors = {"west.test": (b"west",)}
    istio = DetectedMesh(MeshKind.ISTIO, version="1.30.1", namespace="istio-system", trust_domain="cluster.local")
    told = mesh_status(istio, "east.test", anchors)
    linkerd = mesh_status(DetectedMesh(MeshKind.LINKERD, namespace="linkerd"), "east.test", anchors)

    assert told is not None
    assert (told.kind, told.version, told.trust_domain) == ("istio", "1.30.1", "cluster.local")
    assert "trustDomain: east.test\n" in told.settings
    assert isinstance(read_yaml(told.settings), dict)
    assert linkerd is not None
    assert linkerd.settings == ""
    assert mesh_status(DetectedMesh(), "east.test", anchors) is None


def test_after_a_restart_nothing_is_told_to_be_pending_while_the_exchange_takes_everything() -> None:
    """It would be written twice for nothing; an exchange that is away, or a later change, is told soon."""
    first = untold_seconds(settled_once=False, connected=True)
    soon = {
        untold_seconds(settled_once=once, connected=connected)
        for once, connected in ((True, True), (True, False), (False, False))
    }

    assert len(soon) == 1
    assert soon.pop() * 10 < first


def test_the_anchors_of_a_mesh_are_those_of_the_peers() -> None:
    """It has its own in any case."""
    view = TrustView()
    for domain in ("east.test", "west.test"):
        view = view.with_bundle(TrustBundle(TrustDomain(domain), 1, (domain.encode(),)))
    assert anchors_of(view, "east.test") == {"west.test": (b"west.test",)}


async def test_what_is_wrong_with_any_part_is_told(tmp_path: Path) -> None:
    """Of sidecars and IP families too."""
    kubernetes = KubernetesSettings()
    side = ClusterSide(
        settings(tmp_path),
        kubernetes,
        Post(kubernetes, tmp_path),
        session=MagicMock(),
        built_in=started_authority(),
        is_member=lambda: True,
        in_doubt=lambda: False,
        mark=lambda: None,
    )
    side._objects._families.problems = (Problem("IP families", "Unknown", "nobody tells"),)
    side.sidecars._distributor._objects.mark_unreadable(CONFIG_MAPS, "forbidden")

    assert {"Unreadable", "Unknown"} <= {problem.reason for problem in side.problems}


class Told:
    """Stands for the objects of the cluster, and keeps what it was told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def tell(self, *_: object) -> None:
        self.told.append("member")

    async def clear_away(self, *_: object) -> None:
        self.told.append("over")


@pytest.mark.parametrize("in_doubt", [False, True])
async def test_what_is_over_is_cleared_whatever_was_read(in_doubt: bool) -> None:
    """That the roster is gone is enough; and a key in doubt alone changes nothing in the cluster."""
    side: Any = object.__new__(ClusterSide)
    objects, controller = Told(), MagicMock()
    side._controller, side._objects = controller, objects
    side._is_member, side._in_doubt, side._over = (lambda: not in_doubt), (lambda: in_doubt), False
    side._session, side._noted, side._pending = MagicMock(), {}, frozenset()
    controller.projection.results, controller.state.services = {ECHO: object()}, {}
    controller.trust.bundles = {}
    side._settings = MagicMock()
    side._tell(set())
    before = [*objects.told]
    await side.clear_away(patience_seconds=1)

    assert before == ([] if in_doubt else ["member"])
    assert objects.told[-1] == "over"
