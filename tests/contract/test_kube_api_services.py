"""What this project relies on in an API server's Services, EndpointSlices, Leases and Events: what they may be."""

from __future__ import annotations

from typing import Any

import pytest

from support.kube.objects import Json
from support.kube.site import CORE, MERGE, SLICES, Site, service

LEASES = "/apis/coordination.k8s.io/v1"
FAR = "10.96.201."
"""Addresses of the range that no server hands out by itself in a short run."""


async def refusals(site: Site, path: str, bodies: list[Json]) -> list[list[str]]:
    """The fields for which each body is refused as invalid."""
    replies = [await site.admin.apply(f"{path}/{body['metadata']['name']}", body, "us") for body in bodies]
    assert [reply.reason for reply in replies] == [(422, "Invalid")] * len(bodies)
    return [sorted({cause["field"] for cause in reply.body["details"]["causes"]}) for reply in replies]


# Services


async def test_an_address_can_be_asked_for_once(site: Site) -> None:
    """One that is free is had; one in use, out of the range or no address is refused, and free again in the end."""
    path = site.path("services", api=CORE)
    address = f"{FAR}{int(site.namespace[-2:], 16)}"
    asked = {"clusterIP": address, "clusterIPs": [address]}
    had = await site.admin.apply(f"{path}/one", service("one", **asked), "us")
    outside = {"clusterIP": "172.16.0.1", "clusterIPs": ["172.16.0.1"]}
    nonsense = {"clusterIP": "10.96.0.300", "clusterIPs": ["10.96.0.300"]}
    refused = await refusals(
        site, path, [service("two", **asked), service("two", **outside), service("two", **nonsense)]
    )
    await site.admin.delete(f"{path}/one")
    again = await site.admin.apply(f"{path}/two", service("two", **asked), "us")

    assert (had.code, had.body["spec"]["clusterIPs"]) == (201, [address])
    assert refused == [["spec.clusterIPs"], ["spec.clusterIPs"], ["spec.clusterIPs[0]"]]
    assert (again.code, again.body["spec"]["clusterIP"]) == (201, address)


async def test_addresses_must_agree(site: Site) -> None:
    """The first of all is the one, none is stated without it, and a Service keeps those that it has."""
    path = site.path("services", api=CORE)
    await site.made(path, service())
    refused = await refusals(
        site,
        path,
        [
            service("new", clusterIP=f"{FAR}1", clusterIPs=[f"{FAR}2"]),
            service("new", clusterIPs=[f"{FAR}1"]),
            service("echo", clusterIPs=[f"{FAR}1"]),
            service("echo", clusterIP=f"{FAR}1", clusterIPs=[f"{FAR}1"]),
        ],
    )
    assert refused == [["spec.clusterIPs"], ["spec.clusterIPs"], ["spec.clusterIPs"], ["spec.clusterIPs[0]"]]


async def test_families_are_those_of_the_cluster(site: Site) -> None:
    """A single-stack cluster refuses the other family and two of them; a headless Service without selector has both."""
    path = site.path("services", api=CORE)
    refused = await refusals(
        site,
        path,
        [
            service("six", ipFamilies=["IPv6"]),
            service("both", ipFamilies=["IPv4", "IPv6"], ipFamilyPolicy="RequireDualStack"),
        ],
    )
    open_ended = await site.made(path, service("open", clusterIP="None", selector=None))

    assert refused == [["spec.ipFamilies[0]"], ["spec.ipFamilies[1]", "spec.ipFamilyPolicy"]]
    assert (open_ended["spec"]["ipFamilies"], open_ended["spec"]["ipFamilyPolicy"]) == (
        ["IPv4", "IPv6"],
        "RequireDualStack",
    )


async def test_ports_have_names_of_their_own(site: Site) -> None:
    """Each is a label, none comes twice, and all are named where there are many."""
    path = site.path("services", api=CORE)

    def with_ports(*ports: Json) -> Json:
        return service("ports", ports=list(ports))

    refused = await refusals(
        site,
        path,
        [
            with_ports({"port": 80, "name": "Not_One"}),
            with_ports({"port": 80, "name": "a"}, {"port": 81, "name": "a"}),
            with_ports({"port": 80}, {"port": 81}),
            with_ports({"port": 80, "name": "a", "appProtocol": "not one!"}),
        ],
    )
    assert [fields[0] for fields in refused] == [
        "spec.ports[0].name",
        "spec.ports[1].name",
        "spec.ports[0].name",
        "spec.ports[0].appProtocol",
    ]


