"""5,000 services in the directory of one cluster: what another cluster's controller and Envoys have to do with them."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from gateway.nodes import SidecarNode, node_metadata
from gateway.xds import protos as pb
from support.clusterset import INBOUND_PORT, Cluster, ClusterSet, Sidecar, all_ready, get, port_name
from support.delta_client import DeltaClient
from support.manifests import Document, exported_service
from support.processes import eventually

pytestmark = [pytest.mark.envoy, pytest.mark.timeout(180)]

SERVICES = 5_000
PER_FILE = 100
PORT = 8080
METRICS, PROXY = 15020, 15002
POD = "127.0.0.9"


@dataclass(frozen=True)
class Sites:
    big: Cluster
    """Exports all of them; nothing of it runs but the controller."""
    small: Cluster
    caller: Sidecar
    cold_start_seconds: float


def service(number: int, endpoints: int = 1) -> tuple[Document, ...]:
    hosts = [f"{POD}{count}" for count in range(endpoints)]
    return exported_service("demo", f"s{number}", {"http": PORT}, hosts)


def file_of(number: int) -> str:
    return f"services-{number // PER_FILE}.json"


@pytest.fixture(scope="module")
def sites(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sites]:
    """The small cluster's controller starts where all is published already."""
    with ClusterSet(tmp_path_factory.mktemp("scale")) as clusters:
        big, small = clusters.add("big", "eu"), clusters.add("small", "eu")
        clusters.introduce()
        for first in range(0, SERVICES, PER_FILE):
            write_file(big, first)
        here = small.host(21)
        caller = small.sidecar("caller", here, "caller", metrics=f"{here}:{METRICS}", httpProxy=f"{here}:{PROXY}")
        big.controller.start()
        eventually(lambda: big.metric("exported_services") == SERVICES, "all are exported", seconds=60)
        eventually(lambda: big.metric("publications_total") > 0, "all are published", seconds=60)
        started = time.monotonic()
        small.controller.start()
        eventually(lambda: in_sync(small), "the other cluster is in sync", seconds=60)
        cold_start = time.monotonic() - started
        caller.start()
        all_ready(big, small)
        eventually(lambda: knows_all(caller), "the Envoy has all of them", seconds=90)
        yield Sites(big, small, caller, cold_start)


def write_file(cluster: Cluster, number: int, **endpoints: int) -> None:
    """Write the file that holds a service; ``endpoints`` are counts other than 1, by service name."""
    first = number // PER_FILE * PER_FILE
    documents = (
        document for each in range(first, first + PER_FILE) for document in service(each, endpoints.get(f"s{each}", 1))
    )
    cluster.write(file_of(number), *documents)


def in_sync(cluster: Cluster) -> bool:
    return cluster.ready() and cluster.metric("imported_services") == SERVICES


def knows_all(sidecar: Sidecar) -> bool:
    return sidecar.admin.counter(r"cluster_manager\.active_clusters") >= SERVICES


def sent(cluster: Cluster, kind: str) -> float:
    return cluster.metric("xds_resources_sent_total", type=kind)


def test_a_cold_start_knows_all_services(sites: Sites) -> None:
    """Another cluster's controller imports them all; how long it took is printed, not judged."""
    print(f"{SERVICES} services: in sync {sites.cold_start_seconds:.1f} s after the start")
    assert sites.small.metric("imported_services") == SERVICES
    assert sent(sites.small, "Cluster") >= SERVICES


def test_one_changed_endpoint_sends_one_resource_to_an_envoy(sites: Sites) -> None:
    """One service gets a second endpoint: one ClusterLoadAssignment goes to the connected Envoy, and nothing else."""
    kinds = ("ClusterLoadAssignment", "Cluster", "Listener", "RouteConfiguration", "Secret")
    before = [sent(sites.small, kind) for kind in kinds]
    write_file(sites.big, 1234, s1234=2)
    eventually(lambda: sent(sites.small, kinds[0]) > before[0], "the change arrives")
    # One more change, after whose arrival nothing of the first can be on its way any more.
    write_file(sites.big, 4321, s4321=2)
    eventually(lambda: sent(sites.small, kinds[0]) > before[0] + 1, "the next change arrives")
    after = [sent(sites.small, kind) for kind in kinds]
    assert [now - then for now, then in zip(after, before, strict=True)] == [2, 0, 0, 0, 0]


async def test_one_changed_endpoint_sends_one_resource_to_a_client(sites: Sites) -> None:
    """The same, seen by a client of the protocol: the name of what came is that of the changed service."""
    async with DeltaClient(
        f"unix:{sites.small.directory / 'state' / 'xds.sock'}",
        node="sidecar~counting",
        token=sites.small.token("demo.caller"),
        metadata=node_metadata(SidecarNode("127.0.0.1", INBOUND_PORT)),
    ) as client:
        await client.subscribe(pb.ENDPOINT, *(port_name(f"s{number}", PORT) for number in range(SERVICES)))
        await client.wait_for(lambda client: len(client.sent(pb.ENDPOINT)) == SERVICES)
        write_file(sites.big, 77, s77=3)
        await client.accept()
        assert client.sent(pb.ENDPOINT)[SERVICES:] == [port_name("s77", PORT)]


def test_metrics_are_of_the_services_that_are_called(sites: Sites) -> None:
    """Three of thousands: as many have series, and a scrape is small."""
    here = sites.caller.address
    for number in (1, 2, 3):
        # No gateway of theirs runs; a call that fails is one too.
        assert get(here, PROXY, f"http://s{number}.demo.svc.clusterset.local:{PORT}/")[0] == 503

    def scraped() -> str:
        status, body = get(here, METRICS, "/metrics")
        assert status == 200
        return body

    called = r'request_duration_milliseconds_count{.*destination_service="(s[0-9]+)"'
    eventually(lambda: len(re.findall(called, scraped())) == 3, "three are counted", seconds=30)
    body = scraped()
    assert set(re.findall(r'destination_service="(\w+)"', body)) == {"s1", "s2", "s3"}
    assert len(body) < 60_000
