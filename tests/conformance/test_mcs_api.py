"""The MCS API's conformance suite, spec by spec, with its objects, gaps and windows of time (KEP-1645).

What the suite asks of pods is left out, or asked of objects and DNS instead; docs/conformance.md says where that makes
the mirror weaker. The EndpointSlices of the exported Services themselves are written by the tests, for nobody makes
pods or slices here. ``R`` specs are required, ``O`` specs optional; numbers are those of docs/conformance.md.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from ipaddress import ip_address
from typing import Any

import pytest

from support.conformance import SERVICE_NAME, SOURCE_CLUSTER, Look, Trial
from support.conformance_objects import (
    KUBERNETES_OWN,
    MANAGED_BY_LABEL,
    NAME,
    TCP,
    Json,
    hello_service,
    import_ports,
    sorted_ports,
)
from support.conformance_report import spec

# What runs all specs counts as part of the first test.
pytestmark = pytest.mark.timeout(240)

LABELS = {"exportedLabels": {"dummy-label": "true"}, "exportedAnnotations": {"dummy-annotation": "true"}}
OTHER_LABELS = {"exportedLabels": {"dummy-label2": "true"}, "exportedAnnotations": {"dummy-annotation2": "true"}}
SCTP = {"name": "stcp", "port": 142, "protocol": "SCTP"}


# Required


@spec("R1")
async def test_a_service_import_exists_only_as_long_as_a_cluster_exports(trial: Trial) -> None:
    """R1: it is there after each export, stays while one is left, and goes with the last."""
    await trial.deploy(trial.first)
    await trial.export(trial.first)
    await trial.imported(trial.first)
    await trial.deploy(trial.second)
    await trial.export(trial.second)
    await trial.stays_imported(trial.first)
    await trial.unexport(trial.first)
    await trial.stays_imported(trial.first)
    await trial.unexport(trial.second)
    await trial.not_imported(trial.first)


@spec("R2")
async def test_an_exported_clusterip_service_is_imported_as_clustersetip_by_each_cluster(trial: Trial) -> None:
    """R2: the export is valid, the import is in every cluster, the exporter among them; un-exported, in none."""
    await trial.deploy(trial.first)
    await trial.export(trial.first)
    await trial.condition(trial.first, "Valid", "True")
    for site in trial.clusters:
        found = await trial.imported(site)
        assert found["spec"]["type"] == "ClusterSetIP"
    await trial.unexport(trial.first)
    await trial.not_imported(*trial.clusters)


@spec("R3")
async def test_session_affinity_is_that_of_the_exported_service(trial: Trial) -> None:
    """R3: with its configuration."""
    service = await trial.deploy(trial.first)
    await trial.export(trial.first)
    wanted = {name: service["spec"][name] for name in ("sessionAffinity", "sessionAffinityConfig")}
    await trial.imported(
        trial.first, lambda one: {name: one["spec"].get(name) for name in wanted} == wanted, f"{wanted}"
    )


@spec("R4")
async def test_internal_traffic_policy_is_that_of_the_exported_service(trial: Trial) -> None:
    """R4: stated, though it is the default."""
    await trial.deploy(trial.first, hello_service(internalTrafficPolicy="Cluster"))
    await trial.export(trial.first)
    wanted = {"internalTrafficPolicy": "Cluster"}
    await trial.imported(trial.first, lambda one: wanted.items() <= one["spec"].items(), f"with {wanted}")


@spec("R5")
async def test_traffic_distribution_is_that_of_the_exported_service(trial: Trial) -> None:
    """R5: in the words of the Service."""
    await trial.deploy(trial.first, hello_service(trafficDistribution="PreferClose"))
    await trial.export(trial.first)
    await trial.imported(
        trial.first, lambda one: one["spec"].get("trafficDistribution") == "PreferClose", "PreferClose"
    )


@spec("R6")
async def test_a_clustersetip_import_has_an_address_of_each_family(trial: Trial) -> None:
    """R6: as many as families, and in their order."""
    await trial.deploy(trial.first)
    await trial.export(trial.first)
    found = await trial.imported(trial.first, lambda one: bool(one["spec"].get("ips")), "with addresses")
    families = [f"IPv{ip_address(one).version}" for one in found["spec"]["ips"]]
    assert families == found["spec"]["ipFamilies"]


@spec("R7")
async def test_ports_are_those_of_the_exported_service(trial: Trial) -> None:
    """R7: name, protocol, number and application protocol."""
    service = await trial.deploy(trial.first)
    await trial.export(trial.first)
    await has_ports(trial, import_ports(service))


@spec("R8")
async def test_the_union_of_ports_is_exposed_and_a_conflict_raised(trial: Trial) -> None:
    """R8: on both exports."""
    service = await trial.export_both(hello_service(ports=[TCP, SCTP]))
    await trial.conflict()
    await has_ports(trial, import_ports(service, hello_service(ports=[SCTP])))


@spec("R9")
async def test_conflicting_ports_are_resolved_and_reported(trial: Trial) -> None:
    """R9: a port of the same name and another number gives way to the older export's."""
    service = await trial.export_both(hello_service(ports=[{**TCP, "port": TCP["port"] + 1}]))
    await trial.conflict()
    await has_ports(trial, import_ports(service))


