"""Post: one controller's place among those of its cluster, for as long as the process lives.

It takes part in the election and shares the lasting files, before there is a membership and after one is over. Who
``leads`` has been elected and has taken over all that was there before.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from math import ceil
from pathlib import Path
from typing import Final

from controllers.kube.client import KubeAccess, KubeError, open_client
from controllers.kube.leadership import LeaseTiming
from controllers.kube.lease import LeaseElection
from federation.app.clock import awake_or_not, utc_now
from federation.app.kube.shared_state import SharedState
from federation.install.vocabulary import LEASE
from federation.model.configuration import KubernetesSettings
from federation.model.problems import Problem

POD_NAME: Final = "POD_NAME"
"""The environment variable that names the pod, where there is one."""
_APART: Final = "_"
"""Between the pod's name and what tells its lives apart."""


def access_of(settings: KubernetesSettings) -> KubeAccess:
    """How the API server is asked."""
    return KubeAccess(settings.kubeconfig, settings.context or None)


def _timing(seconds: float) -> LeaseTiming:
    """The proportions of Kubernetes' own leases, for one of so many seconds."""
    usual = LeaseTiming()
    share = seconds / usual.duration_seconds
    return LeaseTiming(
        # A Lease has whole seconds.
        duration_seconds=ceil(seconds),
        renew_seconds=usual.renew_seconds * share,
        retry_seconds=usual.retry_seconds * share,
        request_seconds=usual.request_seconds * share,
    )


def pod_of(identity: str) -> str:
    """The pod whose controller has this identity."""
    return identity.rpartition(_APART)[0]


def own_pod() -> str:
    """The pod that this process runs in, or else its host."""
    # The host has the pod's name too, but for pods in the network of their host.
    return os.environ.get(POD_NAME) or socket.gethostname()


class Post:
    """In the namespace that ``settings`` name, with the lasting files of the cluster in ``directory``."""

    def __init__(self, settings: KubernetesSettings, directory: Path) -> None:
        opened = partial(open_client, access_of(settings))
        self.identity = f"{own_pod()}{_APART}{secrets.token_hex(4)}"
        self.state = SharedState(opened, settings.namespace, directory)
        self._election = LeaseElection(
            opened,
            settings.namespace,
            LEASE,
            self.identity,
            monotonic=awake_or_not,
            now=utc_now,
            on_change=self._elected,
            timing=_timing(settings.lease_seconds),
        )
        self._gained, self._lost = asyncio.Event(), asyncio.Event()
        self._lost.set()
        self._listeners: list[Callable[[frozenset[str]], None]] = []

    @property
    def leads(self) -> bool:
        """Whether this process alone may speak and write for its cluster now."""
        return self._election.leading and self.state.taken_over

    @property
    def seconds_left(self) -> float:
        """Until when what it writes must have ended; 0 while it does not lead."""
        return self._election.seconds_left if self.state.taken_over else 0.0

    @property
    def leader(self) -> str:
        """The pod, or host, whose controller leads; empty where that is not known."""
        return pod_of(self._election.leader)

    @property
    def problems(self) -> tuple[Problem, ...]:
        return (*self._election.problems, *self.state.problems)

    def listen(self, on_change: Callable[[frozenset[str]], None]) -> Callable[[], None]:
        """Have ``on_change`` hear which shared files other controllers have changed, and, with none, that this one
        leads or no longer does; returns what ends that."""
        self._listeners.append(on_change)
        return partial(self._listeners.remove, on_change)

    async def run(self) -> None:
        """Until cancelled; then all that this process has made is shared, and another may lead at once. Whoever writes
        while this process leads must have ended before."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._election.run(), name="election")
            try:
                await self.state.run(lambda: self._election.leading, lambda: self._election.seconds_left, self._changed)
            finally:
                if self.leads:
                    with suppress(KubeError, OSError):
                        await self.state.save(seconds_left=self.seconds_left)

    async def wait_leading(self) -> None:
        """Return once this process leads."""
        await self._gained.wait()

    async def wait_following(self) -> None:
        """Return once it does not."""
        await self._lost.wait()

    async def saved(self) -> bool:
        """Wait until the Secret holds what the directory holds; returns whether it does, which is for others to see to
        once this process does not lead. Raises OSError."""
        saving, following = asyncio.ensure_future(self.state.saved()), asyncio.ensure_future(self.wait_following())
        try:
            await asyncio.wait((saving, following), return_when=asyncio.FIRST_COMPLETED)
            if saving.done():
                saving.result()
            return saving.done()
        finally:
            saving.cancel()
            following.cancel()

    def _elected(self) -> None:
        self.state.hurry()
        self._changed(frozenset())

    def _changed(self, files: frozenset[str]) -> None:
        leads = self.leads
        if not files and leads == self._gained.is_set():
            return
        now, before = (self._gained, self._lost) if leads else (self._lost, self._gained)
        now.set()
        before.clear()
        for listener in tuple(self._listeners):
            listener(files)
