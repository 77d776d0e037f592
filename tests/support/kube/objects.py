"""What every part of the stand-in says about an object: its JSON, its keys, its times. Pure."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, NamedTuple

Json = dict[str, Any]

GroupResource = tuple[str, str]
"""API group ("" is the core group) and plural: what storage and events are kept by, whatever the version."""


class Key(NamedTuple):
    """Where an object is among those of its resource; the namespace is "" for one of the whole cluster."""

    namespace: str
    name: str


def key_of(body: Json) -> Key:
    metadata = body["metadata"]
    return Key(metadata.get("namespace", ""), metadata["name"])


def duplicate(body: Json) -> Json:
    """A deep copy: what is stored is never changed in place."""
    return copy.deepcopy(body)


def timestamp(moment: datetime) -> str:
    """A time as metav1.Time writes it: UTC, whole seconds."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def at(body: Any, path: Iterable[str]) -> Any:
    """The value at a path of names, None where there is none."""
    for name in path:
        if not isinstance(body, dict):
            return None
        body = body.get(name)
    return body


def finalizers(body: Json) -> list[str]:
    return list(body["metadata"].get("finalizers") or ())


def is_terminating(body: Json) -> bool:
    return "deletionTimestamp" in body["metadata"]


def owner_uids(body: Json) -> list[str]:
    return [owner["uid"] for owner in body["metadata"].get("ownerReferences") or ()]
