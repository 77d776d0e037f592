"""Two clusters for measuring, as a user would run them: `near` has the caller, `far` is behind its gateway.

The applications are Envoys that answer at once: what is measured is the path, not the application.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
import time
import urllib.request
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from federation.app.programs import find_envoy
from federation.demo.processes import Child, Fleet
from federation.exchange.server import EmbeddedRedis, find_redis_server
from federation.membership.tokens import create_token

FEDERATION = (sys.executable, "-P", "-m", "federation.cli.main")
RANGES = {"near": 40, "far": 50}
DEADLINE_SECONDS = 60.0

DIRECT = "127.50.1.11:8080"
LOCAL = "127.40.1.99:8001"
CROSS = "127.40.1.99:8002"
"""Where a client finds the far application itself, the near service and the far service through its sidecar."""


@dataclass(frozen=True, slots=True)
class Clusterset:
    root: Path
    fleet: Fleet
    controllers: dict[str, Child]

    def manifest(self, cluster: str) -> Path:
        return self.root / cluster / "service.yaml"


def service_manifest(cluster: str, *, ready: bool = True, extra: int = 0) -> str:
    """The service of a cluster, exported, with one endpoint; ``extra`` more services without endpoints of their own."""
    names = [f"{cluster}-service", *(f"filler-{number}" for number in range(extra))]
    return "---\n".join(_service(name, cluster, ready) for name in names)


def _service(name: str, cluster: str, ready: bool) -> str:
    documents = [
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": name, "namespace": "bench"},
            "spec": {"ports": [{"name": "http", "port": 80}]},
        },
        {
            "apiVersion": "multicluster.x-k8s.io/v1beta1",
            "kind": "ServiceExport",
            "metadata": {"name": name, "namespace": "bench"},
        },
        {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {
                "name": f"{name}-1",
                "namespace": "bench",
                "labels": {"kubernetes.io/service-name": name},
                "annotations": {"federation-gateway.dev/service-account": "server"},
            },
            "addressType": "IPv4",
            "ports": [{"name": "http", "port": 8080}],
            "endpoints": [{"addresses": [f"127.{RANGES[cluster]}.1.11"], "conditions": {"ready": ready}}],
        },
    ]
    return "---\n".join(f"{json.dumps(document)}\n" for document in documents)


@asynccontextmanager
async def running_clusterset() -> AsyncIterator[Clusterset]:
    """Start both clusters, wait until the caller reaches both services, and end everything afterwards."""
    with tempfile.TemporaryDirectory(prefix="federation-bench-") as name:
        root = Path(name)
        (root / "logs").mkdir()
        fleet = Fleet(root / "logs", {**os.environ, "PYTHONUNBUFFERED": "1"})
        redis = EmbeddedRedis(0, directory=root / "redis", program=find_redis_server(os.environ))
        redis.start()
        try:
            _write(root, redis.url)
            near, far = RANGES
            controllers = {}
            founding = ("--clusterset", "bench", "--cluster-id", near, "--exchange", redis.url)
            await run_command("init", "--dir", str(root / near), *founding)
            controllers[near] = _start(fleet, root, near)
            await admit(root)
            controllers[far] = _start(fleet, root, far)
            for address in (DIRECT, LOCAL, CROSS):
                await wait_for(address, 200)
            yield Clusterset(root, fleet, controllers)
        finally:
            await fleet.stop()
            redis.stop()


async def admit(root: Path) -> None:
    """Have the far cluster join, with one token."""
    near, far = RANGES
    token = await run_command("token", "create", "--dir", str(root / near), "--cluster", far)
    await run_command("join", "--dir", str(root / far), "--token", token.strip())


async def run_command(*arguments: str) -> str:
    """What a command of the command line prints."""
    process = await asyncio.create_subprocess_exec(*FEDERATION, *arguments, stdout=PIPE, stderr=DEVNULL)
    output, _ = await process.communicate()
    if process.returncode:
        raise RuntimeError(f"federation {arguments[0]} failed")
    return output.decode()


async def wait_for(address: str, status: int) -> None:
    """Wait until a GET of ``address`` answers ``status``."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while await asyncio.to_thread(get_status, address) != status:
        if time.monotonic() > deadline:
            raise TimeoutError(f"{address} does not answer {status}")
        await asyncio.sleep(0.05)