async def has_ports(trial: Trial, wanted: list[tuple[Any, ...]]) -> None:
    await trial.imported(trial.first, lambda one: sorted_ports(one["spec"].get("ports") or ()) == wanted, f"{wanted}")


@spec("R10")
async def test_an_exported_headless_service_is_imported_as_headless_by_each_cluster(trial: Trial) -> None:
    """R10: and by none once it is un-exported."""
    await trial.deploy(trial.first, hello_service(clusterIP="None"))
    await trial.export(trial.first)
    for site in trial.clusters:
        found = await trial.imported(site)
        assert found["spec"]["type"] == "Headless"
    await trial.unexport(trial.first)
    await trial.not_imported(*trial.clusters)


@spec("R11")
async def test_a_headless_import_has_no_address(trial: Trial) -> None:
    """R11: it has none for five seconds."""
    await trial.deploy(trial.first, hello_service(clusterIP="None"))
    await trial.export(trial.first)
    await trial.imported(trial.first)
    await trial.first.stays("no ips", lambda look: not look.imports[trial.namespace]["spec"].get("ips"))


@spec("R12")
async def test_an_externalname_service_makes_its_export_invalid(trial: Trial) -> None:
    """R12: and is not imported."""
    external = hello_service(type="ExternalName", externalName="example.com", ipFamilyPolicy=None)
    await trial.deploy(trial.first, external)
    await trial.export(trial.first)
    await trial.condition(trial.first, "Valid", "False")
    await trial.stays_not_imported(trial.first)


@spec("R13")
async def test_conflicting_headlessness_is_resolved_and_reported(trial: Trial) -> None:
    """R13: the older export says that there is a clusterset IP, in every cluster."""
    await trial.export_both(hello_service(clusterIP="None"))
    await trial.conflict()
    for site in trial.clusters:
        found = await trial.imported(site)
        assert found["spec"]["type"] == "ClusterSetIP"


@spec("R14")
async def test_a_service_that_is_not_exported_is_inaccessible(trial: Trial) -> None:
    """R14: its name does not exist in any cluster, of any family, and no cluster has a derived object of it."""
    service = await trial.deploy(trial.first)
    for _ in range(20):
        for site in trial.clusters:
            for family in service["spec"]["ipFamilies"]:
                code, _ = await site.ask(trial.host, "A" if family == "IPv4" else "AAAA")
                assert code == "NXDOMAIN", (site.name, code)
    for site in trial.clusters:
        look = await site.look()
        assert trial.namespace not in look.imports
        assert not trial.federated(look)


# Optional


@spec("O1")
async def test_only_exported_labels_and_annotations_travel(trial: Trial) -> None:
    """O1: those of the Service and of the ServiceExport do not."""
    service = await trial.deploy(trial.first)
    await trial.export(trial.first, **LABELS)
    for site in trial.clusters:
        found = await trial.imported(site, lambda one: carries(one, LABELS), f"with {LABELS}")
        for kind in ("labels", "annotations"):
            assert not set(service["metadata"][kind]) & set(found["metadata"][kind])
            assert "dummy-svcexport" not in found["metadata"][kind]


