"""Status of a ServiceExport: whether it is valid, whether it reached the clusterset, whether the exporters agree. Pure.

Valid is the export rules' (``federation.model.export``), Conflict the merge's, and Ready is what the publisher knows:
this is where the three meet in the words of the MCS API.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from controllers.mcs.objects import Apply, Document, export_id, section
from controllers.mcs.stamped_conditions import stamp_conditions
from controllers.projection import ServiceResult
from federation.model.conditions import Condition, ConditionStatus
from federation.model.merge import conflict_condition
from federation.model.names import ServiceKey
from federation.model.problems import Problem

# In a message, so that it stays readable.
_PROBLEMS_SHOWN = 3


class Delivery(StrEnum):
    """How far an export came: the reasons of its Ready condition in the push model."""

    EXPORTED = "Exported"
    PENDING = "Pending"
    FAILED = "Failed"


@dataclass(frozen=True, slots=True)
class Publication:
    """What the publisher knows of the cluster's exports."""

    delivery: Delivery
    cause: str = ""
    """Why it is not ``EXPORTED``: one sentence, lower case, no final period."""


def export_conditions(
    key: ServiceKey, result: ServiceResult | None, publication: Publication, noted: Sequence[Problem] = ()
) -> tuple[Condition, ...]:
    """Valid, Ready and Conflict of an export that exists. ``noted`` is what the source found wrong about the Service,
    its slices or the export; ``result`` is None, or has no conditions, where the export itself could not be read."""
    valid = _valid(key, result, noted)
    if valid.status is not ConditionStatus.TRUE or result is None or result.merged is None:
        return (
            valid,
            Condition("Ready", ConditionStatus.FALSE, Delivery.PENDING, f"{key} is not exported until it is valid"),
            Condition("Conflict", ConditionStatus.FALSE, "NoConflicts", f"{key} is not exported by this cluster"),
        )
    return valid, _ready(key, publication), conflict_condition(result.merged)


def export_status(
    key: ServiceKey, export: Document, conditions: Sequence[Condition], *, api_version: str, now: datetime
) -> Apply:
    """The write of the status of the ServiceExport that was observed as ``export``."""
    generation = section(export, "metadata").get("generation")
    stamped = stamp_conditions(
        conditions,
        section(export, "status").get("conditions"),
        generation=generation if isinstance(generation, int) else None,
        now=now,
    )
    document = {
        "apiVersion": api_version,
        "kind": "ServiceExport",
        "metadata": {"namespace": key.namespace, "name": key.name},
        "status": {"conditions": stamped},
    }
    return Apply(export_id(key), "status", document)


def _valid(key: ServiceKey, result: ServiceResult | None, noted: Sequence[Problem]) -> Condition:
    found = () if result is None else tuple(one for one in result.exported.conditions if one.type == "Valid")
    if not found:
        cause = f": {_told(noted)}" if noted else ""
        return Condition("Valid", ConditionStatus.FALSE, "InvalidServiceExport", f"{key} can't be read{cause}")
    (valid,) = found
    if valid.status is not ConditionStatus.TRUE:
        about_service = [replace(one, subject="") for one in noted if one.subject == f"Service {key}"]
        if valid.reason == "NoService" and about_service:
            # It is there, and nothing of it can be used: that it didn't exist would send the user the wrong way.
            return Condition(
                "Valid", valid.status, valid.reason, f"service {key} can't be used: {_told(about_service)}"
            )
        return valid
    unused = (*result.exported.problems, *noted) if result is not None else ()
    if not unused:
        return valid
    return Condition("Valid", valid.status, valid.reason, f"{valid.message}, but not all of it: {_told(unused)}")


def _ready(key: ServiceKey, publication: Publication) -> Condition:
    if publication.delivery is Delivery.EXPORTED:
        return Condition("Ready", ConditionStatus.TRUE, Delivery.EXPORTED, f"{key} is exported to the clusterset")
    cause = f": {publication.cause}" if publication.cause else ""
    return Condition("Ready", ConditionStatus.FALSE, publication.delivery, f"{key} is not yet exported{cause}")


def _told(problems: Sequence[Problem]) -> str:
    lines = []
    for problem in sorted(set(problems))[:_PROBLEMS_SHOWN]:
        path = f" {problem.path}" if problem.path else ""
        lines.append(f"{problem.subject}{path}: {problem.message}".removeprefix(": ").lstrip())
    more = len(set(problems)) - len(lines)
    return "; ".join(lines) + (f"; and {more} more" if more else "")
