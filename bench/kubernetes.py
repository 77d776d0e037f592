"""A controller in a cluster of many services: from a cold start until all is in sync, and what it does afterwards.

    KUBEBUILDER_ASSETS=DIRECTORY python -m bench.kubernetes [SERVICES]

A real API server has the Services, EndpointSlices and ServiceExports, all new to the controller, which is a process of
its own. Told are the time by the clock, the processor seconds of the controller alone, its writes by resource and its
memory; then what it does while nothing changes, and of a restart, after which there is nothing to write. API server and
etcd take part in the time by the clock: where they have no processors of their own, that says more of them.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import socket
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from controllers.kube.client import KubeAccess, KubeClient, open_client
from federation.demo.processes import Child, Fleet
from federation.exchange.server import EmbeddedRedis, find_redis_server

sys.path.append(str(Path(__file__).parents[1] / "tests"))

from support.kube.plane import ASSETS, assets
from support.kube.real import RealServer, real_server
from support.kube.server import multicluster_definitions

FEDERATION = (sys.executable, "-P", "-m", "federation.cli.main")
SYSTEM, USER = "federation-system", "controller"
NAMESPACES = 50
FILLERS = 8
QUIET_SECONDS = 15.0
"""Without a write for so long, all that is to be written was."""
IDLE_SECONDS = 60.0
DEADLINE_SECONDS = 1200.0
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Usage:
    cpu_seconds: float
    peak_mib: float
    mib: float


def usage_of(pid: int) -> Usage:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    status = Path(f"/proc/{pid}/status").read_text()
    peak, now = (int(re.search(rf"{name}:\s+(\d+)", status)[1]) / 1024 for name in ("VmHWM", "VmRSS"))  # type: ignore[index]
    return Usage((int(fields[11]) + int(fields[12])) / TICKS, peak, now)


def documents(number: int) -> Iterator[dict[str, Any]]:
    """One service that is exported, with two ready endpoints, as Kubernetes would have its slice."""
    namespace, name = f"team-{number % NAMESPACES}", f"service-{number}"
    labels = {"app.kubernetes.io/name": name, "app.kubernetes.io/managed-by": "Helm"}
    ports = [{"name": "http", "port": 80, "targetPort": 8080}, {"name": "grpc", "port": 9000, "targetPort": 9000}]
    yield {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"namespace": namespace, "name": name, "labels": labels},
        "spec": {"selector": labels, "ports": ports},
    }
    yield {
        "apiVersion": "multicluster.x-k8s.io/v1beta1",
        "kind": "ServiceExport",
        "metadata": {"namespace": namespace, "name": name},
    }
    addresses = [f"10.{number >> 7 & 255}.{number & 127}.{each}" for each in (1, 2)]
    yield {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "namespace": namespace,
            "name": f"{name}-abcde",
            "labels": {**labels, "kubernetes.io/service-name": name},
        },
        "addressType": "IPv4",
        "endpoints": [
            {
                "addresses": [address],
                "conditions": {"ready": True, "serving": True, "terminating": False},
                "targetRef": {"kind": "Pod", "namespace": namespace, "name": f"{name}-{address}"},
                "zone": f"zone-{number % 3}",
            }
            for address in addresses
        ],
        "ports": [{"name": "http", "port": 8080}, {"name": "grpc", "port": 9000}],
    }


async def fill(access: KubeAccess, services: int) -> None:
    began = time.monotonic()
    todo = iter([document for number in range(services) for document in documents(number)])

    async def work() -> None:
        async with open_client(access) as client:
            for document in todo:
                await client.create(document)

    await asyncio.gather(*(work() for _ in range(FILLERS)))
    print(
        f"{services} Services, ServiceExports and EndpointSlices made in {time.monotonic() - began:.0f} s", flush=True
    )


class Controller:
    """The process, and what it wrote."""

    def __init__(self, fleet: Fleet, root: Path, server: RealServer) -> None:
        self._fleet = fleet
        self._server = server
        self._directory = root / "east"
        self._directory.mkdir(mode=0o700)
        self._base = root / "base.yaml"
        kubeconfig = server.write_kubeconfig(root / "kubeconfig", user=USER, groups=["system:masters"])
        with socket.create_server(("127.0.0.1", 0)) as probe:
            listen = f"127.0.0.1:{probe.getsockname()[1]}"
        settings = {"region": "eu", "http": {"listen": listen}, "kubernetes": {"kubeconfig": str(kubeconfig)}}
        self._base.write_text(yaml.safe_dump(settings))
        self._child: Child | None = None

    @property
    def pid(self) -> int:
        assert self._child is not None
        return self._child.pid

    def start(self) -> None:
        command = [*FEDERATION, "controller", "--dir", str(self._directory), "--base", str(self._base)]
        self._child = self._fleet.start("controller", command)

    async def stop(self) -> None:
        await self._fleet.stop()

    async def found(self, redis: EmbeddedRedis) -> None:
        """Become the one member of a clusterset."""
        while not any(one.asked.plural == "leases" and one.code == 201 for one in self._server.audit):
            await asyncio.sleep(0.1)
        words = (
            "--clusterset",
            "bench",
            "--cluster-id",
            "east",
            "--exchange",
            redis.url,
            "--dir",
            str(self._directory),
        )
        process = await asyncio.create_subprocess_exec(*FEDERATION, "init", *words, stdout=asyncio.subprocess.DEVNULL)
        if await process.wait():
            raise RuntimeError("federation init failed")

    def writes(self) -> Counter[str]:
        """Of objects outside of our own namespace, by verb and resource, refused ones marked."""
        found: Counter[str] = Counter()
        for one in self._server.audit:
            asked = one.asked
            ours = one.user == USER and asked.namespace != SYSTEM and asked.verb not in {"get", "list", "watch"}
            if ours and not (asked.verb == "create" and asked.plural == "services"):
                refused = f" ({one.code})" if one.code >= 300 else ""
                what = "/".join(filter(None, (asked.plural, asked.subresource)))
                found[f"{asked.verb} {what}{refused}"] += 1
        return found

    async def quiet(self, *, at_least: int = 0) -> float:
        """When the last write was, once there was none for long, and so many before."""
        began = last = time.monotonic()
        before = self.writes().total()
        at_least += before
        while time.monotonic() - last < QUIET_SECONDS or before < at_least:
            await asyncio.sleep(0.5)
            if (count := self.writes().total()) != before:
                before, last = count, time.monotonic()
            if time.monotonic() - began > DEADLINE_SECONDS:
                raise TimeoutError("the controller does not come to rest")
        return last


async def missing(access: KubeAccess, services: int) -> Counter[str]:
    """What the cluster lacks of being in sync."""
    lacks: Counter[str] = Counter()
    async with open_client(access) as client:
        get = partial(_all, client)
        imports = await get("/apis/multicluster.x-k8s.io/v1beta1/serviceimports")
        exports = await get("/apis/multicluster.x-k8s.io/v1beta1/serviceexports")
        slices = await get("/apis/discovery.k8s.io/v1/endpointslices")
    lacks["imports"] = services - sum(
        bool(one["spec"].get("ips") and one.get("status", {}).get("clusters")) for one in imports
    )
    lacks["conditions"] = services - sum(
        any(
            each["type"] == "Ready" and each["status"] == "True" for each in one.get("status", {}).get("conditions", [])
        )
        for one in exports
    )
    lacks["slices"] = services - sum(
        "multicluster.kubernetes.io/service-name" in one["metadata"].get("labels", {}) for one in slices
    )
    return +lacks


async def _all(client: KubeClient, path: str) -> list[Any]:
    items: list[Any] = []
    query: dict[str, str] = {"limit": "500"}
    while True:
        page: Mapping[str, Any] = await client.get(path, query, timeout_seconds=60)
        items += page["items"]
        if not (rest := page["metadata"].get("continue")):
            return items
        query["continue"] = rest


async def measure(server: RealServer, root: Path, redis: EmbeddedRedis, services: int) -> None:
    admin = KubeAccess(server.write_kubeconfig(root / "admin"))
    for namespace in (SYSTEM, *(f"team-{number}" for number in range(NAMESPACES))):
        server.ask("POST", "/api/v1/namespaces", {"metadata": {"name": namespace}})
    (root / "logs").mkdir()
    fleet = Fleet(root / "logs", {**os.environ, "PYTHONUNBUFFERED": "1"})
    controller = Controller(fleet, root, server)
    try:
        controller.start()
        await controller.found(redis)
        await controller.quiet()
        empty = usage_of(controller.pid)
        print(f"without services: {empty.mib:.0f} MiB")
        await controller.stop()
        await fill(admin, services)
        for start in ("cold start", "restart"):
            before = controller.writes()
            began = time.monotonic()
            controller.start()
            last = await controller.quiet(at_least=services if start == "cold start" else 0)
            used, wrote = usage_of(controller.pid), controller.writes() - before
            by_clock = f"{last - began:.0f} s by the clock, " if wrote else ""
            told = f"{by_clock}{used.cpu_seconds:.1f} CPU s, peak {used.peak_mib:.0f} MiB, {wrote.total()} writes"
            print(f"{start}: {told} {json.dumps(wrote)}, missing {dict(await missing(admin, services))}", flush=True)
            idle_from = controller.writes()
            await asyncio.sleep(IDLE_SECONDS)
            rest = usage_of(controller.pid)
            share = (rest.cpu_seconds - used.cpu_seconds) / (IDLE_SECONDS)
            idle = controller.writes() - idle_from
            wrote_idle = f"{idle.total()} writes {json.dumps(idle)}"
            # The peak again: where others have the processors, a restart is not through with its lists before this.
            memory = f"{rest.mib:.0f} MiB, peak {rest.peak_mib:.0f} MiB"
            print(f"  then: {wrote_idle} in {IDLE_SECONDS:.0f} s, {share:.1%} of a core, {memory}", flush=True)
            await controller.stop()
    finally:
        await fleet.stop()


@contextmanager
def environment() -> Iterator[tuple[RealServer, Path, EmbeddedRedis]]:
    programs = assets()
    assert programs is not None
    with real_server(programs) as server, tempfile.TemporaryDirectory(prefix="federation-bench-") as name:
        for definition in multicluster_definitions():
            server.install(definition)
        root = Path(name)
        redis = EmbeddedRedis(0, directory=root / "redis", program=find_redis_server(os.environ))
        redis.start()
        try:
            yield server, root, redis
        finally:
            redis.stop()


def main(services: int) -> None:
    if assets() is None:
        print(f"skipped: {ASSETS} names no directory with kube-apiserver and etcd")
        return
    with environment() as (server, root, redis):
        asyncio.run(measure(server, root, redis, services))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5_000)
