"""A clusterset of real processes for tests: directories, keys and tokens, a Redis, controllers, gateways, pods.

Everything is what a user would start, by the same commands. Each clusterset has a loopback range 127.N.0.0/16 of its
own, so that tests run side by side; cluster number i has 127.N.i.0/24, in which .1 is the gateway.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import socket
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from federation.app.programs import find_envoy
from federation.exchange.server import EmbeddedRedis, find_redis_server
from federation.membership.keys import generate_signing_key, save_signing_key
from federation.membership.tokens import create_token
from federation.model.errors import MissingProgramError
from federation.model.names import ServiceKey, sni
from support.admitted import Admitted, found_clusterset
from support.manifests import Document, exported_service, write_manifests
from support.processes import Child, eventually, federation_command, python_environment

CLUSTERSET = "test"
NAMESPACE = "demo"
GATEWAY_PORT = 15443
INBOUND_PORT = 15006
ADMIN_PORT = 15000
_LOCK_PORT = 15999
_FIRST_RANGE, _LAST_RANGE = 60, 250


def port_name(service: str, port: int) -> str:
    """The SNI, and Envoy's name, of one port of a service in the tests' namespace."""
    return sni(ServiceKey(NAMESPACE, service), port)


def identity(cluster: str, account: str) -> str:
    """The SPIFFE ID of a workload of a test's cluster."""
    return f"spiffe://{cluster}.test/ns/{NAMESPACE}/sa/{account}"


