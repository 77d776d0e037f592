"""EndpointSlices: what is taken, and every rule of validation with the path it names."""

from __future__ import annotations

from typing import Any

import pytest

from controllers.sources.manifests import Manifest, parse_manifests
from federation.model.names import ServiceKey
from federation.model.state import Endpoint, EndpointPort, EndpointSlice, Protocol

LABELS = {"kubernetes.io/service-name": "echo"}


def endpoint_slice(
    labels: object = LABELS, annotations: object = None, name: str = "echo-1", **body: object
) -> Manifest:
    (manifest,) = parse_manifests(
        {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {"name": name, "namespace": "demo", "labels": labels, "annotations": annotations},
            "addressType": "IPv4",
            "ports": [{"port": 80}],
            "endpoints": [{"addresses": ["127.10.0.1"]}],
        }
        | body
    )
    return manifest


def test_a_small_slice_takes_the_defaults() -> None:
    """An endpoint whose readiness is unknown counts as ready (Kubernetes); the account is the default one."""
    assert endpoint_slice().value == EndpointSlice(
        namespace="demo",
        name="echo-1",
        service=ServiceKey("demo", "echo"),
        address_type="IPv4",
        ports=(EndpointPort("", Protocol.TCP, 80),),
        endpoints=(Endpoint(("127.10.0.1",), ready=True),),
        service_account="default",
        inbound_port=None,
    )


def test_a_full_slice_is_taken_whole() -> None:
    """Identity and port come from annotations, addresses are spelled canonically, endpoints have an order."""
    manifest = endpoint_slice(
        name="echo.v1-1",
        labels=LABELS | {"app": "echo"},
        annotations={
            "federation-gateway.dev/service-account": "echo.prod",
            "federation-gateway.dev/inbound-port": "16006",
        },
        addressType="IPv6",
        ports=[{"name": "http", "port": 80}, {"name": "dns", "port": 53, "protocol": "UDP"}],
        endpoints=[
            {"addresses": ["2001:DB8::2"], "conditions": {"ready": False, "serving": True}, "zone": "z"},
            {"addresses": ["2001:db8:0::1"], "hostname": "echo-0", "targetRef": {"kind": "Pod"}},
        ],
    )

    assert manifest.value == EndpointSlice(
        namespace="demo",
        name="echo.v1-1",
        service=ServiceKey("demo", "echo"),
        address_type="IPv6",
        ports=(EndpointPort("http", Protocol.TCP, 80), EndpointPort("dns", Protocol.UDP, 53)),
        endpoints=(
            Endpoint(("2001:db8::1",), hostname="echo-0"),
            Endpoint(("2001:db8::2",), ready=False, zone="z"),
        ),
        service_account="echo.prod",
        inbound_port=16006,
    )


@pytest.mark.parametrize("endpoints", [None, []])
def test_a_slice_may_be_empty(endpoints: object) -> None:
    """A service scaled to nothing has a slice without endpoints."""
    value = endpoint_slice(endpoints=endpoints).value

    assert isinstance(value, EndpointSlice)
    assert value.endpoints == ()


def endpoints(**endpoint: object) -> dict[str, Any]:
    return {"endpoints": [{"addresses": ["127.10.0.1"]} | endpoint]}


@pytest.mark.parametrize(
    ("changes", "path", "reason"),
    [
        ({"name": "Echo"}, "metadata.name", "InvalidName"),
        ({"labels": None}, "metadata.labels[kubernetes.io/service-name]", "Required"),
        ({"labels": {"kubernetes.io/service-name": "A"}}, "metadata.labels[kubernetes.io/service-name]", "InvalidName"),
        ({"labels": {"kubernetes.io/service-name": 7}}, "metadata.labels[kubernetes.io/service-name]", "WrongType"),
        (
            {"annotations": {"federation-gateway.dev/service-account": "a/b"}},
            "metadata.annotations[federation-gateway.dev/service-account]",
            "InvalidName",
        ),
        (
            {"annotations": {"federation-gateway.dev/inbound-port": "0"}},
            "metadata.annotations[federation-gateway.dev/inbound-port]",
            "InvalidValue",
        ),
        (
            {"annotations": {"federation-gateway.dev/inbound-port": 16006}},
            "metadata.annotations[federation-gateway.dev/inbound-port]",
            "WrongType",
        ),
        ({"addressType": None}, "addressType", "Required"),
        ({"addressType": "FQDN"}, "addressType", "InvalidValue"),
        ({"ports": [{}]}, "ports[0].port", "Required"),
        ({"ports": [{"port": 70000}]}, "ports[0].port", "InvalidValue"),
        ({"ports": [{"port": 1}, {"port": 2}]}, "ports[1].name", "Duplicate"),
        ({"ports": [{"port": 1, "protocol": "http"}]}, "ports[0].protocol", "InvalidValue"),
        ({"endpoints": {}}, "endpoints", "WrongType"),
        (endpoints(addresses=None), "endpoints[0].addresses", "Required"),
        (endpoints(addresses=[]), "endpoints[0].addresses", "Required"),
        (endpoints(addresses="127.0.0.1"), "endpoints[0].addresses", "WrongType"),
        (endpoints(addresses=["::1"]), "endpoints[0].addresses[0]", "InvalidValue"),
        (endpoints(addresses=["127.0.0.1", "echo"]), "endpoints[0].addresses[1]", "InvalidValue"),
        (endpoints(addresses=["0.0.0.0"]), "endpoints[0].addresses[0]", "InvalidValue"),
        (endpoints(addresses=["224.0.0.1"]), "endpoints[0].addresses[0]", "InvalidValue"),
        (endpoints(addresses=[7]), "endpoints[0].addresses[0]", "WrongType"),
        (endpoints(conditions={"ready": "yes"}), "endpoints[0].conditions.ready", "WrongType"),
        (endpoints(hostname="a.b"), "endpoints[0].hostname", "InvalidName"),
        (endpoints(zone=1), "endpoints[0].zone", "WrongType"),
        (endpoints(targetRef=[]), "endpoints[0].targetRef", "WrongType"),
    ],
)
def test_a_broken_rule_is_one_problem_with_its_path(changes: dict[str, Any], path: str, reason: str) -> None:
    """The slice has no value, and the problem names the field."""
    manifest = endpoint_slice(**changes)

    assert manifest.value is None
    assert [(problem.path, problem.reason) for problem in manifest.problems] == [(path, reason)]


@pytest.mark.parametrize(
    ("target", "pod"), [({"kind": "Pod", "name": "echo-7"}, "echo-7"), ({"kind": "VM", "name": "a"}, "")]
)
def test_an_endpoint_names_its_pod(target: dict[str, str], pod: str) -> None:
    """Of other kinds of workloads nothing more is known."""
    value = endpoint_slice(**endpoints(targetRef=target)).value

    assert isinstance(value, EndpointSlice)
    assert [one.pod for one in value.endpoints] == [pod]
