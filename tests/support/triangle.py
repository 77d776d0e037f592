"""Three clusters that all call one another: one pod each, whose sidecar takes calls and makes them.

Every cluster exports ``echo``, which stays at home while it can, and a service of its own, which the other two call.
us-east and us-west are of one region, eu-west of another.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from federation.model.addresses import HostPort
from support.clusterset import Cluster, ClusterSet, Pod, all_ready, get, port_name
from support.processes import eventually

NAMES = {"us-east": "us", "us-west": "us", "eu-west": "eu"}
"""The clusters and their regions."""
APP, TCP_APP, ECHO = 8080, 9000, 8180
OWN = {name: 8181 + number for number, name in enumerate(NAMES)}
"""HTTP ports of the services that one cluster alone exports."""
OWN_TCP = {name: 9181 + number for number, name in enumerate(NAMES)}
"""TCP ports of the same services."""


def own_service(name: str) -> str:
    return f"own-{name}"


@dataclass(frozen=True)
class Site:
    """One of the clusters with its pod."""

    cluster: Cluster
    pod: Pod

    @property
    def name(self) -> str:
        return self.cluster.name

    @property
    def caller(self) -> str:
        """Where the pod's sidecar takes its application's calls."""
        return self.cluster.host(21)

    def url(self, port: int) -> str:
        return f"http://{self.caller}:{port}/"

    def call(self, port: int) -> str:
        """The name of the application that answers; ValueError where none does."""
        status, text = get(self.caller, port)
        if status != 200:
            raise ValueError(f"{status} {text[:100]}")
        return str(json.loads(text)["app"])

    def endpoints(self) -> dict[str, set[str]]:
        """What the pod's Envoy has of each service, whatever it thinks of its health."""
        ports = {"echo": ECHO} | {own_service(name): port for name, port in OWN.items() if name != self.name}
        return {name: set(self.pod.sidecar.admin.hosts(port_name(name, port))) for name, port in ports.items()}

    def all_live(self) -> bool:
        peers = self.cluster.status()["peers"]
        return len(peers) == len(NAMES) - 1 and all(peer["state"] == "Live" and peer["trusted"] for peer in peers)


@dataclass(frozen=True)
class Triangle:
    """The three sites."""

    set: ClusterSet
    sites: dict[str, Site]

    def targets(self, rate: float) -> dict[str, float]:
        """Where to call, so that all is ``rate`` calls per second: two in five at home, the others across."""
        found = {}
        for site in self.sites.values():
            found[site.url(ECHO)] = rate / 3 * 0.4
            found |= {site.url(port): rate / 3 * 0.3 for name, port in OWN.items() if name != site.name}
        return found

    def connections(self, rate: float) -> dict[HostPort, float]:
        """Where to connect by TCP, across clusters, so that all is ``rate`` connections per second."""
        return {
            HostPort(site.caller, port): rate / 6
            for site in self.sites.values()
            for name, port in OWN_TCP.items()
            if name != site.name
        }

    def crosses(self) -> bool:
        """Whether every cluster's calls of both others are answered by them."""
        return all(
            site.call(port).startswith(name)
            for site in self.sites.values()
            for name, port in OWN.items()
            if name != site.name
        )

    def endpoints(self) -> dict[str, dict[str, set[str]]]:
        return {name: site.endpoints() for name, site in self.sites.items()}

    def restore(self) -> None:
        """Start and thaw what a test left behind, and wait until all call all again."""
        self.set.revive(*(site.pod for site in self.sites.values()))
        for site in self.sites.values():
            eventually(site.all_live, f"{site.name} finds all live")
        eventually(self.crosses, "all clusters call one another", seconds=60)


@contextmanager
def three_clusters(directory: Path, **settings: Any) -> Iterator[Triangle]:
    """The clusters, serving; ``settings``: more keys of every cluster.yaml."""
    with ClusterSet(directory) as clusters:
        sites: dict[str, Site] = {}
        for name, region in NAMES.items():
            cluster = clusters.add(name, region, **settings)
            outbound = [{"service": "demo/echo", "port": ECHO, "listen": f"{cluster.host(21)}:{ECHO}"}]
            outbound += [
                {"service": f"demo/{own_service(other)}", "port": port, "listen": f"{cluster.host(21)}:{port}"}
                for ports in (OWN, OWN_TCP)
                for other, port in ports.items()
                if other != name
            ]
            pod = cluster.pod(11, f"http:{APP}", f"tcp:{TCP_APP}", outbound=outbound)
            hosts, targets = [pod.sidecar.address], {"http": APP, "tcp": TCP_APP}
            cluster.export("echo", {"http": ECHO}, hosts, targets={"http": APP})
            cluster.export(own_service(name), {"http": OWN[name], "tcp": OWN_TCP[name]}, hosts, targets=targets)
            sites[name] = Site(cluster, pod)
        clusters.introduce()
        for site in sites.values():
            site.cluster.controller.start()
            site.cluster.gateway.start()
            site.pod.start()
        all_ready(*clusters.clusters.values())
        yield Triangle(clusters, sites)
