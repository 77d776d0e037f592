"""Time from an edit in one cluster's directory to its effect on a call in another cluster.

    python -m bench.propagation [CHANGES]

The far service's only endpoint is made unready and ready again by replacing the manifest; a caller in the near cluster
asks without pause. A change counts as arrived with the first answer that shows it: file watching, export, signature,
Redis, verification, merge, xDS and Envoy are all in it, and so is the spacing of the asking (printed beside it).
"""

from __future__ import annotations

import asyncio
import http.client
import sys
import time
from statistics import median

from bench._clusterset import CROSS, LOCAL, Clusterset, running_clusterset, service_manifest


def change(clusterset: Clusterset, *, ready: bool) -> float:
    """Replace the far manifest in one step; returns when that was."""
    path = clusterset.manifest("far")
    fresh = path.with_suffix(".new")
    fresh.write_text(service_manifest("far", ready=ready))
    fresh.replace(path)
    return time.perf_counter()


def ask_until(connection: http.client.HTTPConnection, status: int, deadline: float) -> float:
    """When the first answer with ``status`` came."""
    while time.perf_counter() < deadline:
        connection.request("GET", "/")
        response = connection.getresponse()
        response.read()
        if response.status == status:
            return time.perf_counter()
    raise TimeoutError(f"no answer with status {status}")


def spacing(address: str) -> float:
    """Milliseconds from one answer to the next."""
    host, _, port = address.rpartition(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=10)
    began = time.perf_counter()
    for _ in range(200):
        ask_until(connection, 200, began + 30)
    return (time.perf_counter() - began) * 1000 / 200


def measure(clusterset: Clusterset, changes: int) -> None:
    host, _, port = CROSS.rpartition(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=10)
    times: list[float] = []
    for number in range(changes):
        ready = number % 2 == 1
        began = change(clusterset, ready=ready)
        times.append((ask_until(connection, 200 if ready else 503, began + 30) - began) * 1000)
        # Past every hold-off, so that each change is a first one.
        time.sleep(0.1)
    times.sort()
    print(f"edit in one cluster, effect in the other: {changes} changes, asked every {spacing(LOCAL):.2f} ms")
    p90, p99 = (times[int(len(times) * share)] for share in (0.9, 0.99))
    print(f"p50 {median(times):.1f} ms   p90 {p90:.1f} ms   p99 {p99:.1f} ms")


async def main(changes: int) -> None:
    async with running_clusterset() as clusterset:
        await asyncio.to_thread(measure, clusterset, changes)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 200))
