"""Latency, throughput and processor time of the paths a call can take, interleaved in one run.

    python -m bench.datapath [ROUNDS]

The local mesh is caller's sidecar to server's sidecar; cross-cluster has the gateway between them; beside it HAProxy,
nginx and a gateway that ends TLS in the gateway's place. Each with HTTP/1.1 and with HTTP/2 between the sidecars, as
far as there is such a thing. Every figure is the median over the rounds, every ratio is taken within a round. Latencies
count from when a call was due.
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys
import tempfile
import time
import urllib.request
from collections import defaultdict
from pathlib import Path
from statistics import median

from bench._load import Latencies, constant_rate, saturate
from bench._paths import (
    ADMIN,
    CALLER,
    SERVER,
    TCP_PORT,
    Hops,
    PathTaken,
    available,
    cpu_seconds,
    listening,
    start,
)
from federation.demo.processes import Fleet

RATE = 500
SATURATING = (1, 16, 64, 256)
NEW_CONNECTIONS = 400
_LOCAL = {False: "local mesh, HTTP/1.1", True: "local mesh, HTTP/2"}


class Figures:
    """What was measured, by path and kind, a figure for each round."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, str], list[float]] = defaultdict(list)

    def add(self, path: str, kind: str, value: float) -> None:
        self._found[path, kind].append(value)

    def middle(self, path: str, kind: str) -> float:
        return median(self._found[path, kind])

    def ratio(self, path: str, other: str, kind: str) -> float:
        """To another path, pair by pair."""
        pairs = zip(self._found[path, kind], self._found[other, kind], strict=True)
        return median(mine / others for mine, others in pairs if others)


async def measure(rounds: int) -> None:
    figures, paths = Figures(), available()
    with tempfile.TemporaryDirectory(prefix="federation-bench-") as name:
        root = Path(name)
        (root / "logs").mkdir()
        fleet = Fleet(root / "logs", dict(os.environ))
        try:
            hops = start(root, fleet)
            for path in paths:
                async with asyncio.timeout(30):
                    while not await listening(path):
                        await asyncio.sleep(0.05)
                await constant_rate(path.address, rate=RATE, seconds=1)
                print(f"warmed up: {path.name}", file=sys.stderr)
            # Whatever answered may be left over from a bench that was killed.
            for hop in (hops.caller, hops.server, *hops.gateways.values()):
                hop.check()
            for number in range(rounds):
                # The order turns with each round, so that no path always follows the same one.
                turn = number % len(paths)
                await _one_round(figures, hops, [*paths[turn:], *paths[:turn]])
                print(f"round {number + 1} of {rounds}", file=sys.stderr)
            resumed = await asyncio.to_thread(_new_connections)
        finally:
            await fleet.stop()
    report(figures, paths, resumed)


async def _one_round(figures: Figures, hops: Hops, paths: list[PathTaken]) -> None:
    for path in paths:
        before, calls = _cpu(hops, path), RATE * 2
        latencies: Latencies = await constant_rate(path.address, rate=RATE, seconds=2)
        figures.add(path.name, "p50", latencies.quantile(0.5) * 1000)
        figures.add(path.name, "p99", latencies.quantile(0.99) * 1000)
        for hop, spent in _cpu(hops, path).items():
            figures.add(path.name, f"{hop} at rate", (spent - before[hop]) / calls * 1e6)
    for connections in SATURATING:
        for path in paths:
            before, since = _cpu(hops, path), time.perf_counter()
            rate = await asyncio.to_thread(saturate, path.address, connections=connections, seconds=1)
            calls = rate * (time.perf_counter() - since)
            figures.add(path.name, f"c{connections}", rate)
            for hop, spent in _cpu(hops, path).items():
                figures.add(path.name, f"{hop} c{connections}", (spent - before[hop]) / calls * 1e6)
    for path in paths:
        rate = await asyncio.to_thread(saturate, path.address, connections=4, seconds=1, path="/large")
        figures.add(path.name, "large", rate)


