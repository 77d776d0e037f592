"""Problems of manifests, by the service that they are told on."""

from __future__ import annotations

from federation.app.kube.cluster_side import noted_by_service
from federation.model.problems import Problem
from support.builders import ECHO


def test_problems_of_a_service_and_of_its_export_are_told_on_the_export() -> None:
    """Those of slices, of resources and of what has no usable name are not any service's."""
    service = Problem("Service demo/echo", "A", "a")
    export = Problem("ServiceExport demo/echo", "B", "b", "spec")
    subjects = ("EndpointSlice demo/echo", "services", "Service X")
    others = [Problem(subject, "C", "c") for subject in subjects]

    assert noted_by_service([service, *others, export]) == {ECHO: (service, export)}
