"""Latency of DNS answers, their rate, and the memory of the zone, with many services.

    python -m bench.dns [SERVICES]

Three measurements: the answer alone (bytes in, bytes out, no socket; CPU time), a client that asks one question after
the other over UDP and TCP, and one that asks at a steady pace while services change, each change in the server's own
loop. One service in ten is headless, with ten endpoints. A host that is busy otherwise shows in the times by the clock.
"""

from __future__ import annotations

import asyncio
import gc
import random
import socket
import sys
import time
import tracemalloc
from ipaddress import IPv4Address, IPv4Network

import dns.message

from controllers.dns.answers import answer
from controllers.dns.server import DnsServer, Limits
from controllers.dns.zone import Zone
from controllers.projection import ServiceResult
from federation.app.clock import monotonic, utc_now
from federation.model.addresses import HostPort
from federation.model.export import Exported
from federation.model.merge import merge_service
from federation.model.names import ClusterId, ServiceKey
from federation.model.records import EndpointAddress, EndpointsRecord, ExportRecord, ImportType
from federation.model.state import Protocol, ServicePort
from federation.model.vips import assign_vips

EAST, WEST = ClusterId("east"), ClusterId("west")
QUESTIONS = 20_000
HOST = "127.0.0.1"

Results = dict[ServiceKey, ServiceResult]


def result(number: int, change: int = 0) -> ServiceResult:
    """One service, exported by two clusters."""
    key = ServiceKey(f"team-{number % 100}", f"service-{number}")
    headless = number % 10 == 0
    export = ExportRecord(
        key,
        utc_now(),
        ImportType.HEADLESS if headless else ImportType.CLUSTER_SET_IP,
        (ServicePort("http", Protocol.TCP, 80 + change), ServicePort("grpc", Protocol.TCP, 9000)),
    )
    addresses = tuple(EndpointAddress((str(IPv4Address(0x0A000000 + number * 10 + each)),)) for each in range(5))
    endpoints = EndpointsRecord(key, (), addresses if headless else ())
    merged = merge_service(key, {EAST: (export, endpoints), WEST: (export, endpoints)})
    return ServiceResult(Exported(), merged, (), (), ((EAST,), (WEST,)) if headless else ())


def build(services: int) -> tuple[Zone, Results, dict[ServiceKey, IPv4Address]]:
    results = {found.merged.key: found for number in range(services) if (found := result(number)).merged}
    vips = assign_vips({}, results, IPv4Network("240.96.0.0/12"))
    zone = Zone()
    gc.collect()
    tracemalloc.start()
    zone.update(results, results, vips, 1)
    gc.collect()
    held = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    fresh = Zone()
    began = time.perf_counter()
    fresh.update(results, results, vips, 1)
    passed = time.perf_counter() - began
    print(f"zone of {services} services: {held / 1e6:.1f} MB, built in {passed * 1000:.0f} ms")
    return zone, results, vips


def questions(results: Results, count: int) -> list[bytes]:
    """A, AAAA and SRV for services at random; one in ten does not exist."""
    rng = random.Random(7)
    keys = list(results)
    found = []
    for _ in range(count):
        host = rng.choice(keys).host if rng.random() < 0.9 else "no-such.team-1.svc.clusterset.local"
        kind = rng.choice(["A", "A", "AAAA", "SRV"])
        found.append(dns.message.make_query(host, kind, use_edns=0).to_wire())
    return found


def told(what: str, seconds: list[float]) -> None:
    seconds.sort()
    p50, p99, p999 = (seconds[int(len(seconds) * share)] * 1e6 for share in (0.5, 0.99, 0.999))
    print(f"{what:<34} p50 {p50:6.0f} us   p99 {p99:6.0f} us   p99.9 {p999:6.0f} us   max {seconds[-1] * 1e6:6.0f} us")


