"""Lists, in pages that all show the revision of the first one until it is compacted."""

from __future__ import annotations

import base64
import json
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass

from support.kube.kinds import ResourceType
from support.kube.objects import GroupResource, Json
from support.kube.refusals import bad_request, expired, too_large_version
from support.kube.registry import served
from support.kube.requests import number
from support.kube.selectors import Selector
from support.kube.store import Store

SNAPSHOTS = 32
TOO_OLD = (
    "The provided continue parameter is too old to display a consistent list result. You can start a new list without "
    "the continue parameter."
)


@dataclass(frozen=True, slots=True)
class Page:
    """A list's items and its metadata."""

    items: tuple[Json, ...]
    metadata: Json


class Listings:
    """Lists of one server. What a page goes on from is kept until compaction, or until others need the place."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._snapshots: OrderedDict[tuple[GroupResource, int], tuple[Json, ...]] = OrderedDict()

    def forget(self) -> None:
        """What compaction does to lists under way."""
        self._snapshots.clear()

    def page(self, kind: ResourceType, selector: Selector, query: Mapping[str, str]) -> Page:
        """What is asked for; raises a 410 for a page whose revision is gone, a 504 for a revision of the future."""
        limit, token = number(query, "limit"), query.get("continue", "")
        revision, offset = _parse_token(token) if token else (self._current(query), 0)
        found = self._snapshots.get((kind.resource, revision)) if token else None
        if token and found is None:
            raise expired(TOO_OLD)
        if found is None:
            bodies = self._store.objects(kind.resource)
            found = tuple(body for _, body in sorted(bodies.items()))
        rest = [(at, body) for at, body in enumerate(found[offset:], offset) if selector.matches(body)]
        shown = rest[:limit] if limit else rest
        metadata: Json = {"resourceVersion": str(revision)}
        if len(shown) < len(rest):
            self._keep((kind.resource, revision), found)
            metadata["continue"] = _token(revision, shown[-1][0] + 1)
            if not selector.narrows:
                metadata["remainingItemCount"] = len(rest) - len(shown)
        return Page(tuple(served(kind, body) for _, body in shown), metadata)

    def _current(self, query: Mapping[str, str]) -> int:
        asked, current = number(query, "resourceVersion"), self._store.revision
        if asked is not None and asked > current:
            raise too_large_version(asked, current)
        if query.get("resourceVersionMatch") == "Exact" and asked != current:
            raise expired(f"The resourceVersion for the provided list is too old: {asked}")
        return current

    def _keep(self, key: tuple[GroupResource, int], found: tuple[Json, ...]) -> None:
        self._snapshots[key] = found
        if len(self._snapshots) > SNAPSHOTS:
            self._snapshots.popitem(last=False)


def _token(revision: int, offset: int) -> str:
    value = json.dumps({"v": "meta.k8s.io/v1", "rv": revision, "start": offset})
    return base64.urlsafe_b64encode(value.encode()).decode()


def _parse_token(token: str) -> tuple[int, int]:
    try:
        value = json.loads(base64.urlsafe_b64decode(token))
        return int(value["rv"]), int(value["start"])
    except (ValueError, KeyError, TypeError) as error:
        raise bad_request(f"continue key is not valid: {error}") from error
