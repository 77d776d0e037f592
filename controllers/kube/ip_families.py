"""IpFamilies: which families the Services of the cluster can have, as its API server says.

Nothing that can be read tells it in every cluster: the ``kubernetes`` Service has one family where Services may have
two, ranges of Services are objects only since Kubernetes 1.33, and those of nodes are the pods'. So the API server is
asked what a Service would get that prefers two families (KEP-563), by ``dryRun=All``, which makes nothing. Only whoever
runs the control plane can change the answer; it is asked for again once in a while.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Final, Protocol

import structlog

from controllers.kube.client import KubeError
from controllers.mcs.objects import Document, section, texts
from controllers.sources.resource_watch import Patience
from federation.model.problems import Problem

_log = structlog.get_logger(__name__)

AGAIN_SECONDS: Final = 3600.0
_FAMILIES: Final = frozenset({"IPv4", "IPv6"})


class ProbingApi(Protocol):
    """What is needed of a client of the API server; see ``controllers.kube.client.KubeClient``."""

    async def create(self, document: Document, *, dry_run: bool = False) -> Document: ...


def probe_of(namespace: str) -> Document:
    """A Service that shows the families, in a namespace that exists."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"namespace": namespace, "name": "federation-ip-families"},
        "spec": {"type": "ClusterIP", "ipFamilyPolicy": "PreferDualStack", "ports": [{"name": "any", "port": 1}]},
    }


def parse_families(answer: Document) -> tuple[str, ...]:
    """The families of a Service, the cluster's first one first; empty where it says none that is known."""
    return tuple(family for family in texts(section(answer, "spec").get("ipFamilies")) if family in _FAMILIES)


class IpFamilies:
    """Asks with clients that ``opened`` gives, in ``namespace``; ``on_change`` gets families that are others."""

    def __init__(
        self,
        opened: Callable[[], AbstractAsyncContextManager[ProbingApi]],
        namespace: str,
        on_change: Callable[[tuple[str, ...]], None],
        *,
        patience: Patience | None = None,
        again_seconds: float = AGAIN_SECONDS,
    ) -> None:
        self._opened = opened
        self._namespace = namespace
        self._on_change = on_change
        self._patience = patience or Patience()
        self._again_seconds = again_seconds
        self._failures = 0
        self.families: tuple[str, ...] = ()
        """As last told; empty before the first answer."""
        self.problems: tuple[Problem, ...] = ()
        """Why they are not known, or may be old."""

    async def run(self) -> None:
        """Ask, and ask again, until cancelled."""
        while True:
            try:
                async with self._opened() as client:
                    found = parse_families(await client.create(probe_of(self._namespace), dry_run=True))
                if not found:
                    raise KubeError("the API server tells no IP family of a Service")
            except KubeError as error:
                self._note(error)
                longer = self._patience.first_retry_seconds * 2 ** min(self._failures, 20)
                self._failures += 1
                wait = min(longer, self._patience.last_retry_seconds)
            else:
                self._failures, self.problems, wait = 0, (), self._again_seconds
                self._take(found)
            await asyncio.sleep(wait * random.uniform(0.5, 1.0))  # noqa: S311

    def _take(self, found: tuple[str, ...]) -> None:
        if found != self.families:
            _log.info("services of the cluster have other IP families", families=found)
            self.families = found
            self._on_change(found)

    def _note(self, error: KubeError) -> None:
        told = (
            f"{error}; imports get {' and '.join(self.families)} only" if self.families else f"{error}; IPv4 is assumed"
        )
        problems = (Problem(f"IP families of Services in {self._namespace}", "Unknown", told),)
        if problems != self.problems:
            _log.warning("ip families of the cluster are not known", reason=str(error), hint=error.hint)
        self.problems = problems
