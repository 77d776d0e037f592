"""What the proxies count and log of calls: by cluster, service and path, equal to the calls that were made."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from gateway.telemetry import FAMILIES, NONE
from support.clusterset import NAMESPACE, Cluster, ClusterSet, Pod, Sidecar, all_ready, get, identity
from support.processes import eventually

pytestmark = [pytest.mark.envoy, pytest.mark.timeout(180)]

HTTP, TCP, PROXY, METRICS = 8080, 9000, 15002, 15020
PORTS = {"http": HTTP, "tcp": TCP}

Series = dict[str, dict[tuple[tuple[str, str], ...], float]]
"""Values by metric and labels."""


@dataclass(frozen=True)
class Sites:
    east: Cluster
    west: Cluster
    caller: Sidecar
    near: Pod
    far: Pod

    @property
    def here(self) -> str:
        return self.caller.address


@pytest.fixture(scope="module")
def sites(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sites]:
    """East calls: ``echo`` is in both clusters, ``only`` in west alone."""
    with ClusterSet(tmp_path_factory.mktemp("metrics")) as clusters:
        logged = {"accessLog": "all"}
        east, west = (clusters.add(name, "eu", telemetry=logged) for name in ("east", "west"))
        clusters.introduce()
        pods = {}
        for cluster in (east, west):
            address = cluster.host(11)
            pods[cluster.name] = cluster.pod(11, f"http:{HTTP}", f"tcp:{TCP}", metrics=f"{address}:{METRICS}")
            cluster.export("echo", PORTS, [address])
        west.export("only", {"http": 8090, "tcp": 9090}, [west.host(11)], targets=PORTS)
        here = east.host(21)
        outbound = [("echo", HTTP), ("echo", TCP), ("only", 8090), ("only", 9090)]
        caller = east.sidecar(
            "caller",
            here,
            "caller",
            metrics=f"{here}:{METRICS}",
            httpProxy=f"{here}:{PROXY}",
            outbound=[
                {"service": f"{NAMESPACE}/{name}", "port": port, "listen": f"{here}:{port}"} for name, port in outbound
            ],
        )
        for child in (east.controller, west.controller, east.gateway, west.gateway):
            child.start()
        for pod in pods.values():
            pod.start()
        caller.start()
        all_ready(east, west)
        for pod in pods.values():
            eventually(pod.sidecar.listening, "the server's sidecar listens")
        for port in (HTTP, 8090):
            eventually(lambda port=port: get(here, port)[0] == 200, f"the caller reaches {port}", seconds=60)
        eventually(lambda: tcp(here, 9090), "the caller reaches 9090 by TCP", seconds=60)
        yield Sites(east, west, caller, pods["east"], pods["west"])


def tcp(host: str, port: int) -> str:
    """What a TCP echo answers to one word; OSError where none does."""
    with socket.create_connection((host, port), 10) as connection:
        connection.sendall(b"word")
        connection.shutdown(socket.SHUT_WR)
        answer = b"".join(iter(lambda: connection.recv(4096), b"")).decode()
    if not answer.startswith("word"):
        raise OSError(f"answer {answer!r}")
    return answer


def scrape(host: str) -> Series:
    """All metrics that are served there."""
    status, body = get(host, METRICS, "/metrics")
    assert status == 200
    found: Series = {}
    for family in text_string_to_metric_families(body):
        for sample in family.samples:
            labels = tuple(sorted(sample.labels.items()))
            assert labels not in found.setdefault(sample.name, {}), f"{sample} twice"
            found[sample.name][labels] = sample.value
    return found


def value(series: Series, name: str, labels: Mapping[str, str]) -> float:
    """Sum of the series of one metric that have these labels."""
    wanted = set(labels.items())
    return sum(found for key, found in series.get(f"federation_{name}", {}).items() if wanted <= set(key))


def grown(host: str, before: Series, name: str, labels: Mapping[str, str], count: float) -> None:
    """Wait until a metric has grown by ``count``, and no further."""
    # Histograms of Envoy are merged every five seconds.
    eventually(
        lambda: value(scrape(host), name, labels) - value(before, name, labels) >= count,
        f"{name} {labels} grows by {count}",
        seconds=30,
    )
    assert value(scrape(host), name, labels) - value(before, name, labels) == count


def settled(sites: Sites) -> Series:
    """The caller's metrics with all calls so far: Envoy merges histograms every five seconds, one and all."""
    missed = {"destination_service": NONE, "response_code": "404"}
    name = "request_duration_milliseconds_count"
    before = value(scrape(sites.here), name, missed)
    assert get(sites.here, PROXY, "http://nobody.demo.svc.clusterset.local/")[0] == 404
    eventually(lambda: value(scrape(sites.here), name, missed) > before, "the last call is counted", seconds=30)
    return scrape(sites.here)