def get_status(address: str) -> int:
    try:
        with urllib.request.urlopen(f"http://{address}/", timeout=5) as response:
            return int(response.status)
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0


def _write(root: Path, exchange: str) -> None:
    for cluster, number in RANGES.items():
        directory = root / cluster
        (directory / "tokens").mkdir(parents=True, mode=0o700)
        for token in ("gateway", "bench.server", "bench.client"):
            create_token(directory / "tokens" / f"{token}.token")
        settings = {
            "clusterset": "bench",
            "cluster": cluster,
            "region": "here",
            "trustDomain": f"{cluster}.bench",
            "exchange": {"url": exchange},
            "gateway": {"listen": f"127.{number}.0.1:15443", "admin": f"127.{number}.0.1:15000"},
            "http": {"listen": f"127.{number}.0.1:15014"},
        }
        (directory / "cluster.yaml").write_text(json.dumps(settings))
        (directory / "service.yaml").write_text(service_manifest(cluster))
        _write_sidecar(directory, "server", f"127.{number}.1.11", [])
        if cluster == "near":
            outbound = [
                {"service": "bench/near-service", "port": 80, "listen": LOCAL},
                {"service": "bench/far-service", "port": 80, "listen": CROSS},
            ]
            _write_sidecar(directory, "client", f"127.{number}.1.99", outbound)


def _write_sidecar(directory: Path, account: str, address: str, outbound: list[dict[str, object]]) -> None:
    settings = {
        "clusterDirectory": ".",
        "namespace": "bench",
        "serviceAccount": account,
        "address": address,
        "admin": f"{address}:15000",
        "outbound": outbound,
    }
    (directory / f"sidecar-{account}.yaml").write_text(json.dumps(settings))


def _start(fleet: Fleet, root: Path, cluster: str) -> Child:
    directory = root / cluster
    controller = start_controller(fleet, root, cluster)
    fleet.start(f"{cluster}-gateway", (*FEDERATION, "gateway", "--dir", str(directory)))
    for sidecar in sorted(directory.glob("sidecar-*.yaml")):
        fleet.start(f"{cluster}-{sidecar.stem}", (*FEDERATION, "sidecar", "--config", str(sidecar)))
    application = directory / "application.json"
    application.write_text(json.dumps(_application(f"127.{RANGES[cluster]}.1.11")))
    options = ("--config-path", str(application), "--disable-hot-restart", "--concurrency", "1", "--log-level", "error")
    fleet.start(f"{cluster}-application", (str(find_envoy()), *options))
    return controller


def start_controller(fleet: Fleet, root: Path, cluster: str) -> Child:
    return fleet.start(f"{cluster}-controller", (*FEDERATION, "controller", "--dir", str(root / cluster)))


def _application(host: str) -> dict[str, object]:
    """An Envoy that answers every request with 64 bytes."""
    filters = "type.googleapis.com/envoy.extensions.filters"
    manager = {
        "@type": f"{filters}.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "application",
        "generate_request_id": False,
        "route_config": {
            "virtual_hosts": [
                {
                    "name": "application",
                    "domains": ["*"],
                    "routes": [
                        {
                            "match": {"prefix": "/"},
                            "direct_response": {"status": 200, "body": {"inline_string": "x" * 64}},
                        }
                    ],
                }
            ]
        },
        "http_filters": [
            {
                "name": "router",
                "typed_config": {"@type": f"{filters}.http.router.v3.Router"},
            }
        ],
    }
    listener = {
        "address": {"socket_address": {"address": host, "port_value": 8080}},
        "filter_chains": [{"filters": [{"name": "http", "typed_config": manager}]}],
    }
    return {"static_resources": {"listeners": [listener]}}
