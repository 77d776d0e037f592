"""Rolling every gateway, sidecar and controller of three clusters under load, and draining: nothing is lost.

Each cluster has two gateways and two pods, which serve a service that only their cluster exports, and one that all do.
A caller in each cluster, an application with a sidecar of its own, calls the other clusters' services and the common
one by HTTP/1.1, gRPC and TCP.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from support.clusterset import (
    ADMIN_PORT,
    GATEWAY_PORT,
    INBOUND_PORT,
    Admin,
    Cluster,
    ClusterSet,
    Pod,
    Sidecar,
    all_ready,
    cli,
    get,
    port_name,
)
from support.load import until
from support.mixed_load import Caller, Ports, answers_reach, failures, mixed_load, report
from support.processes import Child, eventually, federation_command

pytestmark = [pytest.mark.envoy, pytest.mark.timeout(600)]

NAMES = {"us-east": "us", "us-west": "us", "eu-west": "eu"}
RATE = 300.0
"""Calls per second in all: what the set sustains on two cores beside its own processes."""
APP = Ports(8080, 8090, 9000)
COMMON = Ports(8180, 8280, 9180)
OWN = {name: Ports(8181 + n, 8281 + n, 9181 + n) for n, name in enumerate(NAMES)}
BETWEEN = 60
"""Calls between one restart and the next."""


@dataclass(frozen=True)
class Site:
    cluster: Cluster
    gateways: tuple[Child, Child]
    pods: tuple[Pod, Pod]
    sidecar: Sidecar
    """Of the caller."""
    caller: Caller


@dataclass(frozen=True)
class Sites:
    set: ClusterSet
    by_name: dict[str, Site]

    @property
    def callers(self) -> dict[str, Caller]:
        return {name: site.caller for name, site in self.by_name.items()}


def own(name: str) -> str:
    return f"own-{name}"


@pytest.fixture
def sites(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sites]:
    """Three clusters that call one another."""
    with ClusterSet(tmp_path_factory.mktemp("rolling")) as clusters:
        found = {name: _site(clusters, name, region) for name, region in NAMES.items()}
        clusters.introduce()
        for site in found.values():
            site.cluster.controller.start()
            for gateway in site.gateways:
                gateway.start()
            for pod in site.pods:
                pod.start()
            site.sidecar.start()
        all_ready(*clusters.clusters.values())
        for site in found.values():
            for ports in (COMMON, *(ports for name, ports in OWN.items() if name != site.cluster.name)):
                eventually(
                    lambda site=site, ports=ports: get(site.caller.host, ports.http)[0] == 200,
                    f"{site.cluster.name} calls",
                    seconds=60,
                )
        yield Sites(clusters, found)


def _site(clusters: ClusterSet, name: str, region: str) -> Site:
    cluster = clusters.add(name, region)
    hosts = [cluster.host(1), cluster.host(2)]
    cluster.settings["gateway"]["addresses"] = [f"{host}:{GATEWAY_PORT}" for host in hosts]
    second = Child(
        f"{name} gateway 2",
        federation_command(
            *("gateway", "--dir", str(cluster.directory)),
            *("--listen", f"{hosts[1]}:{GATEWAY_PORT}", "--admin", f"{hosts[1]}:{ADMIN_PORT}"),
        ),
        clusters.directory / f"{name}-gateway-2.log",
    )
    cluster.children.append(second)
    served = (f"http:{APP.http}", f"grpc:{APP.grpc}", f"tcp:{APP.tcp}")
    pods = (cluster.pod(11, *served), cluster.pod(12, *served))
    addresses = [pod.sidecar.address for pod in pods]
    targets = {"http": APP.http, "grpc": APP.grpc, "tcp": APP.tcp}
    for service, ports in (("echo", COMMON), (own(name), OWN[name])):
        told = {"http": ports.http, "grpc": ports.grpc, "tcp": ports.tcp}
        cluster.export(service, told, addresses, targets=targets)
    called = {"echo": COMMON} | {own(other): ports for other, ports in OWN.items() if other != name}
    host = cluster.host(21)
    outbound = [
        {"service": f"demo/{service}", "port": port, "listen": f"{host}:{port}"}
        for service, ports in called.items()
        for port in (ports.http, ports.grpc, ports.tcp)
    ]
    sidecar = cluster.sidecar("caller", host, "caller", outbound=outbound)
    return Site(cluster, (cluster.gateway, second), pods, sidecar, Caller(host, called, RATE / len(NAMES)))


async def _restart(child: Child, serves: Callable[[], object], load: dict[str, Caller]) -> None:
    """As an upgrade does it: SIGTERM, wait for the end, start; then calls go on for a while."""
    print("restarting", child.name)
    code = await asyncio.to_thread(child.terminate, 60.0)
    assert code == 0, child.words()
    child.start()
    await until(serves, f"{child.name} serves", seconds=60)
    await answers_reach(load, BETWEEN)


async def test_nothing_is_lost_while_everything_is_restarted(sites: Sites) -> None:
    """One process after another: every gateway, every sidecar, every controller, and no call fails."""
    load = sites.callers
    async with mixed_load(load):
        await answers_reach(load, 2 * BETWEEN)
        for site in sites.by_name.values():
            for gateway, host in zip(site.gateways, (1, 2), strict=True):
                address = f"{site.cluster.host(host)}:{GATEWAY_PORT}"
                await _restart(gateway, lambda site=site, address=address: _serves(site.cluster, address), load)
                assert failures(load) == [], gateway.words()
        for site in sites.by_name.values():
            for pod in site.pods:
                inbound = f"{pod.sidecar.address}:{INBOUND_PORT}"
                await _restart(
                    pod.sidecar.child, lambda site=site, inbound=inbound: _is_back(site.cluster, inbound), load
                )
                assert failures(load) == [], pod.sidecar.child.words()
        for site in sites.by_name.values():
            # A caller's sidecar ends after its application, as in a pod.
            await site.caller.pause()
            rest = {name: caller for name, caller in load.items() if caller is not site.caller}
            ready = Admin(site.sidecar.address)
            await _restart(
                site.sidecar.child, lambda ready=ready: get(ready.host, ready.port, "/ready")[0] == 200, rest
            )
            site.caller.go_on()
        for site in sites.by_name.values():
            await _restart(site.cluster.controller, site.cluster.ready, load)
        await answers_reach(load, 5 * BETWEEN)
    report(f"everything restarted at {RATE:g} calls/s", load)
    assert failures(load) == []


def _serves(cluster: Cluster, address: str) -> bool:
    """Whether the others call a gateway again: it said so, and they have acknowledged it."""
    found = cluster.drains()
    gateway = next(one for one in found["gateways"] if one["address"] == address)
    return not gateway["leaving"] and found["published"] and not found["waitingFor"]


def _answers(admin: Admin) -> bool:
    return get(admin.host, admin.port, "/ready")[0] == 200


def _is_back(cluster: Cluster, inbound: str) -> bool:
    """Whether a sidecar is called again by its own cluster's Envoys."""
    found = cluster.drains()
    return inbound not in found["leavingWorkloads"] and found["settled"]


