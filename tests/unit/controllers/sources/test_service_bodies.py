"""Service and ServiceExport: what is taken, and every rule of validation with the path it names."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from controllers.sources.manifests import Manifest, parse_manifests
from federation.model.names import ServiceKey
from federation.model.state import Protocol, Service, ServiceExport, ServicePort, ServiceType

KEY = ServiceKey("demo", "echo")
HTTP: dict[str, Any] = {"name": "http", "port": 80}


def service(**spec: object) -> Manifest:
    (manifest,) = parse_manifests(
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "echo", "namespace": "demo"},
            "spec": {"ports": [HTTP]} | spec,
        }
    )
    return manifest


def export(spec: object = None, **metadata: object) -> Manifest:
    (manifest,) = parse_manifests(
        {
            "apiVersion": "multicluster.x-k8s.io/v1beta1",
            "kind": "ServiceExport",
            "metadata": {"name": "echo", "namespace": "demo"} | metadata,
            "spec": spec,
        }
    )
    return manifest


def test_a_small_service_takes_the_defaults_of_kubernetes() -> None:
    """ClusterIP, TCP and IPv4; what clusters may disagree on stays unsaid."""
    expected = Service(KEY, ServiceType.CLUSTER_IP, headless=False, ports=(ServicePort("http", Protocol.TCP, 80),))

    assert service().value == expected


def test_a_full_service_is_taken_whole() -> None:
    """Every field that travels is read; those that concern only the own cluster are ignored."""
    manifest = service(
        type="LoadBalancer",
        clusterIP="10.0.0.1",
        selector={"app": "echo"},
        externalTrafficPolicy="Local",
        ports=[
            HTTP | {"appProtocol": "kubernetes.io/h2c", "targetPort": "web", "nodePort": 30080},
            {"name": "dns", "port": 80, "protocol": "UDP"},
        ],
        sessionAffinity="ClientIP",
        sessionAffinityConfig={"clientIP": {"timeoutSeconds": 60}},
        internalTrafficPolicy="Local",
        trafficDistribution="PreferClose",
        ipFamilies=["IPv6", "IPv4"],
    )

    assert manifest.value == Service(
        key=KEY,
        type=ServiceType.LOAD_BALANCER,
        headless=False,
        ports=(ServicePort("http", Protocol.TCP, 80, "kubernetes.io/h2c"), ServicePort("dns", Protocol.UDP, 80)),
        session_affinity="ClientIP",
        session_affinity_timeout_seconds=60,
        internal_traffic_policy="Local",
        traffic_distribution="PreferClose",
        ip_families=("IPv6", "IPv4"),
    )


@pytest.mark.parametrize(
    ("spec", "headless", "ports"),
    [
        ({"clusterIP": "None"}, True, 1),
        ({"clusterIP": "None", "ports": []}, True, 0),
        ({"type": "ExternalName", "externalName": "x.example", "ports": None}, False, 0),
        ({"clusterIP": None}, False, 1),
    ],
)
def test_headless_and_external_services_may_be_without_ports(spec: dict[str, Any], headless: bool, ports: int) -> None:
    """Only the clusterIP ``None`` makes a service headless."""
    value = service(**spec).value

    assert isinstance(value, Service)
    assert (value.headless, len(value.ports)) == (headless, ports)


@pytest.mark.parametrize(
    ("spec", "path", "reason"),
    [
        ({"ports": None}, "spec.ports", "Required"),
        ({"ports": []}, "spec.ports", "Required"),
        ({"ports": {}}, "spec.ports", "WrongType"),
        ({"ports": [80]}, "spec.ports[0]", "WrongType"),
        ({"ports": [{"port": "80"}]}, "spec.ports[0].port", "WrongType"),
        ({"ports": [{"port": True}]}, "spec.ports[0].port", "WrongType"),
        ({"ports": [{"port": 80.0}]}, "spec.ports[0].port", "WrongType"),
        ({"ports": [{"port": 0}]}, "spec.ports[0].port", "InvalidValue"),
        ({"ports": [{"port": 65536}]}, "spec.ports[0].port", "InvalidValue"),
        ({"ports": [{}]}, "spec.ports[0].port", "Required"),
        ({"ports": [HTTP | {"name": "Web"}]}, "spec.ports[0].name", "InvalidName"),
        ({"ports": [HTTP | {"name": 7}]}, "spec.ports[0].name", "WrongType"),
        ({"ports": [HTTP, {"port": 81}]}, "spec.ports[1].name", "Required"),
        ({"ports": [HTTP, {"name": "", "port": 81}]}, "spec.ports[1].name", "Required"),
        ({"ports": [HTTP, HTTP | {"port": 81}]}, "spec.ports[1].name", "Duplicate"),
        ({"ports": [HTTP, HTTP | {"name": "b"}]}, "spec.ports[1].port", "Duplicate"),
        ({"ports": [HTTP | {"protocol": "tcp"}]}, "spec.ports[0].protocol", "InvalidValue"),
        ({"ports": [HTTP | {"protocol": 6}]}, "spec.ports[0].protocol", "WrongType"),
        ({"ports": [HTTP | {"appProtocol": "a b"}]}, "spec.ports[0].appProtocol", "InvalidValue"),
        ({"type": "ClusterIp"}, "spec.type", "InvalidValue"),
        ({"clusterIP": 7}, "spec.clusterIP", "WrongType"),
        ({"sessionAffinity": "clientIP"}, "spec.sessionAffinity", "InvalidValue"),
        ({"sessionAffinityConfig": {}}, "spec.sessionAffinityConfig", "InvalidValue"),
        (
            {"sessionAffinity": "ClientIP", "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 0}}},
            "spec.sessionAffinityConfig.clientIP.timeoutSeconds",
            "InvalidValue",
        ),
        (
            {"sessionAffinity": "ClientIP", "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 86401}}},
            "spec.sessionAffinityConfig.clientIP.timeoutSeconds",
            "InvalidValue",
        ),
        ({"internalTrafficPolicy": "local"}, "spec.internalTrafficPolicy", "InvalidValue"),
        ({"trafficDistribution": "Near"}, "spec.trafficDistribution", "InvalidValue"),
        ({"ipFamilies": ["ipv4"]}, "spec.ipFamilies", "InvalidValue"),
        ({"ipFamilies": ["IPv4", "IPv4"]}, "spec.ipFamilies", "Duplicate"),
        ({"ipFamilies": [4]}, "spec.ipFamilies[0]", "WrongType"),
    ],
)
def test_a_broken_rule_is_one_problem_with_its_path(spec: dict[str, Any], path: str, reason: str) -> None:
    """The service has no value, and the problem names the field."""
    manifest = service(**spec)

    assert manifest.value is None
    assert [(problem.path, problem.reason) for problem in manifest.problems] == [(path, reason)]
    assert manifest.problems[0].subject == "Service demo/echo"


def test_all_faults_of_a_service_are_found_at_once() -> None:
    """Reading goes on behind a fault."""
    manifest = service(type=1, ports=[{"port": "x"}, HTTP], sessionAffinity=[])

    assert [problem.path for problem in manifest.problems] == [
        "spec.type",
        "spec.sessionAffinity",
        "spec.ports[0].name",
        "spec.ports[0].port",
    ]


def test_an_export_carries_its_age_and_what_it_exports() -> None:
    """The time is UTC in whole seconds, labels and annotations are sorted."""
    manifest = export(
        {"exportedLabels": {"b": "2", "a": "1"}, "exportedAnnotations": {"c": "3"}},
        creationTimestamp="2026-01-02T05:04:05.9+02:00",
    )

    assert manifest.value == ServiceExport(
        KEY, datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), (("a", "1"), ("b", "2")), (("c", "3"),)
    )


def test_an_export_may_be_without_a_time() -> None:
    """A file has no creation time, and kubectl's generators write null."""
    assert export(creationTimestamp=None).value == ServiceExport(KEY)


