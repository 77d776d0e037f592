"""How long it takes to become a member, and to be one no more.

    python -m bench.membership [ROUNDS]

Two clusters of real processes, commands as a user runs them; the far cluster's Envoys run throughout. Joining is timed
from the start of `federation token create` to the first answer across clusters (two commands and the start of a
controller are in it); leaving and evicting from the command's start to the first call that is not answered any more.
"""

from __future__ import annotations

import asyncio
import sys
import time
from statistics import median

from bench._clusterset import (
    CROSS,
    Clusterset,
    admit,
    get_status,
    run_command,
    running_clusterset,
    start_controller,
    wait_for,
)


async def leave(clusterset: Clusterset) -> float:
    began = time.perf_counter()
    await run_command("leave", "--dir", str(clusterset.root / "far"))
    await _unanswered()
    took = time.perf_counter() - began
    await clusterset.fleet.stop([clusterset.controllers["far"]])
    return took


async def evict_dead(clusterset: Clusterset) -> float:
    await clusterset.fleet.kill([clusterset.controllers["far"]])
    began = time.perf_counter()
    await run_command("evict", "far", "--dir", str(clusterset.root / "near"))
    await _unanswered()
    return time.perf_counter() - began


async def join(clusterset: Clusterset) -> float:
    began = time.perf_counter()
    await admit(clusterset.root)
    clusterset.controllers["far"] = start_controller(clusterset.fleet, clusterset.root, "far")
    await wait_for(CROSS, 200)
    return time.perf_counter() - began


async def _unanswered() -> None:
    # The service goes with its last exporter, and its local port with the service.
    while await asyncio.to_thread(get_status, CROSS) == 200:
        await asyncio.sleep(0.01)


async def main(rounds: int) -> None:
    times: dict[str, list[float]] = {"leave": [], "join": [], "evict": []}
    async with running_clusterset() as clusterset:
        for _ in range(rounds):
            times["leave"].append(await leave(clusterset))
            times["join"].append(await join(clusterset))
            times["evict"].append(await evict_dead(clusterset))
            times["join"].append(await join(clusterset))
    for what, seconds in times.items():
        print(f"{what:6} median {median(seconds):.1f} s, worst {max(seconds):.1f} s of {len(seconds)}")


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 3))