async def test_what_a_service_is_of_decides_what_it_has(site: Site) -> None:
    """Without affinity its settings go; what is reached from outside has a policy, and one that is named elsewhere has
    no address."""
    path = site.path("services", api=CORE)
    timeout = {"clientIP": {"timeoutSeconds": 60}}
    loose = await site.made(path, service("loose", sessionAffinity="None", sessionAffinityConfig=timeout))
    outer = await site.made(path, service("outer", type="LoadBalancer"))
    named = await site.made(path, service("named", type="ExternalName", externalName="echo.example", ports=[]))

    assert "sessionAffinityConfig" not in loose["spec"]
    assert (outer["spec"]["externalTrafficPolicy"], outer["spec"]["allocateLoadBalancerNodePorts"]) == ("Cluster", True)
    assert not {"clusterIP", "clusterIPs", "ports", "ipFamilies"} & set(named["spec"])


async def test_only_a_load_balancer_has_addresses_of_one(site: Site) -> None:
    """Its status is written apart; that of another Service takes none."""
    path = site.path("services", api=CORE)
    await site.made(path, service("inner"))
    await site.made(path, service("outer", type="LoadBalancer"))
    status = {"status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}}}
    inner = await site.admin.ask("PATCH", f"{path}/inner/status", status, media=MERGE)
    outer = await site.admin.ask("PATCH", f"{path}/outer/status", status, media=MERGE)

    assert inner.reason == (422, "Invalid")
    assert outer.body["status"]["loadBalancer"]["ingress"][0]["ip"] == "192.0.2.1"


# EndpointSlices


def piece(**more: Any) -> Json:
    body = {"addressType": "IPv4", "endpoints": [{"addresses": ["10.0.0.1"]}], "ports": [{"name": "http", "port": 80}]}
    identity = {"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": {"name": "echo"}}
    return {**identity, **body, **more}


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"endpoints": [{"addresses": ["nonsense"]}]}, "endpoints[0].addresses[0]"),
        ({"endpoints": [{"addresses": ["fd00::1"]}]}, "endpoints[0].addresses"),
        ({"endpoints": [{"addresses": ["127.0.0.1"]}]}, "endpoints[0].addresses[0]"),
        ({"endpoints": [{"addresses": ["169.254.0.1"]}]}, "endpoints[0].addresses[0]"),
        ({"endpoints": [{"addresses": []}]}, "endpoints[0].addresses"),
        ({"endpoints": [{"addresses": ["10.0.0.1"], "hostname": "Not_One"}]}, "endpoints[0].hostname"),
        ({"ports": [{"name": "a", "port": 80}, {"name": "a", "port": 81}]}, "ports[1].name"),
        ({"ports": [{"name": "Not_One", "port": 80}]}, "ports[0].name"),
    ],
)
async def test_a_slice_has_addresses_that_others_can_reach(site: Site, change: Json, field: str) -> None:
    """Of its family, not of the loopback or the link; ports have names of their own."""
    assert await refusals(site, site.path("endpointslices", api=SLICES), [piece(**change)]) == [[field]]


async def test_what_a_slice_has_none_of_is_null(site: Site) -> None:
    """An empty list comes back as null, and stating it again writes nothing."""
    path = site.path("endpointslices", "echo", api=SLICES)
    first = await site.admin.apply(path, piece(endpoints=[], ports=[]), "us")
    again = await site.admin.apply(path, piece(endpoints=[], ports=[]), "us")

    bare = await site.admin.apply(path, piece(), "us")

    assert (first.code, first.body["endpoints"], first.body["ports"]) == (201, None, None)
    assert bare.body["endpoints"] == [{"addresses": ["10.0.0.1"], "conditions": {}}]
    assert (again.code, again.body) == (200, first.body)


# Leases and Events


async def test_the_times_of_a_lease_have_six_digits(site: Site) -> None:
    """A time without them can't be read: 400 for a whole object, 422 for a patch."""
    path = site.path("leases", api=LEASES)
    spec = {"holderIdentity": "a", "leaseDurationSeconds": 15, "renewTime": "2026-01-01T00:00:00.000000Z"}
    made = await site.made(path, {"metadata": {"name": "one"}, "spec": spec})
    short = {**spec, "renewTime": "2026-01-01T00:00:00Z"}
    refused = await site.admin.post(path, {"metadata": {"name": "two"}, "spec": short})
    patched = await site.admin.ask("PATCH", f"{path}/one", {"spec": short}, media=MERGE)

    assert made["spec"]["renewTime"] == spec["renewTime"]
    assert refused.reason == (400, "BadRequest")
    assert patched.reason == (422, "Invalid")


async def test_an_event_is_in_the_namespace_of_what_it_is_about(site: Site) -> None:
    """Elsewhere it is refused."""
    path = site.path("events", api=CORE)

    def about(namespace: str) -> Json:
        subject = {"kind": "ServiceExport", "name": "echo", "namespace": namespace}
        return {"metadata": {"name": "echo.1"}, "involvedObject": subject, "reason": "Why", "type": "Normal"}

    assert (await site.admin.post(path, about("default"))).reason == (422, "Invalid")
    assert (await site.admin.post(path, about(site.namespace))).code == 201