@spec("O2")
async def test_conflicting_labels_and_annotations_are_resolved_and_reported(trial: Trial) -> None:
    """O2: the older export's travel, and nothing of the other's."""
    await trial.export_both(hello_service(), first_export=LABELS, second_export=OTHER_LABELS)
    await trial.conflict()
    found = await trial.imported(trial.first, lambda one: carries(one, LABELS), f"with {LABELS}")
    assert not carries(found, OTHER_LABELS)
    assert "dummy-label2" not in found["metadata"]["labels"]


def carries(document: Json, exported: Mapping[str, Mapping[str, str]]) -> bool:
    """Whether all of what was exported is there."""
    metadata = document["metadata"]
    labels, annotations = metadata.get("labels") or {}, metadata.get("annotations") or {}
    return exported["exportedLabels"].items() <= labels.items() and (
        exported["exportedAnnotations"].items() <= annotations.items()
    )


@spec("O3")
async def test_each_cluster_has_endpoint_slices_with_the_required_labels(trial: Trial) -> None:
    """O3: of each family of the import, not Kubernetes' to manage; un-exported, none of them is left."""
    await trial.deploy(trial.first)
    await trial.export(trial.first)
    names: dict[str, set[str]] = {}
    for site in trial.clusters:
        for family in await trial.families(site):
            found = (await trial.slice_of(site, family))["metadata"]
            names.setdefault(site.name, set()).add(found["name"])
            assert found["labels"][SERVICE_NAME] == NAME
            assert found["labels"][SOURCE_CLUSTER] == trial.first.name
            assert found["labels"].get(MANAGED_BY_LABEL) not in {None, KUBERNETES_OWN}
    await trial.unexport(trial.first)
    for site in trial.clusters:
        await site.until("none of the EndpointSlices", lambda look, site=site: gone(look, trial, names[site.name]))


def gone(look: Look, trial: Trial, names: set[str]) -> bool | None:
    """True once none of these slices is left, None before."""
    left = {one["metadata"]["name"] for one in look.slices.get(trial.namespace, ())}
    return None if left & names else True


@spec("O4")
async def test_the_name_of_a_clusterip_service_resolves_to_the_clusterset_ip(trial: Trial) -> None:
    """O4: in every cluster to all of its own, whatever their family."""
    await trial.deploy(trial.first)
    await trial.export(trial.first)
    for site in trial.clusters:
        found = await trial.imported(site, lambda one: bool(one["spec"].get("ips")), "with addresses")
        for address in found["spec"]["ips"]:
            await trial.resolves(site, trial.host, [address])


@spec("O5")
async def test_srv_of_a_clusterip_service_is_one_record_for_each_port(trial: Trial) -> None:
    """O5: tcp/42 and udp/42 are one, and lead to the service's own name."""
    await trial.deploy(trial.first)
    await trial.export(trial.first)
    for site in trial.clusters:
        records = await trial.answers(site, trial.host, "SRV", lambda found: len(found) == 1)
        assert [(one.port, one.target.to_text()) for one in records] == [(42, trial.host)]


@spec("O6", skipped="cluster.local is the cluster's own DNS server's, and none runs beside these API servers")
async def test_cluster_local_resolves_to_local_services_only(trial: Trial) -> None:
    """O6: federation dns install leaves that zone alone, see tests/feature/test_dns.py."""


@spec("O7")
async def test_the_name_of_a_headless_service_resolves_to_all_ready_pods(trial: Trial) -> None:
    """O7: in every cluster to exactly those of the exporter, of each family."""
    await trial.deploy(trial.first, hello_service(clusterIP="None"), replicas=2)
    await trial.export(trial.first)
    for site in trial.clusters:
        for family in await trial.families(site):
            await trial.resolves(site, trial.host, [pod.address(family) for pod in trial.pods[trial.first.name]])


