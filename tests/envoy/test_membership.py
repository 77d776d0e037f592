"""Joining and leaving as a user does it, with real calls: how soon a new member is called, and a former one is gone."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.clusterset import Admin, Cluster, ClusterSet, Pod, all_ready, cli, get, port_name
from support.processes import eventually

pytestmark = [pytest.mark.envoy, pytest.mark.timeout(180)]

GONE_SECONDS = 10.0
"""From the command's end to being gone everywhere."""
JOINED_SECONDS = 60.0
"""From the token to the first call: two commands and a controller start meanwhile, on a machine that may be busy;
``bench/membership.py`` says how long it takes on a quiet one."""
PORT = 8080


@pytest.fixture
def clusters(tmp_path: Path) -> Iterator[ClusterSet]:
    """us-east, which has the authority, and eu-west, both running with a pod that calls and serves nothing."""
    with ClusterSet(tmp_path) as clusters:
        for name, region in (("us-east", "us"), ("eu-west", "eu")):
            clusters.add(name, region)
        clusters.introduce()
        for cluster in clusters.clusters.values():
            caller(cluster).start()
            cluster.controller.start()
            cluster.gateway.start()
        all_ready(*clusters.clusters.values())
        yield clusters


def caller(cluster: Cluster) -> Pod:
    """A pod whose sidecar leads to the newcomer's service."""
    outbound = [{"service": "demo/news", "port": PORT, "listen": f"{cluster.host(21)}:{PORT}"}]
    return cluster.pod(21, account="caller", outbound=outbound)


def newcomer(clusters: ClusterSet) -> tuple[Cluster, Pod]:
    """us-west with a service, its settings and manifests written, and nothing started."""
    cluster = clusters.add("us-west", "us")
    pod = cluster.pod(11, f"http:{PORT}", account="echo")
    cluster.export("news", {"http": PORT}, [cluster.host(11)])
    cluster.write_settings()
    return cluster, pod


def command(*arguments: str) -> str:
    """What a command prints, which must not fail."""
    done = cli(*arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


def join(clusters: ClusterSet, cluster: Cluster) -> None:
    seat = clusters.clusters["us-east"].directory
    token = command("token", "create", "--dir", str(seat), "--cluster", cluster.name)
    command("join", "--dir", str(cluster.directory), "--token", token.strip())


def answers(cluster: Cluster) -> bool:
    return get(cluster.host(21), PORT)[0] == 200


def others(clusters: ClusterSet) -> list[Cluster]:
    return [clusters.clusters["us-east"], clusters.clusters["eu-west"]]


def forgotten(clusters: ClusterSet, cluster: Cluster) -> None:
    """Wait until no other member has anything of a cluster: in its report, its services, its Envoy, on its disk."""
    deadline = time.monotonic() + GONE_SECONDS
    for other in others(clusters):

        def no_trace(other: Cluster = other) -> bool:
            reported = [peer["cluster"] for peer in other.status()["peers"]]
            replica = other.directory / "state" / "replicas" / f"{cluster.name}.replica"
            hosts = Admin(other.host(21)).hosts(port_name("news", PORT))
            return cluster.name not in reported and not other.services() and not hosts and not replica.exists()

        eventually(no_trace, f"{other.name} has no trace of {cluster.name}", seconds=deadline - time.monotonic())


def test_join_and_leave(clusters: ClusterSet) -> None:
    """With a token a new cluster is called by all the others, which trust it; ten seconds after it has left, nobody has
    a trace of it, and it can come back with another token."""
    cluster, pod = newcomer(clusters)
    # Its Envoys are there, and wait for a controller.
    pod.start()
    cluster.gateway.start()
    join(clusters, cluster)
    cluster.controller.start()
    for other in others(clusters):
        eventually(lambda at=other: answers(at), f"{other.name} calls us-west", seconds=JOINED_SECONDS)

    command("leave", "--dir", str(cluster.directory))
    forgotten(clusters, cluster)
    cluster.controller.terminate()

    join(clusters, cluster)
    cluster.controller.start()
    for other in others(clusters):
        eventually(lambda at=other: answers(at), f"{other.name} calls us-west again")


def test_a_dead_cluster_is_evicted(clusters: ClusterSet) -> None:
    """Ten seconds after a cluster that was killed is evicted, nobody has a trace of it, nor takes it back."""
    cluster, pod = newcomer(clusters)
    join(clusters, cluster)
    for child in (cluster.controller, cluster.gateway, pod):
        child.start()
    for other in others(clusters):
        eventually(lambda at=other: answers(at), f"{other.name} calls us-west")
    for child in (cluster.controller, cluster.gateway, pod):
        child.kill()
    command("evict", "us-west", "--dir", str(clusters.clusters["us-east"].directory))
    forgotten(clusters, cluster)

    cluster.controller.start()
    eventually(lambda: not cluster.ready() or not cluster.status()["peers"], "what was evicted has no peers any more")
    assert all(other.status()["peers"][0]["cluster"] != "us-west" for other in others(clusters))
