"""What callers notice of servers that are neither well nor dead: no GET fails, and none waits for long.

us-east calls, eu-west serves with two pods, of which one is well and the other fails every tenth call, takes 500 ms
longer, or is a host whose kernel drops what would connect to it.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from support.clusterset import INBOUND_PORT, Cluster, ClusterSet, Pod, Sidecar, all_ready, get, port_name
from support.load import calls_reach, failures, percentile, report, steady_load, until
from support.processes import eventually

pytestmark = [pytest.mark.envoy, pytest.mark.timeout(120)]

FAILING, LATE, DROPPED = 8080, 8081, 8082
PORTS = {"failing": FAILING, "late": LATE, "dropped": DROPPED}
RATE = 200.0
"""Calls per second."""
CALLS = 1000
SLOWEST = 1.0
"""Seconds that 99 in 100 calls take at most."""


@dataclass(frozen=True)
class Sites:
    west: Cluster
    caller: Sidecar
    pods: tuple[Pod, Pod]

    def url(self, port: int) -> str:
        return f"http://{self.caller.address}:{port}/"

    def retries(self, service: str) -> int:
        """Retries and hedges of the caller."""
        name = port_name(service, PORTS[service]).replace(".", r"\.")
        return self.caller.admin.counter(rf"cluster\.{name}\.upstream_rq_retry")


@pytest.fixture(scope="module")
def sites(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sites]:
    """Two clusters; each service has one pod that is well and one that is not."""
    with ClusterSet(tmp_path_factory.mktemp("brown")) as clusters:
        east, west = clusters.add("us-east", "us"), clusters.add("eu-west", "eu")
        clusters.introduce()
        well = west.pod(11, f"http:{FAILING}", f"http:{LATE}", f"http:{DROPPED}")
        unwell = west.pod(12, f"failing:{FAILING}", f"late:{LATE}", f"http:{DROPPED}")
        for name, port in PORTS.items():
            hosts = [well.sidecar.address] if name == "dropped" else [well.sidecar.address, unwell.sidecar.address]
            west.export(name, {"http": port}, hosts)
        here = east.host(21)
        outbound = [
            {"service": f"demo/{name}", "port": port, "listen": f"{here}:{port}"} for name, port in PORTS.items()
        ]
        caller = east.sidecar("caller", here, "caller", outbound=outbound)
        for child in (east.controller, west.controller, west.gateway):
            child.start()
        for pod in (well, unwell):
            pod.start()
        # A call before would have the shard of a pod that isn't there yet connected to the other one, and stay so.
        for pod in (well, unwell):
            eventually(pod.sidecar.listening, f"{pod.sidecar.address} listens")
        caller.start()
        all_ready(east, west)
        for port in PORTS.values():
            eventually(lambda port=port: get(here, port)[0] == 200, "eu-west answers")
        yield Sites(west, caller, (well, unwell))


async def test_one_answer_in_ten_that_is_an_error_costs_no_get(sites: Sites) -> None:
    """Every tenth answer of one of two pods is a 503."""
    url, before = sites.url(FAILING), sites.retries("failing")
    async with steady_load({url: RATE}) as outcomes:
        await calls_reach(outcomes[url], CALLS)
    report("one error in ten", outcomes)
    assert failures(outcomes) == {}
    assert percentile(outcomes[url], 0.99) <= SLOWEST
    # It did fail, and was called all the while.
    assert sites.retries("failing") > before
    assert outcomes[url].answered_by("eu-west-12") > CALLS / 20


async def test_half_a_second_more_costs_no_get(sites: Sites) -> None:
    """One of two pods takes 500 ms longer: fewer calls go there, and it is not taken for dead."""
    url = sites.url(LATE)
    async with steady_load({url: RATE}) as outcomes:
        await calls_reach(outcomes[url], CALLS)
    report("500 ms more", outcomes)
    assert failures(outcomes) == {}
    assert percentile(outcomes[url], 0.99) <= SLOWEST
    assert 0 < outcomes[url].answered_by("eu-west-12") < outcomes[url].answered_by("eu-west-11")
    assert list(sites.caller.admin.hosts(port_name("late", LATE)).values()) == [True] * 2


async def test_a_host_that_drops_what_would_connect_costs_no_get(sites: Sites) -> None:
    """An endpoint appears where nothing answers, not even the kernel: connecting to it takes until it is given up."""
    url, host = sites.url(DROPPED), sites.west.host(13)
    with _dropping(host, INBOUND_PORT):
        async with steady_load({url: RATE}) as outcomes:
            await calls_reach(outcomes[url], 50)
            sites.west.export("dropped", {"http": DROPPED}, [sites.pods[0].sidecar.address, host])
            await until(
                lambda: len(sites.caller.admin.hosts(port_name("dropped", DROPPED))) == 2, "there are two endpoints"
            )
            await calls_reach(outcomes[url], CALLS)
            admin = sites.west.gateway_admin
            assert await asyncio.to_thread(admin.counter, r".*dropped.*upstream_cx_connect_fail") > 0
    report("dropped connections", outcomes)
    assert failures(outcomes) == {}
    assert percentile(outcomes[url], 0.99) <= SLOWEST


@contextlib.contextmanager
def _dropping(host: str, port: int) -> Iterator[None]:
    """An address whose kernel drops every SYN: a socket listens there, accepts nothing, and its queue is full."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind((host, port))
        listener.listen(0)
        while True:
            filler = stack.enter_context(socket.socket())
            filler.settimeout(0.3)
            try:
                filler.connect((host, port))
            except TimeoutError:
                break
        yield
