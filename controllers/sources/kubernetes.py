"""The Kubernetes source: the objects of a cluster's API server as a Source.

Drives the parts that do the work: a ``cluster_watch`` reads, ``watched_objects`` says what it means. Events in quick
succession come as one update.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from functools import partial

from controllers.kube.client import KubeAccess, open_client
from controllers.kube.cluster_watch import ClusterWatch
from controllers.sources.base import SourceUpdate
from controllers.sources.resource_watch import Patience
from controllers.sources.watched_objects import PODS, RESOURCES, WatchedObjects


class KubernetesSource:
    """Source of a cluster that is backed by Kubernetes.

    ``watch`` is one that others share, and that somebody runs. With ``pods``, workloads have the identities of their
    pods, of those that have a sidecar; without, all have that of their slice, and no right to read pods is needed.
    """

    def __init__(
        self,
        access: KubeAccess,
        patience: Patience | None = None,
        *,
        watch: ClusterWatch | None = None,
        pods: bool = False,
    ) -> None:
        self._access = access
        self._patience = patience
        self._resources = (*RESOURCES, PODS) if pods else RESOURCES
        self._shared = watch

    async def updates(self) -> AsyncGenerator[SourceUpdate, None]:
        """See Source; an API server that can't be reached, or lacks the MCS API, is waited for."""
        objects, news = WatchedObjects(self._resources), asyncio.Event()
        watch = self._shared or ClusterWatch(partial(open_client, self._access), self._patience)
        with watch.follow(self._resources, objects, news.set):
            # No task group: it can't span a yield (closing the stream would raise out of it).
            tasks = [] if self._shared else [asyncio.get_running_loop().create_task(watch.run(), name="watch of all")]
            for task in tasks:
                task.add_done_callback(lambda _: news.set())
            try:
                while True:
                    await news.wait()
                    news.clear()
                    for task in tasks:
                        if task.done():
                            # It ends by a bug of ours alone, which must not go unnoticed.
                            task.result()
                    if (update := objects.update()) is not None:
                        yield update
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
