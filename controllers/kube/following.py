"""Following: the resources that somebody follows of a ClusterWatch, which may be others at another time."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import ExitStack

from controllers.kube.cluster_watch import ClusterWatch
from controllers.sources.resource_watch import Objects
from controllers.sources.watched_objects import Resource


class Following:
    """Of ``watch``, for ``objects``; ``news`` is called after they were told something."""

    def __init__(self, watch: ClusterWatch, objects: Objects, news: Callable[[], None]) -> None:
        self._watch = watch
        self._objects = objects
        self._news = news
        self._held: dict[Resource, ExitStack] = {}

    def want(self, resources: Iterable[Resource]) -> frozenset[Resource]:
        """Follow these and no others from now on; returns those that are followed no more, of which what is known must
        be forgotten. Never call it from within ``objects`` or ``news``."""
        wanted = dict.fromkeys(resources)
        gone = frozenset(self._held.keys() - wanted.keys())
        for resource in gone:
            self._held.pop(resource).close()
        for resource in wanted:
            if resource not in self._held:
                stack = ExitStack()
                stack.enter_context(self._watch.follow([resource], self._objects, self._news))
                self._held[resource] = stack
        return gone

    def end(self) -> None:
        """Follow nothing any more."""
        self.want(())