def get(host: str, port: int, path: str = "/", *, method: str = "GET") -> tuple[int, str]:
    """Status and body of one HTTP/1.1 request; OSError where the connection fails."""
    connection = http.client.HTTPConnection(host, port, timeout=10)
    try:
        connection.request(method, path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    except http.client.HTTPException as error:
        raise OSError(f"no HTTP answer: {error!r}") from error
    finally:
        connection.close()


class Admin:
    """The admin port of one Envoy."""

    def __init__(self, host: str, port: int = ADMIN_PORT) -> None:
        self.host = host
        self.port = port

    def read(self, path: str) -> Any:
        status, body = get(self.host, self.port, path)
        if status != 200:
            raise ValueError(f"{path}: {status} {body[:200]}")
        return json.loads(body)

    def counter(self, pattern: str) -> int:
        """Sum of all statistics whose name the regular expression matches as a whole."""
        found = self.read("/stats?format=json")["stats"]
        return sum(
            stat["value"]
            for stat in found
            if "value" in stat and re.fullmatch(pattern, stat.get("name", "")) is not None
        )

    def hosts(self, cluster: str) -> dict[str, bool]:
        """The endpoints of one of Envoy's clusters, by address, and whether each is taken for healthy."""
        for entry in self.read("/clusters?format=json")["cluster_statuses"]:
            if entry["name"] == cluster:
                return {
                    _address(host["address"]["socket_address"]): set(host["health_status"]) <= {"eds_health_status"}
                    for host in entry.get("host_statuses", ())
                }
        return {}

    def clusters(self, name: str) -> set[str]:
        """Which clusters the endpoints of one of Envoy's clusters are in; ours tell by the sub-zone."""
        for entry in self.read("/clusters?format=json")["cluster_statuses"]:
            if entry["name"] == name:
                return {host["locality"]["sub_zone"] for host in entry.get("host_statuses", ())}
        return set()

    def certificate(self) -> str:
        """Serial number of the SVID in use; ValueError while there is none."""
        for entry in self.read("/certs")["certificates"]:
            for leaf in entry.get("cert_chain", ()):
                return str(leaf["serial_number"])
        raise ValueError("no certificate yet")


def _address(socket_address: Mapping[str, Any]) -> str:
    return f"{socket_address['address']}:{socket_address['port_value']}"


class Cluster:
    """One cluster: its directory, its controller, its gateway."""

    def __init__(
        self,
        name: str,
        region: str,
        network: str,
        directory: Path,
        settings: Mapping[str, Any],
        prefix: Sequence[str] = (),
    ) -> None:
        self.name = name
        self.region = region
        self.trust_domain = f"{name}.test"
        self.directory = directory
        self.key = generate_signing_key()
        self.prefix = tuple(prefix)
        self.children: list[Child] = []
        self._network = network
        directory.mkdir(parents=True)
        save_signing_key(directory / "member.key", self.key)
        self.settings: dict[str, Any] = {
            "clusterset": CLUSTERSET,
            "cluster": name,
            "region": region,
            "trustDomain": self.trust_domain,
            "gateway": {"listen": f"{self.host(1)}:{GATEWAY_PORT}", "admin": f"{self.host(1)}:{ADMIN_PORT}"},
            "http": {"listen": f"{self.host(1)}:15014"},
        }
        for key, value in settings.items():
            self.settings[key] = {**self.settings.get(key, {}), **value} if isinstance(value, dict) else value
        self.controller = self._child("controller", federation_command("controller", "--dir", str(directory)))
        self.gateway = self._child("gateway", [*prefix, *federation_command("gateway", "--dir", str(directory))])
        self.token("gateway")

    def host(self, number: int) -> str:
        return f"{self._network}.{number}"

    def second_gateway(self, **settings: Any) -> Child:
        """One more gateway beside ``gateway``, at ``host(2)``, not started yet; called before settings are written.

        It has a directory of its own, since it is another process on what would be another node. ``settings``: more of
        its ``gateway`` section.
        """
        hosts = [self.host(1), self.host(2)]
        self.settings["gateway"] |= {"addresses": [f"{host}:{GATEWAY_PORT}" for host in hosts]}
        directory = self.directory.parent / f"{self.name}-2"
        directory.mkdir()
        settings = self.settings | {
            "gateway": {"listen": f"{hosts[1]}:{GATEWAY_PORT}", "admin": f"{hosts[1]}:{ADMIN_PORT}"} | settings,
            "xds": {"listen": f"unix:{self.directory / 'state' / 'xds.sock'}"},
            "tokensDirectory": str(self.directory / "tokens"),
        }
        (directory / "cluster.yaml").write_text(yaml.safe_dump(settings))
        return self._child("gateway-2", [*self.prefix, *federation_command("gateway", "--dir", str(directory))])

    @property
    def gateway_admin(self) -> Admin:
        return self.gateway_admin_of(1)

    def gateway_admin_of(self, number: int) -> Admin:
        """Of the first or the second gateway."""
        return Admin(self.host(number))

    def write_settings(self) -> None:
        (self.directory / "cluster.yaml").write_text(yaml.safe_dump(self.settings))

    def write(self, file: str, *documents: Document) -> None:
        """Write manifests aside and rename them into place, as a user should."""
        write_manifests(self.directory / file, documents)

    def export(
        self, service: str, ports: Mapping[str, int], hosts: Sequence[str], *, account: str = "echo", **options: Any
    ) -> None:
        """Write Service, ServiceExport and EndpointSlice of one service."""
        self.write(f"{service}.yaml", *exported_service(NAMESPACE, service, ports, hosts, account=account, **options))

    def token(self, name: str) -> str:
        """The token of a principal, made at first use."""
        path = self.directory / "tokens" / f"{name}.token"
        path.parent.mkdir(mode=0o700, exist_ok=True)
        if not path.exists():
            create_token(path)
        return path.read_text().strip()

    def sidecar(self, name: str, address: str, account: str, **settings: Any) -> Sidecar:
        """A sidecar of a workload, not started yet; ``settings`` are more keys of its sidecar.yaml."""
        self.token(f"{NAMESPACE}.{account}")
        config = self.directory / f"sidecar-{name}.yaml"
        admin = settings.pop("admin", f"{address}:{ADMIN_PORT}")
        content = {
            "clusterDirectory": ".",
            "namespace": NAMESPACE,
            "serviceAccount": account,
            "address": address,
            "admin": admin,
        }
        config.write_text(yaml.safe_dump(content | settings))
        child = self._child(f"sidecar-{name}", [*self.prefix, *federation_command("sidecar", "--config", str(config))])
        return Sidecar(child, Admin(admin.rpartition(":")[0]), address, f"sidecar~{NAMESPACE}~{address}~{INBOUND_PORT}")

    def pod(self, number: int, *served: str, account: str = "echo", **settings: Any) -> Pod:
        """A workload with its sidecar, not started yet. ``served``: what support.apps serves, as KIND:PORT."""
        return self.pod_at(self.host(number), f"{self.name}-{number}", *served, account=account, **settings)

    def pod_at(self, address: str, name: str, *served: str, account: str = "echo", **settings: Any) -> Pod:
        app = self._child(f"app-{name}", [*self.prefix, *app_command(name, address, *served)])
        return Pod(app, self.sidecar(name, address, account, **settings))

    def ready(self) -> bool:
        return self.public("/readyz")[0] == 200

    def public(self, path: str) -> tuple[int, str]:
        host, _, port = self.settings["http"]["listen"].partition(":")
        return get(host, int(port), path)

    def metric(self, name: str, **labels: str) -> float:
        """One of the controller's metrics, without its prefix; 0 where there is no such sample yet."""
        for family in text_string_to_metric_families(self.public("/metrics")[1]):
            for sample in family.samples:
                if sample.name == f"federation_{name}" and sample.labels == labels:
                    return float(sample.value)
        return 0.0

    def metric_total(self, name: str) -> float:
        """One of the controller's metrics, the sum over all labels."""
        return sum(
            sample.value
            for family in text_string_to_metric_families(self.public("/metrics")[1])
            for sample in family.samples
            if sample.name == f"federation_{name}"
        )

    def status(self) -> Any:
        """The controller's report, as `federation status -o json` prints it."""
        return self._owner("/v1/status")

    def trust(self) -> Any:
        """The controller's report, as `federation trust show -o json` prints it."""
        return self._owner("/v1/trust")

    def drains(self) -> Any:
        """The controller's report, as `federation drain -o json` prints it."""
        return self._owner("/v1/drains")

    def peer(self, name: str) -> Any:
        return next(peer for peer in self.status()["peers"] if peer["cluster"] == name)

    def services(self) -> dict[str, Any]:
        """The imported services, by name."""
        return {service["name"]: service for service in self._owner("/v1/services")}

    def problems(self) -> str:
        return "\n".join(self.status()["problems"])

    def _owner(self, path: str) -> Any:
        with contextlib.closing(socket.socket(socket.AF_UNIX)) as connection:
            connection.settimeout(10)
            connection.connect(str(self.directory / "state" / "admin.sock"))
            request = http.client.HTTPConnection("controller")
            request.sock = connection
            request.request("GET", path)
            return json.loads(request.getresponse().read())

    def _child(self, name: str, command: Sequence[str]) -> Child:
        child = Child(f"{self.name} {name}", command, self.directory.parent / f"{self.name}-{name}.log")
        self.children.append(child)
        return child


class Sidecar:
    """One sidecar process, the supervisor with its Envoy."""

    def __init__(self, child: Child, admin: Admin, address: str, node: str) -> None:
        self.child = child
        self.admin = admin
        self.address = address
        self.node = node

    def start(self) -> None:
        self.child.start()

    def listening(self) -> bool:
        """Whether mutual TLS is taken; OSError while it isn't."""
        socket.create_connection((self.address, INBOUND_PORT), 1).close()
        return True


class Pod:
    """An application and its sidecar."""

    def __init__(self, app: Child, sidecar: Sidecar) -> None:
        self.app = app
        self.sidecar = sidecar

    @property
    def running(self) -> bool:
        return self.app.running and self.sidecar.child.running

    def start(self) -> None:
        self.app.start()
        self.sidecar.start()

    def kill(self) -> None:
        self.app.kill()
        self.sidecar.child.kill()

    def freeze(self) -> None:
        self.app.freeze()
        self.sidecar.child.freeze()

    def thaw(self) -> None:
        self.app.thaw()
        self.sidecar.child.thaw()


class ClusterSet:
    """Clusters around one Redis; a context manager that ends all it started."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.clusters: dict[str, Cluster] = {}
        self.redis: EmbeddedRedis | None = None
        self._exits = contextlib.ExitStack()
        self._range = 0

    def __enter__(self) -> Self:
        try:
            find_envoy()
            program = find_redis_server(os.environ)
        except MissingProgramError as error:
            pytest.skip(f"{error}; {error.hint}")
        with contextlib.ExitStack() as stack:
            self._range = stack.enter_context(_loopback_range())
            self.redis = EmbeddedRedis(0, directory=self.directory / "redis", program=program)
            self.redis.start()
            stack.callback(self.redis.kill)
            stack.callback(self._end_all)
            self._exits = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._exits.close()

    def add(self, name: str, region: str, *, prefix: Sequence[str] = (), **settings: Any) -> Cluster:
        """Add a cluster; ``settings``: more keys of its cluster.yaml, ``prefix``: before commands of its data plane."""
        number = len(self.clusters) + 1
        assert self.redis is not None
        settings = {"exchange": {"url": self.redis.url}} | settings
        network = f"127.{self._range}.{number}"
        self.clusters[name] = Cluster(name, region, network, self.directory / name, settings, prefix)
        return self.clusters[name]

    def revive(self, *pods: Pod) -> None:
        """Start and thaw whatever a test left behind, and wait until controllers are ready and sidecars listen."""
        if self.redis is not None:
            self.redis.start()
        for cluster in self.clusters.values():
            for child in cluster.children:
                child.thaw()
            for child in (cluster.controller, cluster.gateway):
                if not child.running:
                    child.start()
        for pod in pods:
            for process in (pod.app, pod.sidecar.child):
                if not process.running:
                    process.start()
            eventually(pod.sidecar.listening, f"{pod.sidecar.address} listens")
        all_ready(*self.clusters.values())

    def introduce(self) -> None:
        """Write every cluster's settings, and admit all of them; the first one has the authority."""
        found_clusterset(
            CLUSTERSET,
            [Admitted(c.directory, c.name, c.trust_domain, c.key) for c in self.clusters.values()],
        )
        for cluster in self.clusters.values():
            cluster.write_settings()

    def _end_all(self) -> None:
        children = [child for cluster in self.clusters.values() for child in cluster.children]
        # Side by side: each takes a while to end; SIGINT, for nobody is left to be told to call others.
        for child in children:
            child.thaw()
            if child.running:
                os.kill(child.pid, 2)
        for child in children:
            child.end()


def app_command(name: str, address: str, *served: str) -> list[str]:
    return [federation_command()[0], "-P", "-m", "support.apps", name, address, *served]


def cli(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command line to its end."""
    return subprocess.run(
        federation_command(*arguments),
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        env=python_environment(),
    )


def all_ready(*clusters: Cluster) -> None:
    """Wait until the controllers serve, and know and trust one another."""
    for cluster in clusters:
        eventually(cluster.ready, f"controller of {cluster.name} is ready")
        for other in clusters:
            if other is not cluster:
                eventually(
                    lambda here=cluster, there=other: here.peer(there.name)["trusted"],
                    f"{cluster.name} trusts {other.name}",
                )


@contextlib.contextmanager
def _loopback_range() -> Iterator[int]:
    """The N of a range 127.N.0.0/16 that no other test uses: a socket on one of its addresses is the lock."""
    worker = int(re.sub(r"\D", "", os.environ.get("PYTEST_XDIST_WORKER", "")) or 0)
    count = _LAST_RANGE - _FIRST_RANGE
    for step in range(count):
        number = _FIRST_RANGE + (worker * 40 + step) % count
        with contextlib.closing(socket.socket()) as lock:
            try:
                lock.bind((f"127.{number}.0.254", _LOCK_PORT))
            except OSError as error:
                if error.errno != 98:  # EADDRINUSE: another test has it
                    pytest.skip(f"only 127.0.0.1 can be bound on this machine: {error}")
                continue
            yield number
            return
    raise AssertionError("no loopback range is free")