def service(cluster: str, name: str, port: int) -> dict[str, str]:
    return {
        "destination_cluster": cluster,
        "destination_namespace": NAMESPACE,
        "destination_service": name,
        "destination_port": str(port),
    }


def test_calls_are_counted_by_cluster_service_and_path(sites: Sites) -> None:
    """As many as were made, whichever listener took them: local at home, remote where only another cluster serves."""
    before = settled(sites)
    for _ in range(7):
        assert get(sites.here, HTTP)[0] == 200
    for _ in range(5):
        assert get(sites.here, 8090)[0] == 200
    for _ in range(3):
        assert get(sites.here, PROXY, "http://only.demo.svc.clusterset.local:8090/x?secret=1")[0] == 200
    base = {"source_cluster": "east", "response_code": "200"}
    name = "request_duration_milliseconds_count"
    grown(sites.here, before, name, base | service("east", "echo", HTTP) | {"path": "local"}, 7)
    grown(sites.here, before, name, base | service("west", "only", 8090) | {"path": "remote"}, 8)
    grown(sites.here, before, name, {"response_code": "200"}, 15)


def test_the_server_side_counts_by_the_verified_trust_domain(sites: Sites) -> None:
    """A server's sidecar and its gateway count what comes, whoever counts on the other side."""
    before, gateway = scrape(sites.far.sidecar.address), scrape(sites.west.host(1))
    for _ in range(4):
        assert get(sites.here, 8090)[0] == 200
    for _ in range(3):
        tcp(sites.here, 9090)
    called, answered = service("west", "only", 8090), {"source_trust_domain": "east.test", "response_code": "200"}
    calls = value(settled(sites), "request_duration_milliseconds_count", called | {"response_code": "200"})
    grown(sites.far.sidecar.address, {}, "inbound_request_duration_milliseconds_count", called | answered, calls)
    labels = service("west", "only", 9090) | {"source_trust_domain": "east.test", "response_flags": "-"}
    grown(sites.far.sidecar.address, before, "inbound_connections_total", labels, 3)
    grown(sites.west.host(1), gateway, "gateway_connections_total", service("west", "only", 9090), 3)


def test_bytes_are_counted(sites: Sites) -> None:
    """Of bodies by HTTP, of everything by TCP."""
    before = settled(sites)
    answers = [tcp(sites.here, 9090) for _ in range(2)]
    size = len(get(sites.here, 8090)[1])
    labels = {"source_cluster": "east", "path": "remote"} | service("west", "only", 9090)
    grown(sites.here, before, "connections_total", labels | {"response_flags": "-"}, 2)
    grown(sites.here, before, "connection_sent_bytes_total", labels, len("word") * 2)
    grown(sites.here, before, "connection_received_bytes_total", labels, sum(map(len, answers)))
    grown(sites.here, before, "response_bytes_total", labels | {"destination_port": "8090"}, size)


def test_a_call_past_the_nearest_cluster_is_a_failover(sites: Sites) -> None:
    """With the local endpoint dead, calls are answered by west, and every one of them counts as failover."""
    sites.near.kill()
    try:
        eventually(lambda: json.loads(get(sites.here, HTTP)[1])["app"] == "west-11", "west answers")
        before = settled(sites)
        for _ in range(6):
            assert json.loads(get(sites.here, HTTP)[1])["app"] == "west-11"
        labels = {"source_cluster": "east", "path": "failover", "response_code": "200"}
        grown(sites.here, before, "request_duration_milliseconds_count", labels | service("west", "echo", HTTP), 6)
    finally:
        sites.near.start()
    eventually(sites.near.sidecar.listening, "the server's sidecar listens")


