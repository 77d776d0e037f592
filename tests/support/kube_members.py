"""Clusters backed by Kubernetes that found and join a clusterset: an API server and controllers for each.

Controllers are processes of their own, started as a pod starts them; the commands of an operator run beside them, as
in the pod of the one that leads. A real API server has no pod to run a command in, so there it is run on the disk of
that pod, which is all that a pod would add.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from controllers.status import StatusReport
from federation.app.kube.remote import POD_DIRECTORY
from federation.cli.owner import ask
from federation.exchange.server import EmbeddedRedis, find_redis_server
from federation.model.errors import FederationError, MissingProgramError
from support.exchange import until
from support.kube.caller import Caller
from support.kube.cluster import RealCluster, StandInCluster, cluster_of
from support.kube.exec import Program
from support.kube.housekeeping import NAMESPACES
from support.kube.objects import GroupResource, Key
from support.kube.plane import plane_of
from support.kube.real import RealServer
from support.kube.server import StandIn, running
from support.processes import Child, federation_command, python_environment

CLUSTERSET = "acme"
SYSTEM = "federation-system"
SECONDS = 40.0

KINDS: Mapping[str, GroupResource] = {
    "ConfigMap": ("", "configmaps"),
    "EndpointSlice": ("discovery.k8s.io", "endpointslices"),
    "Lease": ("coordination.k8s.io", "leases"),
    "Secret": ("", "secrets"),
    "Service": ("", "services"),
    "ServiceExport": ("multicluster.x-k8s.io", "serviceexports"),
    "ServiceImport": ("multicluster.x-k8s.io", "serviceimports"),
}
"""What members can be asked for. ConfigMaps and Secrets on the stand-in only."""


@dataclass
class Replica:
    """One of a cluster's controllers, with the disk of its pod."""

    directory: Path
    child: Child

    def status(self) -> StatusReport:
        """The controller's report; OSError while nobody answers."""
        try:
            return ask(self.directory, "/v1/status", StatusReport)
        except FederationError as error:
            raise OSError(str(error)) from error

    @property
    def ready(self) -> bool:
        try:
            return self.status().ready
        except OSError:
            return False


@dataclass
class KubeMember:
    """One cluster."""

    name: str
    root: Path
    server: Any
    """A StandIn, or a RealServer."""
    settings: dict[str, Any]
    replicas: list[Replica] = field(default_factory=list)

    @property
    def cluster(self) -> StandInCluster | RealCluster:
        return cluster_of(self.server)

    def start(self, number: int = 0) -> Replica:
        """Start the controller of pod ``number``, on a disk that is empty the first time."""
        while len(self.replicas) <= number:
            self.replicas.append(self._replica(len(self.replicas)))
        replica = self.replicas[number]
        replica.child.start()
        return replica

    async def run(self, *words: str, given: str = "", code: int = 0) -> str:
        """A command of the operator's, as from another machine, that must end with this code; returns what it printed,
        or said where it failed."""
        reached = ["--kubeconfig", str(self.kubeconfig)]
        if isinstance(self.server, RealServer):
            reached = ["--dir", str(self.replicas[self.number_of(await self.leader())].directory)]
        process = await asyncio.create_subprocess_exec(
            *federation_command(*words, *reached),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=python_environment(),
        )
        printed, said = await process.communicate(given.encode())
        assert process.returncode == code, (words, process.returncode, said.decode())
        return (said if code else printed).decode().strip()

    @property
    def kubeconfig(self) -> Path:
        return self.root / f"{self.name}.kubeconfig"

    async def leader(self) -> str:
        """The holder of the lease, once there is one."""
        await until(lambda: bool(self._holder()), seconds=SECONDS)
        return self._holder()

    def _holder(self) -> str:
        lease = self.objects("Lease", SYSTEM).get("federation-controller") or {}
        return str(lease.get("spec", {}).get("holderIdentity") or "")

    @staticmethod
    def number_of(identity: str) -> int:
        """Of the pod whose controller has this identity."""
        return int(identity.rpartition("_")[0].rpartition("-")[2])

    # Objects

    def caller(self) -> Caller:
        return plane_of(self.server).caller()

    def namespace(self, name: str = "demo") -> None:
        if Key("", name) not in self.cluster.objects(NAMESPACES):
            self.cluster.create(NAMESPACES, "", {"metadata": {"name": name}})

    def create(self, document: Mapping[str, Any]) -> None:
        """An object that somebody makes, its namespace too."""
        namespace = document["metadata"]["namespace"]
        self.namespace(namespace)
        self.cluster.create(KINDS[document["kind"]], namespace, dict(document))

    def edit(self, kind: str, name: str, patch: Mapping[str, Any], namespace: str = "demo") -> None:
        self.cluster.patch(KINDS[kind], Key(namespace, name), dict(patch))

    def delete(self, kind: str, name: str, namespace: str = "demo") -> None:
        self.cluster.delete(KINDS[kind], Key(namespace, name))

    def objects(self, kind: str, namespace: str = "demo") -> dict[str, Any]:
        """What is stored of a kind, by name."""
        found = self.cluster.objects(KINDS[kind])
        return {key.name: body for key, body in found.items() if key.namespace == namespace}

    def writes(self) -> list[tuple[str, str, str, int]]:
        """Every write so far outside our own namespace, but those of Kubernetes' own controllers: user, verb, resource
        and answer."""
        return [
            (one.user, one.asked.verb, one.asked.plural, one.code)
            for one in self.server.audit
            if one.asked.verb not in {"get", "list", "watch"}
            and one.asked.namespace != SYSTEM
            and not one.user.startswith("system:")
        ]

    def _replica(self, number: int) -> Replica:
        directory = self.root / f"{self.name}-{number}"
        directory.mkdir(mode=0o700)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            listen = f"127.0.0.1:{probe.getsockname()[1]}"
        base = self.root / f"{self.name}-{number}.yaml"
        base.write_text(yaml.safe_dump({**self.settings, "http": {"listen": listen}}))
        pod = f"{self.name}-{number}"
        command = federation_command("controller", "--dir", str(directory), "--base", str(base))
        environment = {**python_environment(), "POD_NAME": pod}
        return Replica(directory, Child(pod, command, self.root / f"{pod}.log", environment))

    def program(self, pod: str, command: list[str]) -> Program | None:
        """What an operator's command is in a pod: the same, on the pod's disk."""
        number = int(pod.rpartition("-")[2])
        if not (pod == f"{self.name}-{number}" and number < len(self.replicas)):
            return None
        words = [str(self.replicas[number].directory) if word == POD_DIRECTORY else word for word in command[1:]]
        return Program(federation_command(*words), {**python_environment(), "POD_NAME": pod})