def measure_answers(zone: Zone, wires: list[bytes]) -> None:
    times = []
    for turn, wire in enumerate(wires):
        began = time.thread_time()
        answer(wire, zone.view, 5, turn=turn, udp=True)
        times.append(time.thread_time() - began)
    told("answer alone, CPU", times)
    print(f"{'':<34} {len(wires) / sum(times):,.0f} a second of one core")


def measure_big(zone: Zone, endpoints: int) -> None:
    key = ServiceKey("team-0", "big")
    export = ExportRecord(key, utc_now(), ImportType.HEADLESS, (ServicePort("http", Protocol.TCP, 80),))
    addresses = tuple(EndpointAddress((str(IPv4Address(0x0B000000 + each)),)) for each in range(endpoints))
    merged = merge_service(key, {EAST: (export, EndpointsRecord(key, (), addresses))})
    zone.update([key], {key: ServiceResult(Exported(), merged, (), (), ((EAST,),))}, {}, 2)
    wire = dns.message.make_query(key.host, "A", use_edns=0).to_wire()
    for udp in (True, False):
        times = []
        for turn in range(300):
            began = time.thread_time()
            answer(wire, zone.view, 5, turn=turn, udp=udp)
            times.append(time.thread_time() - began)
        told(f"{endpoints} endpoints by {'UDP' if udp else 'TCP'}, CPU", times)


def ask_udp(port: int, wires: list[bytes], pace_seconds: float) -> list[float]:
    times = []
    with socket.socket(type=socket.SOCK_DGRAM) as client:
        client.settimeout(5)
        client.connect((HOST, port))
        due = time.perf_counter()
        for wire in wires:
            due += pace_seconds
            time.sleep(max(0.0, due - time.perf_counter()))
            began = time.perf_counter()
            client.send(wire)
            client.recv(2048)
            times.append(time.perf_counter() - began)
    return times


def ask_tcp(port: int, wires: list[bytes]) -> list[float]:
    times = []
    with socket.create_connection((HOST, port), 5) as client, client.makefile("rb") as stream:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for wire in wires:
            began = time.perf_counter()
            client.sendall(len(wire).to_bytes(2) + wire)
            stream.read(int.from_bytes(stream.read(2)))
            times.append(time.perf_counter() - began)
    return times


async def change(zone: Zone, results: Results, vips: dict[ServiceKey, IPv4Address]) -> list[float]:
    """Two hundred services change every second; how long each change of one service takes."""
    times = []
    for number in range(1_000_000):
        changed = result(number % len(results), number % 7)
        assert changed.merged is not None
        results[changed.merged.key] = changed
        began = time.perf_counter()
        zone.update([changed.merged.key], results, vips, number)
        times.append(time.perf_counter() - began)
        try:
            await asyncio.sleep(0.005)
        except asyncio.CancelledError:
            return times
    return times


async def measure_sockets(zone: Zone, results: Results, vips: dict[ServiceKey, IPv4Address]) -> None:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port = probe.getsockname()[1]
    unbounded = Limits(per_second=1e9, burst=1e9)
    server = DnsServer(HostPort(HOST, port), 5, lambda: zone.view, monotonic, unbounded)
    async with server.serving():
        wires = questions(results, QUESTIONS)
        told("UDP, one after the other", await asyncio.to_thread(ask_udp, port, wires, 0.0))
        told("TCP, one after the other", await asyncio.to_thread(ask_tcp, port, wires))
        changing = asyncio.ensure_future(change(zone, results, vips))
        told("UDP, 500 a second, changes", await asyncio.to_thread(ask_udp, port, wires[:5_000], 0.002))
        changing.cancel()
        told("  one changed service", await changing)
    counters = server.counters
    print(f"answered {counters.queries.total()}, mean {counters.seconds / counters.queries.total() * 1e6:.0f} us")


def main(services: int) -> None:
    zone, results, vips = build(services)
    measure_answers(zone, questions(results, QUESTIONS))
    asyncio.run(measure_sockets(zone, results, vips))
    for endpoints in (100, 4_000):
        measure_big(zone, endpoints)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000)