def test_what_is_no_service_has_labels_too(sites: Sites) -> None:
    """A host that nobody exports is counted once, under the documented word, and nothing is ever unknown."""
    before = settled(sites)
    assert get(sites.here, PROXY, "http://nobody.demo.svc.clusterset.local/")[0] == 404
    nowhere = dict.fromkeys(
        ("destination_cluster", "destination_namespace", "destination_service", "destination_port", "path"), NONE
    )
    grown(sites.here, before, "request_duration_milliseconds_count", nowhere | {"response_code": "404"}, 1)
    for host in (sites.here, sites.near.sidecar.address, sites.far.sidecar.address, sites.west.host(1)):
        for name, series in scrape(host).items():
            for labels in series:
                for label, word in labels:
                    assert word not in ("", "unknown"), (host, name, label)


def test_what_is_exported_is_what_the_table_says(sites: Sites) -> None:
    """Every metric of ours that the proxies serve is of the table with these labels, and all of the table are."""
    exported: dict[str, set[frozenset[str]]] = {}
    for host in (sites.here, sites.far.sidecar.address, sites.west.host(1)):
        for name, series in scrape(host).items():
            if name.startswith("federation_") and not name.endswith(("_bucket", "_sum")):
                labels = {frozenset(label for label, _ in each) for each in series}
                exported.setdefault(name.removeprefix("federation_").removesuffix("_count"), set()).update(labels)
    assert exported == {family.name: {frozenset(family.labels)} for family in FAMILIES}


def test_nothing_else_is_served(sites: Sites) -> None:
    """The metrics' port leads to the metrics alone: no other page of Envoy's admin port, no other filter."""
    for path in ("/stats", "/metrics?filter=.", "/metrics/", "/quitquitquit", "/config_dump"):
        assert get(sites.here, METRICS, path)[0] == 404
    assert get(sites.here, METRICS, "/metrics", method="POST")[0] == 404


def log_lines(cluster: Cluster, part: str) -> list[dict[str, object]]:
    """The access log of a proxy whose state is in a directory of that name."""
    (log,) = [path for path in Path(cluster.directory / "state").rglob("envoy.log") if part in str(path)]
    return [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]


def test_a_call_is_logged_with_both_identities(sites: Sites) -> None:
    """By the caller's sidecar, the server's and the gateway between, without what the application sent."""
    assert get(sites.here, PROXY, "http://only.demo.svc.clusterset.local:8090/secret?token=hush")[0] == 200
    both = {"source_identity": identity("east", "caller"), "destination_identity": identity("west", "echo")}

    def logged(cluster: Cluster, part: str, wanted: Mapping[str, object]) -> bool:
        lines = log_lines(cluster, part)
        return any(wanted.items() <= line.items() for line in lines)

    target = service("west", "only", 8090)
    calls = {"response_code": 200, "response_flags": "-"} | both | target
    proxies: list[tuple[Cluster, str, dict[str, object]]] = [
        (sites.east, sites.here, {"reporter": "caller", "source_cluster": "east", "path": "remote"} | calls),
        (sites.west, sites.far.sidecar.address, {"reporter": "server"} | calls),
    ]
    for cluster, part, wanted in proxies:
        eventually(lambda c=cluster, p=part, w=wanted: logged(c, p, w), f"{part} logs the call", seconds=30)
        assert not re.search("hush|secret", json.dumps(log_lines(cluster, part)))
    tcp(sites.here, 9090)
    passed = {"reporter": "gateway", "sni": "s0.outbound_.9090_._.only.demo.svc.clusterset.local"}
    eventually(
        lambda: logged(sites.west, "/gateway/", passed | service("west", "only", 9090)), "the gateway logs", seconds=30
    )