async def test_a_cluster_is_drained_little_by_little_and_brought_back(sites: Sites) -> None:
    """Its part of the common service's calls goes down and ends, no call fails, and it is the same after an undo."""
    west = sites.by_name["us-west"]
    load = {"us-east": Caller(sites.callers["us-east"].host, {"echo": COMMON}, RATE / len(NAMES))}
    # us-east has no pods of its own, so that its calls go to us-west, which is nearer than eu-west.
    _without_pods(sites.by_name["us-east"])
    async with mixed_load(load):
        await until(lambda: _called(sites, "us-east") == {"us-west"}, "us-east calls us-west")
        drain = asyncio.create_task(_command("drain", "us-west", "--over", "10s", "--force", cluster=west.cluster))
        seen: set[int] = set()
        while not drain.done():
            seen.add((await asyncio.to_thread(west.cluster.drains))["drain"]["share"])
            await asyncio.sleep(0.1)
        told = await drain
        assert len(seen) >= 8, seen
        assert told.returncode == 0, told.stderr
        assert "acknowledged by 2 of 2" in told.stdout
        assert _called(sites, "us-east") == {"eu-west"}
        # A restart of the controller brings nothing back.
        await _restart(west.cluster.controller, west.cluster.ready, load)
        assert west.cluster.drains()["drain"]["share"] == 0
        assert _called(sites, "us-east") == {"eu-west"}
        back = await _command("undrain", "us-west", "-o", "json", cluster=west.cluster)
        assert (back.returncode, json.loads(back.stdout)["drain"]["share"]) == (0, 100)
        await until(lambda: _called(sites, "us-east") == {"us-west"}, "us-east calls us-west again")
    report("a cluster drained and brought back", load)
    assert failures(load) == []


async def test_a_drain_is_refused_where_nobody_else_serves_and_names_who_does_not_answer(sites: Sites) -> None:
    """Without --force a service of this cluster alone stops it; a peer that is dead is named, and not waited for."""
    west, europe = sites.by_name["us-west"], sites.by_name["eu-west"]
    refused = await _command("drain", "us-west", cluster=west.cluster)
    assert (refused.returncode, "nobody else serves demo/own-us-west" in refused.stderr) == (1, True)
    other = await _command("drain", "eu-west", cluster=west.cluster)
    assert (other.returncode, "eu-west is another cluster" in other.stderr) == (1, True)
    europe.cluster.controller.kill()
    await until(lambda: west.cluster.peer("eu-west")["state"] == "Blind", "eu-west is blind")
    late = await _command("drain", west.cluster.host(2), "--timeout", "2", cluster=west.cluster)
    assert (late.returncode, "not heard: eu-west" in late.stderr) == (1, True)
    for gateway in europe.gateways:
        gateway.kill()
    await until(lambda: west.cluster.peer("eu-west")["state"] == "Dead", "eu-west is dead", seconds=60)
    done = await _command("drain", west.cluster.host(2), cluster=west.cluster)
    assert (done.returncode, "dead, and not waited for: eu-west" in done.stdout) == (0, True)


def _without_pods(site: Site) -> None:
    told = {"http": COMMON.http, "grpc": COMMON.grpc, "tcp": COMMON.tcp}
    site.cluster.export("echo", told, [], targets={"http": APP.http, "grpc": APP.grpc, "tcp": APP.tcp})


def _called(sites: Sites, caller: str) -> set[str]:
    """The clusters that a caller's Envoy calls first by the common service."""
    found = sites.by_name[caller].sidecar.admin.read("/clusters?format=json")["cluster_statuses"]
    hosts = next(one.get("host_statuses", ()) for one in found if one["name"] == port_name("echo", COMMON.http))
    return {host["locality"]["sub_zone"] for host in hosts if host.get("priority", 0) == 0}


async def _command(name: str, *arguments: str, cluster: Cluster) -> subprocess.CompletedProcess[str]:
    return await asyncio.to_thread(cli, name, *arguments, "--dir", str(cluster.directory))
