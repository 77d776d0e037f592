"""What is told on an object, for ``kubectl describe``, when its status changes: Events (core v1). Pure.

Which changes are worth one is decided here, and that the same is not told again and again: a repetition raises the
count of the Event there is, and an object about which much is told has only so many (as client-go's correlator does).
Nothing depends on Events; the API server forgets them after an hour.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final, TypeVar

from controllers.mcs.export_status import PARTLY
from controllers.mcs.objects import (
    MANAGER,
    Document,
    Observed,
    digest,
    export_id,
    import_id,
    mapping,
    rfc3339,
    section,
    sequence,
    text,
    uid_of,
)
from controllers.sources.manifests import ObjectId
from federation.model.names import ServiceKey
from federation.model.problems import Problem

K = TypeVar("K")
V = TypeVar("V")

BURST: Final = 25
"""Events about one object before it has to wait (client-go, defaultSpamBurst)."""
REFILL_SECONDS: Final = 300.0
"""After which an object may have one more (client-go, defaultSpamQPS)."""
_REMEMBERED: Final = 4096
"""Events, and objects, of which it is known what was told (client-go, maxLruCacheEntries)."""
_MAX_MESSAGE: Final = 1024
"""Characters that an API server takes (Kubernetes, noteLengthLimit)."""


@dataclass(frozen=True, slots=True)
class Note:
    """Something to be told on an object."""

    id: ObjectId
    uid: str
    api_version: str
    type: str
    """``Normal`` or ``Warning``."""
    reason: str
    """CamelCase."""
    message: str


def status_notes(id_: ObjectId, before: Document | None, after: Document, api_version: str) -> tuple[Note, ...]:
    """What the change of an object's conditions, from what was observed to what was written, is worth telling."""
    old, new = _conditions(before), _conditions(after)
    told: list[tuple[str, str, str]] = []
    for kind, condition in new.items():
        known = old.get(kind, {})
        # That what is not valid is not ready either needs no word.
        follows = kind == "Ready" and new.get("Valid", {}).get("status") == "False"
        if not follows and _facts(known) != _facts(condition):
            told += _worth_telling(id_.kind, known, condition)
    return tuple(_note(id_, uid_of(after), api_version, *one) for one in told)


def problem_notes(
    key: ServiceKey, problems: Iterable[Problem], observed: Observed, api_version: str
) -> tuple[Note, ...]:
    """What is told of problems of a service that no condition tells: on the ServiceExport if it is about that, else on
    the ServiceImport, where users look."""
    notes: list[Note] = []
    for problem in problems:
        id_ = export_id(key) if problem.subject == str(export_id(key)) else import_id(key)
        if (found := observed.get(id_)) is not None and problem.reason not in _UNTOLD:
            about = "" if problem.subject == str(id_) else f"{problem.subject} "
            where = f"{problem.path}: " if problem.path else ""
            message = f"{about}{where}{problem.message}"
            notes.append(_note(id_, uid_of(found), api_version, "Warning", problem.reason, message))
    return tuple(notes)


_UNTOLD: Final = frozenset({"Forbidden", "Refused"})
"""What concerns whoever runs the controller, and nobody who looks at a service."""


class Correlator:
    """What was told lately; ``at`` is any seconds that only go forward. ``instance`` names the replica."""

    def __init__(self, instance: str) -> None:
        self._instance = instance
        self._told: OrderedDict[Note, tuple[str, str, int]] = OrderedDict()
        """Name, time of the first and count of the Event of each note."""
        self._spent: OrderedDict[tuple[ObjectId, str], tuple[float, float]] = OrderedDict()
        """How many Events an object may still have, and since when."""

    def event(self, note: Note, at: float, now: datetime) -> Document | None:
        """The Event as it is to be applied; None where enough was told about the object."""
        if not self._allowed((note.id, note.uid), at):
            return None
        time = rfc3339(now)
        seed = f"{note.uid}/{note.type}/{note.reason}/{note.message}/{now.isoformat()}/{self._instance}"
        name, first, count = self._told.pop(note, (f"{note.id.name}.{digest(seed)}", time, 0))
        _remember(self._told, note, (name, first, count + 1))
        return {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"namespace": note.id.namespace or "default", "name": name},
            "involvedObject": {
                "apiVersion": note.api_version,
                "kind": note.id.kind,
                "namespace": note.id.namespace,
                "name": note.id.name,
                "uid": note.uid,
            },
            "type": note.type,
            "reason": note.reason,
            "message": note.message,
            "count": count + 1,
            "firstTimestamp": first,
            "lastTimestamp": time,
            "source": {"component": MANAGER},
            "reportingComponent": MANAGER,
            "reportingInstance": self._instance,
        }

    def _allowed(self, about: tuple[ObjectId, str], at: float) -> bool:
        left, since = self._spent.pop(about, (float(BURST), at))
        left = min(left + (at - since) / REFILL_SECONDS, float(BURST))
        allowed = left >= 1
        _remember(self._spent, about, (left - 1 if allowed else left, at))
        return allowed


def _worth_telling(kind: str, old: Document, new: Document) -> Iterable[tuple[str, str, str]]:
    """Type, reason and message of what the change of one condition is worth."""
    was, status, reason = text(old.get("status")), text(new.get("status")), text(new.get("reason"))
    message = text(new.get("message"))
    match text(new.get("type")), status:
        case "Valid", "False":
            yield "Warning", reason, message
        case "Valid", "True" if PARTLY in message:
            yield "Warning", "PartlyValid", message
        case "Conflict", "True":
            yield "Warning", "Conflict", message
        case "Conflict", "False" if was == "True" and reason == "NoConflicts":
            yield "Normal", "NoConflicts", message
        case "Ready", "True" if was != "True":
            yield "Normal", "Exported" if kind == "ServiceExport" else "Imported", message
        case "Ready", "False" if was == "True" or reason not in _PASSING:
            yield "Warning", reason, message


_PASSING: Final = frozenset({"Pending"})
"""Reasons that every object has for a moment, and that say nothing until it lasts."""


def _conditions(document: Document | None) -> Mapping[str, Document]:
    found = [mapping(one) for one in sequence(section(document, "status").get("conditions"))]
    return {text(one.get("type")): one for one in found}


def _facts(condition: Document) -> tuple[object, ...]:
    return tuple(condition.get(name) for name in ("status", "reason", "message"))


def _note(id_: ObjectId, uid: str, api_version: str, type_: str, reason: str, message: str) -> Note:
    short = message if len(message) <= _MAX_MESSAGE else f"{message[: _MAX_MESSAGE - 1]}…"
    return Note(id_, uid, api_version, type_, reason, short)


def _remember(kept: OrderedDict[K, V], key: K, value: V) -> None:
    kept[key] = value
    if len(kept) > _REMEMBERED:
        kept.popitem(last=False)
