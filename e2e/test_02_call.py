"""Story 2: echo, which west and north export, is called from east by one name."""

from __future__ import annotations

import pytest

from e2e.clusterset import CLUSTERS, ClusterSet, until

RESOLVE = "import socket, sys; print(socket.getaddrinfo(sys.argv[1], 8080, socket.AF_INET)[0][4][0])"
FQDN = "echo.demo.svc.clusterset.local"


def test_exports_are_accepted(clusterset: ClusterSet) -> None:
    """Where they are, the status of the ServiceExport says so."""
    for cluster in ("west", "north"):
        export = clusterset.get(cluster, "serviceexport", "echo", "--namespace", "demo")
        conditions = {one["type"]: one["status"] for one in export["status"]["conditions"]}
        assert conditions["Valid"] == "True"
        assert conditions.get("Conflict", "False") == "False"


@pytest.mark.parametrize("cluster", CLUSTERS)
def test_every_cluster_with_the_namespace_has_the_import(clusterset: ClusterSet, cluster: str) -> None:
    """With both exporters, an address and the port."""

    def imported() -> bool:
        found = clusterset.get(cluster, "serviceimport", "echo", "--namespace", "demo")
        exporters = {one["cluster"] for one in found.get("status", {}).get("clusters", [])}
        ports = [one["port"] for one in found["spec"]["ports"]]
        return exporters == {"west", "north"} and bool(found["spec"].get("ips")) and ports == [8080]

    until(imported, f"ServiceImport demo/echo in {cluster}")


def test_the_name_is_the_clusterset_ip(clusterset: ClusterSet) -> None:
    """CoreDNS asks our DNS; the caller sees an address of its own cluster."""
    found = clusterset.get("east", "serviceimport", "echo", "--namespace", "demo")
    until(lambda: clusterset.in_caller(RESOLVE, FQDN).strip() in found["spec"]["ips"], "the name in the caller's pod")


def test_the_nearest_cluster_answers(clusterset: ClusterSet) -> None:
    """West is in east's region, north is not; nothing fails."""
    with clusterset.calls() as calls:
        until(lambda: calls.total >= 200, "200 calls")
    assert calls.counts.keys() == {"west"}
