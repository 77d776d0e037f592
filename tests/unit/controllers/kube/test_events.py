"""What of a change is told on an object, and how often."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from controllers.kube.events import BURST, REFILL_SECONDS, Correlator, Note, problem_notes, status_notes
from controllers.mcs.objects import export_id, import_id
from federation.model.problems import Problem
from support.builders import CREATED, ECHO

BETA = "multicluster.x-k8s.io/v1beta1"
EXPORT, IMPORT = export_id(ECHO), import_id(ECHO)
NEW = {"metadata": {"uid": "u1"}}


def told(*conditions: tuple[str, str, str, str]) -> dict[str, Any]:
    """An object with these conditions: type, status, reason, message."""
    keys = ("type", "status", "reason", "message")
    return {**NEW, "status": {"conditions": [dict(zip(keys, one, strict=True)) for one in conditions]}}


VALID = ("Valid", "True", "Valid", "service demo/echo can be exported")
PENDING = ("Ready", "False", "Pending", "demo/echo is not yet exported")
EXPORTED = ("Ready", "True", "Exported", "demo/echo is exported to the clusterset")
AGREED = ("Conflict", "False", "NoConflicts", "all exports agree")
CONFLICT = ("Conflict", "True", "PortConflict", "ports: 1 of 2 clusters disagrees")
MISSING = ("Valid", "False", "NoService", "service demo/echo does not exist")
FAILED = ("Ready", "False", "Failed", "it is too large")
LACKING = ("Ready", "False", "IPFamilyNotSupported", "IPv6 only")


@pytest.mark.parametrize(
    ("before", "after", "reasons"),
    [
        (NEW, told(VALID, PENDING, AGREED), []),
        (told(VALID, PENDING, AGREED), told(VALID, EXPORTED, AGREED), ["Normal Exported"]),
        (told(VALID, EXPORTED, AGREED), told(VALID, EXPORTED, AGREED), []),
        (NEW, told(MISSING, PENDING, AGREED), ["Warning NoService"]),
        (told(VALID, EXPORTED, AGREED), told(MISSING, PENDING, AGREED), ["Warning NoService"]),
        (told(MISSING, PENDING, AGREED), told(VALID, EXPORTED, AGREED), ["Normal Exported"]),
        (told(VALID, EXPORTED, AGREED), told(VALID, EXPORTED, CONFLICT), ["Warning Conflict"]),
        (told(CONFLICT), told((*CONFLICT[:3], "ports: 2 of 3 clusters disagree")), ["Warning Conflict"]),
        (told(VALID, EXPORTED, CONFLICT), told(VALID, EXPORTED, AGREED), ["Normal NoConflicts"]),
        (told(VALID, EXPORTED, CONFLICT), told(VALID, PENDING, CONFLICT), ["Warning Pending"]),
        (told(VALID, PENDING), told(VALID, FAILED), ["Warning Failed"]),
        (
            told(VALID, EXPORTED),
            told((*VALID[:3], f"{VALID[3]}, but not all of it: port"), EXPORTED),
            ["Warning PartlyValid"],
        ),
        (told((*VALID[:3], f"{VALID[3]}, but not all of it: port")), told(VALID), []),
    ],
)
def test_a_change_of_an_export_is_told_where_it_matters(
    before: dict[str, Any], after: dict[str, Any], reasons: list[str]
) -> None:
    """What every export goes through is not, nor what follows from what is told; what gets worse always is."""
    notes = status_notes(EXPORT, before, after, BETA)

    assert [f"{note.type} {note.reason}" for note in notes] == reasons
    assert {(note.id, note.uid, note.api_version) for note in notes} <= {(EXPORT, "u1", BETA)}
    messages = [one["message"] for one in after["status"]["conditions"]]
    assert all(note.message in messages for note in notes)


def test_an_import_tells_whether_it_can_be_called() -> None:
    """Families that the cluster lacks are a warning; whatever else may be in its status is not told."""
    became = status_notes(IMPORT, None, told(("Ready", "True", "Ready", "demo/echo is imported")), BETA)
    lacks = status_notes(IMPORT, told(EXPORTED), told(LACKING), BETA)
    nothing = status_notes(IMPORT, {"status": {"conditions": "x"}}, {"status": {"conditions": [3, {}]}}, BETA)

    assert [(one.type, one.reason) for one in (*became, *lacks)] == [
        ("Normal", "Imported"),
        ("Warning", "IPFamilyNotSupported"),
    ]
    assert nothing == ()


def test_problems_are_told_where_users_look() -> None:
    """On the import, unless they are about the export; not where the object is not there, and not missing rights."""
    problems = [
        Problem(str(IMPORT), "NotOurs", "is left as it is"),
        Problem("Service demo/derived-x", "ClustersetIPTaken", "gets another clusterset IP"),
        Problem(str(EXPORT), "Odd", "x", "spec"),
        Problem(str(IMPORT), "Forbidden", "no"),
        Problem(str(IMPORT), "Refused", "no"),
    ]
    notes = problem_notes(ECHO, problems, {IMPORT: NEW, EXPORT: NEW}, BETA)

    assert [(one.id, one.reason, one.message) for one in notes] == [
        (IMPORT, "NotOurs", "is left as it is"),
        (IMPORT, "ClustersetIPTaken", "Service demo/derived-x gets another clusterset IP"),
        (EXPORT, "Odd", "spec: x"),
    ]
    assert problem_notes(ECHO, problems, {}, BETA) == ()


def test_an_event_says_what_kubectl_shows() -> None:
    """Every field that an API server and ``kubectl describe`` look at."""
    event = Correlator("pod-a").event(Note(EXPORT, "u1", BETA, "Warning", "NoService", "x"), 5.0, CREATED)

    assert event is not None
    metadata = event.pop("metadata")  # type: ignore[attr-defined]
    assert (metadata["namespace"], metadata["name"].rpartition(".")[0]) == ("demo", "echo")
    assert event == {
        "apiVersion": "v1",
        "kind": "Event",
        "involvedObject": {
            "apiVersion": BETA,
            "kind": "ServiceExport",
            "namespace": "demo",
            "name": "echo",
            "uid": "u1",
        },
        "type": "Warning",
        "reason": "NoService",
        "message": "x",
        "count": 1,
        "firstTimestamp": CREATED.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "lastTimestamp": CREATED.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "source": {"component": "controller.federation-gateway.dev"},
        "reportingComponent": "controller.federation-gateway.dev",
        "reportingInstance": "pod-a",
    }


def test_the_same_again_is_counted() -> None:
    """On the same Event, which keeps its first time; anything else is another Event, also of another replica."""
    one, other = Correlator("pod-a"), Correlator("pod-b")
    note = Note(EXPORT, "u1", BETA, "Warning", "NoService", "x")
    later = CREATED + timedelta(minutes=1)
    events: list[Any] = [
        one.event(note, 1.0, CREATED),
        one.event(note, 61.0, later),
        one.event(Note(EXPORT, "u2", BETA, "Warning", "NoService", "x"), 61.0, later),
        other.event(note, 61.0, later),
    ]

    assert [event["count"] for event in events] == [1, 2, 1, 1]
    assert len({event["metadata"]["name"] for event in events}) == 3
    assert events[1]["firstTimestamp"] == events[0]["firstTimestamp"] < events[1]["lastTimestamp"]


def test_about_one_object_only_so_much_is_told() -> None:
    """A burst, and then one in five minutes; others are told of meanwhile."""
    correlator = Correlator("pod-a")

    def tells(number: int, at: float, uid: str = "u1") -> bool:
        note = Note(EXPORT, uid, BETA, "Warning", "NoService", f"{number}")
        return correlator.event(note, at, CREATED) is not None

    burst = [tells(number, 10.0) for number in range(BURST + 5)]

    assert burst == [True] * BURST + [False] * 5
    assert (tells(90, 10.0 + REFILL_SECONDS - 1), tells(91, 10.0, "u2")) == (False, True)
    assert [tells(number, 11.0 + REFILL_SECONDS) for number in range(2)] == [True, False]


def test_what_was_told_long_ago_is_forgotten() -> None:
    """A cluster may have any number of objects: the same note is a new Event then."""
    correlator = Correlator("pod-a")
    note = Note(EXPORT, "u", BETA, "Warning", "NoService", "x")
    correlator.event(note, 0.0, CREATED)
    for number in range(4096):
        correlator.event(Note(EXPORT, f"u{number}", BETA, "Warning", "NoService", "x"), 0.0, CREATED)
    again: Any = correlator.event(note, 0.0, CREATED)

    assert again["count"] == 1


def test_a_long_message_is_cut() -> None:
    """To what an API server takes."""
    (note,) = status_notes(EXPORT, None, told(("Valid", "False", "NoService", "x" * 5000)), BETA)

    assert len(note.message) == 1024
    assert note.message.endswith("x…")