@pytest.mark.parametrize(
    ("manifest", "path", "reason"),
    [
        (export(creationTimestamp="yesterday"), "metadata.creationTimestamp", "InvalidValue"),
        (export(creationTimestamp="2026-01-02T03:04:05"), "metadata.creationTimestamp", "InvalidValue"),
        (export(creationTimestamp=1767323045), "metadata.creationTimestamp", "WrongType"),
        (export([]), "spec", "WrongType"),
        (export({"exportedLabels": ["a"]}), "spec.exportedLabels", "WrongType"),
        (export({"exportedLabels": {"a": 1}}), "spec.exportedLabels[a]", "WrongType"),
    ],
)
def test_a_broken_rule_of_an_export_is_one_problem(manifest: Manifest, path: str, reason: str) -> None:
    """The export has no value, and the problem names the field."""
    assert manifest.value is None
    assert [(problem.path, problem.reason) for problem in manifest.problems] == [(path, reason)]


@pytest.mark.parametrize(("mode", "terminate"), [("passthrough", False), ("terminate", True)])
def test_an_export_says_who_ends_tls(mode: str, terminate: bool) -> None:
    """By annotation; where it says nothing, the sidecars do."""
    found = export(annotations={"federation-gateway.dev/mode": mode}).value
    assert isinstance(found, ServiceExport)
    assert found.terminate is terminate


def test_an_export_of_an_unknown_mode_is_refused() -> None:
    """A misspelt one must not come to be the other."""
    (problem,) = export(annotations={"federation-gateway.dev/mode": "Terminate"}).problems
    assert (problem.path, problem.reason) == ("metadata.annotations[federation-gateway.dev/mode]", "InvalidValue")