@spec("O8")
async def test_a_pod_of_a_headless_statefulset_has_a_name_of_its_own(trial: Trial) -> None:
    """O8: HOSTNAME.CLUSTER before the service's, as the EndpointSlices say."""
    await trial.deploy(trial.first, hello_service(clusterIP="None"), replicas=2, stateful=True)
    await trial.export(trial.first)
    for site in trial.clusters:
        for family in await trial.families(site):
            found = await trial.slice_of(site, family, both_named)
            cluster = found["metadata"]["labels"][SOURCE_CLUSTER]
            for endpoint in found["endpoints"]:
                await trial.resolves(site, f"{endpoint['hostname']}.{cluster}.{trial.host}", endpoint["addresses"])


def both_named(found: Json) -> bool:
    """Whether a slice has two endpoints, each ready and with a host name."""
    endpoints = found["endpoints"]
    ready = all(one.get("conditions", {}).get("ready", True) for one in endpoints)
    return len(endpoints) == 2 and ready and all(one.get("hostname") for one in endpoints)


@spec("O9")
async def test_srv_of_a_headless_service_is_one_record_for_each_endpoint(trial: Trial) -> None:
    """O9: the targets begin with the host name or, where there is none, with the address in dashes."""
    service = await trial.deploy(trial.first, hello_service(clusterIP="None"), replicas=2)
    await trial.export(trial.first)
    families = service["spec"]["ipFamilies"]
    addresses = [pod.address(family) for pod in trial.pods[trial.first.name] for family in families]
    for site in trial.clusters:
        records = await trial.answers(site, trial.host, "SRV", lambda found: len(found) == len(addresses))
        assert {one.port for one in records} == {42}
        targets = [one.target.to_text() for one in records]
        for address in addresses:
            label = address.replace(".", "-").replace(":", "-")
            assert any(target.startswith(f"{label}.") for target in targets), (label, targets)
        for target in targets:
            found = [code for kind in ("A", "AAAA") if (code := await site.ask(target, kind))[1]]
            assert found, f"{target} resolves to nothing"


NEEDS_PODS = "needs pods that answer; calls between real Envoys are tested in tests/envoy and e2e"


@spec("O10", skipped=NEEDS_PODS)
async def test_an_exported_service_is_accessible_through_dns(trial: Trial) -> None:
    """O10: from every cluster."""


@spec("O11", skipped=NEEDS_PODS)
async def test_only_the_exporting_cluster_is_accessed(trial: Trial) -> None:
    """O11: though the service is in both."""


@spec("O12")
async def test_a_port_of_the_same_name_is_backed_only_where_its_number_is_the_same(trial: Trial) -> None:
    """O12: tcp/42 and tcp/4242: the other cluster backs nothing, and has no endpoint in any cluster."""
    await trial.export_both(hello_service(ports=[{"name": "tcp", "port": 4242, "protocol": "TCP", "targetPort": 42}]))
    await trial.conflict()
    await backed_by(trial, {trial.first.name: {"tcp"}})


@spec("O13")
async def test_ports_of_other_names_are_each_backed_by_the_cluster_that_has_them(trial: Trial) -> None:
    """O13: tcp/42 by the first cluster, tcp2/4242 by the second."""
    await trial.export_both(hello_service(ports=[{"name": "tcp2", "port": 4242, "protocol": "TCP", "targetPort": 42}]))
    await trial.conflict()
    await backed_by(trial, {trial.first.name: {"tcp"}, trial.second.name: {"tcp2"}})


async def backed_by(trial: Trial, wanted: Mapping[str, set[str]]) -> None:
    """In every cluster exactly these clusters are endpoints of these TCP ports, and stay so."""
    for site in trial.clusters:
        await site.until(f"endpoints of {wanted}", lambda look: backing(trial, look) == wanted or None)
    await asyncio.gather(
        *(site.stays(f"endpoints of {wanted}", lambda look: backing(trial, look) == wanted) for site in trial.clusters)
    )


def backing(trial: Trial, look: Look) -> dict[str, set[str]]:
    """By source cluster, the names of the TCP ports that it has endpoints for."""
    found: dict[str, set[str]] = {}
    for one in trial.federated(look):
        names = {port["name"] for port in one.get("ports") or () if port["protocol"] == "TCP"}
        if one.get("endpoints") and names:
            found.setdefault(one["metadata"]["labels"][SOURCE_CLUSTER], set()).update(names)
    return found
