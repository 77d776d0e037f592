"""Status of a ServiceExport: whether it is valid, whether it reached the clusterset, whether the exporters agree. Pure.

Valid is the export rules' (``federation.model.export``), Conflict the merge's, and Ready is what the publisher knows:
this is where the three meet in the words of the MCS API. ``kubectl describe serviceexport`` is what a user looks at, so
each message says what is wrong and what to do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Final

from controllers.mcs.objects import Apply, Document, export_id, section
from controllers.mcs.stamped_conditions import stamp_conditions
from controllers.projection import ServiceResult
from federation.model.conditions import Condition, ConditionStatus
from federation.model.merge import conflict_condition
from federation.model.names import ServiceKey
from federation.model.problems import Problem
from federation.model.view import MergedService

# In a message, so that it stays readable.
_PROBLEMS_SHOWN = 3

PARTLY: Final = ", but not all of it: "
"""In the message of a Valid condition that is true and does not hold for everything that was exported."""

_NEXT_STEPS: Final[Mapping[str, str]] = {
    "NoService": "create it in this namespace, or delete the ServiceExport",
    "InvalidServiceType": (
        "only Services of type ClusterIP, NodePort and LoadBalancer can be exported: change its type, or delete the"
        " ServiceExport"
    ),
}
"""By reason of a Valid condition that is false."""


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
    return valid, _ready(key, publication), _conflict(result.merged)


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
        message = f"{key} can't be read{cause}; correct the ServiceExport"
        return Condition("Valid", ConditionStatus.FALSE, "InvalidServiceExport", message)
    (valid,) = found
    if valid.status is not ConditionStatus.TRUE:
        about_service = [replace(one, subject="") for one in noted if one.subject == f"Service {key}"]
        if valid.reason == "NoService" and about_service:
            # It is there, and nothing of it can be used: that it didn't exist would send the user the wrong way.
            message = f"service {key} can't be used: {_told(about_service)}; correct the Service"
            return Condition("Valid", valid.status, valid.reason, message)
        step = _NEXT_STEPS.get(valid.reason)
        return replace(valid, message=f"{valid.message}; {step}") if step else valid
    unused = (*result.exported.problems, *noted) if result is not None else ()
    if not unused:
        return valid
    left_out = f"{valid.message}{PARTLY}{_told(unused)}; what is wrong is left out until it is corrected"
    return Condition("Valid", valid.status, valid.reason, left_out)


def _ready(key: ServiceKey, publication: Publication) -> Condition:
    if publication.delivery is Delivery.EXPORTED:
        return Condition("Ready", ConditionStatus.TRUE, Delivery.EXPORTED, f"{key} is exported to the clusterset")
    cause = f": {publication.cause}; `federation status` tells more" if publication.cause else ""
    return Condition("Ready", ConditionStatus.FALSE, publication.delivery, f"{key} is not yet exported{cause}")


def _conflict(merged: MergedService) -> Condition:
    condition = conflict_condition(merged)
    if condition.status is not ConditionStatus.TRUE:
        return condition
    step = "let the Services and ServiceExports of all clusters say the same, or delete those that are not wanted"
    return replace(condition, message=f"{condition.message}; {step}")


def _told(problems: Sequence[Problem]) -> str:
    lines = []
    for problem in sorted(set(problems))[:_PROBLEMS_SHOWN]:
        path = f" {problem.path}" if problem.path else ""
        lines.append(f"{problem.subject}{path}: {problem.message}".removeprefix(": ").lstrip())
    more = len(set(problems)) - len(lines)
    return "; ".join(lines) + (f"; and {more} more" if more else "")
