"""Latency and throughput of the paths a call can take, interleaved in one run: direct, local mesh, cross-cluster.

    python -m bench.datapath [ROUNDS]

Direct is the application without any proxy; local mesh is caller's sidecar to server's sidecar; cross-cluster has the
far cluster's gateway between them. Every figure is the median over the rounds, ratios are taken within each round.
"""

from __future__ import annotations

import asyncio
import sys
from statistics import median

from bench._clusterset import CROSS, DIRECT, LOCAL, running_clusterset
from bench._load import Latencies, constant_rate, saturate

PATHS = {"direct": DIRECT, "local mesh": LOCAL, "cross-cluster": CROSS}
RATE = 500
CONNECTIONS = 64


async def measure(rounds: int) -> None:
    latencies: dict[str, list[Latencies]] = {path: [] for path in PATHS}
    throughputs: dict[str, list[float]] = {path: [] for path in PATHS}
    async with running_clusterset():
        for path, address in PATHS.items():
            await constant_rate(address, rate=RATE, seconds=1)
            print(f"warmed up: {path}", file=sys.stderr)
        for number in range(rounds):
            # The order turns with each round, so that no path always follows the same one.
            order = list(PATHS)[number % 3 :] + list(PATHS)[: number % 3]
            for path in order:
                latencies[path].append(await constant_rate(PATHS[path], rate=RATE, seconds=2))
            for path in order:
                rate = await asyncio.to_thread(saturate, PATHS[path], connections=CONNECTIONS, seconds=2)
                throughputs[path].append(rate)
            print(f"round {number + 1} of {rounds}", file=sys.stderr)
    report(latencies, throughputs)


def report(latencies: dict[str, list[Latencies]], throughputs: dict[str, list[float]]) -> None:
    print(f"{RATE} calls/s over 8 connections; saturation with {CONNECTIONS} connections (wrk)")
    print(f"{'path':14} {'p50 ms':>8} {'p99 ms':>8} {'p50 to local':>13} {'calls/s':>9} {'to local':>9}")
    for path in PATHS:
        p50 = [found.quantile(0.5) for found in latencies[path]]
        p99 = [found.quantile(0.99) for found in latencies[path]]
        local = [found.quantile(0.5) for found in latencies["local mesh"]]
        slower = median(mine / other for mine, other in zip(p50, local, strict=True))
        faster = median(mine / other for mine, other in zip(throughputs[path], throughputs["local mesh"], strict=True))
        rate = median(throughputs[path])
        print(f"{path:14} {median(p50):8.2f} {median(p99):8.2f} {slower:12.2f}x {rate:9.0f} {faster:8.2f}x")


if __name__ == "__main__":
    asyncio.run(measure(int(sys.argv[1]) if len(sys.argv) > 1 else 5))