def _cpu(hops: Hops, path: PathTaken) -> dict[str, float]:
    """Seconds of each hop so far."""
    if not path.port:
        return {}
    found = {"caller": cpu_seconds(hops.caller), "server": cpu_seconds(hops.server)}
    return found | ({"gateway": cpu_seconds(hops.gateways[path.gateway])} if path.gateway else {})


def _new_connections() -> tuple[float, float]:
    """Mutual TLS connections through the gateway, one after the other: the share that was resumed, and how many in a
    second."""
    before, since = _reused(), time.perf_counter()
    for _ in range(NEW_CONNECTIONS):
        with socket.create_connection((CALLER, TCP_PORT), 10) as connection:
            connection.sendall(b"GET / HTTP/1.1\r\nHost: web\r\n\r\n")
            answer = b""
            while not answer.endswith(b"x" * 64):
                answer += connection.recv(65536)
    seconds, after = time.perf_counter() - since, _reused()
    reused, whole = (now - then for now, then in zip(after, before, strict=True))
    return reused / max(whole, 1), NEW_CONNECTIONS / seconds


def _reused() -> tuple[int, int]:
    """Sessions resumed, and handshakes of either kind, at the server's sidecar."""
    with urllib.request.urlopen(f"http://{SERVER}:{ADMIN}/stats?filter=listener.*ssl", timeout=5) as answer:
        stats = dict(line.rsplit(": ", 1) for line in answer.read().decode().splitlines() if ": " in line)

    def total(suffix: str) -> int:
        return sum(int(value) for name, value in stats.items() if name.endswith(suffix))

    return total("ssl.session_reused"), total("ssl.handshake")


def report(figures: Figures, paths: tuple[PathTaken, ...], resumed: tuple[float, float]) -> None:
    print(f"{RATE} calls/s over 8 connections: microseconds, of latency and of processor time per call")
    print(f"{'path':28} {'p50':>6} {'to local':>9} {'p99':>7} {'caller':>7} {'gateway':>8} {'server':>7}")
    for path in paths:
        hops = [_hop(figures, path, f"{hop} at rate") for hop in ("caller", "gateway", "server")]
        local = figures.ratio(path.name, _LOCAL[path.http2], "p50")
        p50, p99 = figures.middle(path.name, "p50"), figures.middle(path.name, "p99")
        print(f"{path.name:28} {p50:6.0f} {local:8.2f}x {p99:7.0f} {hops[0]:>7} {hops[1]:>8} {hops[2]:>7}")
    print("\ncalls per second at saturation, by connections (wrk); ratio of 64 connections to the local meshes")
    columns = " ".join(f"{connections:>7}" for connections in SATURATING)
    print(f"{'path':28} {columns} {'to HTTP/1.1':>12} {'to HTTP/2':>10} {'gateway us':>11} {'1 MB/s':>7}")
    for path in paths:
        rates = " ".join(f"{figures.middle(path.name, f'c{connections}'):7.0f}" for connections in SATURATING)
        one, two = (figures.ratio(path.name, _LOCAL[http2], "c64") for http2 in (False, True))
        gateway = _hop(figures, path, "gateway c64")
        print(
            f"{path.name:28} {rates} {one:11.2f}x {two:9.2f}x {gateway:>11} {figures.middle(path.name, 'large'):7.0f}"
        )
    share, rate = resumed
    print(f"\nnew mutual TLS connections through the gateway, one by one: {rate:.0f}/s, {share:.1%} resumed")


def _hop(figures: Figures, path: PathTaken, kind: str) -> str:
    hop = kind.partition(" ")[0]
    if not path.port or (hop == "gateway" and not path.gateway):
        return "-"
    return f"{figures.middle(path.name, kind):.1f}"


if __name__ == "__main__":
    asyncio.run(measure(int(sys.argv[1]) if len(sys.argv) > 1 else 5))