class KubeClusters:
    """Clusters around one Redis."""

    def __init__(self, root: Path, stack: AsyncExitStack, redis: EmbeddedRedis) -> None:
        self.root = root
        self.redis = redis
        self._stack = stack
        self.members: dict[str, KubeMember] = {}

    async def add(
        self, name: str, region: str, *, server: StandIn | RealServer | None = None, **settings: Any
    ) -> KubeMember:
        """A cluster with its API server, no controller yet; ``settings`` are more keys of the installation's. A
        ``server`` that is given runs, with the CRDs, and whoever started it ends it."""
        if server is None:
            server = await self._stack.enter_async_context(running(name))
        kubeconfig = server.write_kubeconfig(self.root / f"{name}.kubeconfig")
        base = {"region": region, "kubernetes": {"kubeconfig": str(kubeconfig)}, **settings}
        member = self.members[name] = KubeMember(name, self.root, server, base)
        member.namespace(SYSTEM)
        if isinstance(server, StandIn):
            server.run_in_pods(member.program)
        return member

    async def found(self, seat: KubeMember, *others: KubeMember, clusterset: str = CLUSTERSET) -> None:
        """Start a controller of each, and let them be one clusterset."""
        for member in (seat, *others):
            member.start()
            await member.leader()
        await seat.run("init", "--clusterset", clusterset, "--cluster-id", seat.name, "--exchange", self.redis.url)
        for other in others:
            await self.join(seat, other)
        for member in (seat, *others):
            await until(lambda member=member: member.replicas[0].ready, seconds=SECONDS)

    async def join(self, seat: KubeMember, other: KubeMember) -> None:
        token = await seat.run("token", "create", "--cluster", other.name)
        await other.run("join", "--token-file", "-", given=token)

    def end(self) -> None:
        for member in self.members.values():
            for replica in member.replicas:
                replica.child.end()


@asynccontextmanager
async def kube_clusters(root: Path) -> AsyncIterator[KubeClusters]:
    """No clusters yet; whatever is added and started ends with the block."""
    try:
        program = find_redis_server(os.environ)
    except MissingProgramError as error:
        pytest.skip(f"{error}; {error.hint}")
    async with AsyncExitStack() as stack:
        redis = EmbeddedRedis(0, directory=root / "redis", program=program)
        redis.start()
        stack.callback(redis.kill)
        clusters = KubeClusters(root, stack, redis)
        stack.callback(clusters.end)
        yield clusters


def exported(name: str = "echo", address: str = "10.0.0.1", **spec: Any) -> list[dict[str, Any]]:
    """Service, ServiceExport and EndpointSlice of a service in namespace demo."""
    metadata = {"namespace": "demo", "name": name}
    port = {"name": "http", "port": 80, "protocol": "TCP"}
    return [
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": dict(metadata),
            "spec": {"selector": {"app": name}, "ports": [{**port, "targetPort": 8080}], **spec},
        },
        {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {**metadata, "name": f"{name}-1", "labels": {"kubernetes.io/service-name": name}},
            "addressType": "IPv4",
            "endpoints": [{"addresses": [address], "conditions": {"ready": True}}],
            "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
        },
        {"apiVersion": "multicluster.x-k8s.io/v1beta1", "kind": "ServiceExport", "metadata": dict(metadata)},
    ]


def conditions(document: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
    """Status and reason of each condition."""
    found = msgspec.convert(document.get("status", {}).get("conditions") or [], list[dict[str, Any]])
    return {one["type"]: (one["status"], one["reason"]) for one in found}
