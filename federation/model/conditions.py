"""Conditions of the MCS API's objects, as values: types and reasons spelled as the API spells them.

Written by the export and merge rules, copied into object status by the controllers. Transition times belong
to the writer of the status, not here: a condition has no clock.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class ConditionStatus(StrEnum):
    TRUE = "True"
    FALSE = "False"
    UNKNOWN = "Unknown"


@dataclass(frozen=True, slots=True)
class Condition:
    """One entry of ``status.conditions`` of a ServiceExport or a ServiceImport."""

    type: str
    """``Valid``, ``Ready`` or ``Conflict``."""
    status: ConditionStatus
    reason: str
    """CamelCase; several reasons of one conflict are joined by commas, without spaces (MCS API)."""
    message: str
    """One sentence, lower case, no final period."""
