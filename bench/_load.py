"""Load: a constant rate, measured from the moment each call was due, and saturation by `wrk`."""

from __future__ import annotations

import asyncio
import re
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Latencies:
    """Milliseconds, sorted."""

    values: tuple[float, ...]

    def quantile(self, share: float) -> float:
        return self.values[min(len(self.values) - 1, int(len(self.values) * share))]


async def constant_rate(address: str, *, rate: int, seconds: float, connections: int = 8) -> Latencies:
    """GETs at a constant rate over keep-alive connections. A late call counts from when it was due."""
    host, _, port = address.rpartition(":")
    request = f"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()
    due: asyncio.Queue[float | None] = asyncio.Queue()
    found: list[float] = []

    async def connection() -> None:
        reader, writer = await asyncio.open_connection(host, int(port))
        while (at := await due.get()) is not None:
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            if not head.startswith(b"HTTP/1.1 200"):
                raise RuntimeError(f"{address} answered {head[:40]!r}")
            match = re.search(rb"content-length: (\d+)", head)
            await reader.readexactly(int(match[1]) if match else 0)
            found.append((time.perf_counter() - at) * 1000)
        writer.close()
        await writer.wait_closed()

    workers = [asyncio.create_task(connection()) for _ in range(connections)]
    start = time.perf_counter() + 0.05
    for number in range(int(rate * seconds)):
        at = start + number / rate
        if (wait := at - time.perf_counter()) > 0:
            await asyncio.sleep(wait)
        due.put_nowait(at)
    for _ in workers:
        due.put_nowait(None)
    await asyncio.gather(*workers)
    return Latencies(tuple(sorted(found)))


def saturate(address: str, *, connections: int, seconds: int, path: str = "/") -> float:
    """Requests per second that `wrk` gets through with so many connections."""
    program = shutil.which("wrk")
    if program is None:
        sys.exit("bench: wrk is missing: install it, for instance with 'apt-get install wrk'")
    command = [program, "-t1", f"-c{connections}", f"-d{seconds}s", f"http://{address}{path}"]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    match = re.search(r"Requests/sec:\s+([\d.]+)", printed)
    errors = re.search(r"Non-2xx.*", printed)
    if match is None or errors is not None:
        raise RuntimeError(f"{address}: {printed}")
    return float(match[1])
