"""Replicas that are up for election on one API server, quickly: a lease holds for two seconds."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

from controllers.kube.client import KubeAccess, KubeClient, KubeError, open_client
from controllers.kube.leadership import LeaseTiming
from controllers.kube.lease import LeaseElection
from support.builders import CREATED
from support.kube.cluster import Cluster, emptied, requests
from support.kube.identity import MASTERS
from support.kube.objects import GroupResource, Key
from support.kube.real import RealServer
from support.kube.server import StandIn

USER = "elected"
LEASES: GroupResource = ("coordination.k8s.io", "leases")
LEASE = Key("default", "federation-controller")
TIMING = LeaseTiming(duration_seconds=2, renew_seconds=1.5, retry_seconds=0.05, request_seconds=0.4)


class Replica:
    """One life of a replica, from when it is ``start``ed."""

    def __init__(self, name: str, opened: Callable[[], AbstractAsyncContextManager[KubeClient]]) -> None:
        self._opened = opened
        self._dead = False
        self.changes: list[bool] = []
        """Whether it led, each time it was told of a change."""
        self.election = LeaseElection(
            self._opening,
            LEASE.namespace,
            LEASE.name,
            name,
            monotonic=time.monotonic,
            now=lambda: CREATED,
            on_change=lambda: self.changes.append(self.election.leading),
            timing=TIMING,
        )
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self.election.run())

    async def stop(self) -> None:
        """As a process that is asked to end."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    async def kill(self) -> None:
        """As a process that has no time to say anything."""
        self._dead = True
        await self.stop()

    @asynccontextmanager
    async def _opening(self) -> AsyncIterator[KubeClient]:
        if self._dead:
            raise KubeError("the process is dead")
        async with self._opened() as client:
            yield client


class Board:
    """The cluster with the Lease, and those who want it."""

    def __init__(self, cluster: Cluster, kubeconfig: Path) -> None:
        self.cluster = cluster
        self._opened = partial(open_client, KubeAccess(kubeconfig))
        self.replicas: list[Replica] = []
        # A real server lives for the whole run.
        self._earlier = len(requests(cluster, USER))

    def replica(self, name: str) -> Replica:
        """Another one, started."""
        one = Replica(name, self._opened)
        self.replicas.append(one)
        one.start()
        return one

    @property
    def server(self) -> StandIn:
        """For the faults that only the stand-in has."""
        assert isinstance(self.cluster.server, StandIn)
        return self.cluster.server

    @property
    def leading(self) -> list[Replica]:
        return [one for one in self.replicas if one.election.leading]

    @property
    def lease(self) -> dict[str, Any]:
        """The spec of the Lease as it is stored; empty where there is none."""
        spec: dict[str, Any] = self.cluster.objects(LEASES).get(LEASE, {}).get("spec", {})
        return spec

    @property
    def answers(self) -> list[int]:
        """How every write of the replicas so far was answered."""
        asked = requests(self.cluster, USER)[self._earlier :]
        return [one.code for one in asked if one.asked.verb in {"create", "update"}]

    @property
    def writes(self) -> int:
        return sum(1 for code in self.answers if code < 300)


@asynccontextmanager
async def board(
    directory: Path, server: StandIn | RealServer, groups: Sequence[str] = (MASTERS,)
) -> AsyncIterator[Board]:
    """A board for the time of a block, whose replicas ask as ``USER``."""
    async with emptied(server) as cluster:
        found = Board(cluster, server.write_kubeconfig(directory / "kubeconfig", user=USER, groups=groups))
        try:
            yield found
        finally:
            if isinstance(server, StandIn):
                await server.come_back()
            for one in found.replicas:
                await one.stop()
