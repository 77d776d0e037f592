"""Expected trouble in data, as values: returned beside a result, logged once per change, shown in status."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """Something in a manifest, a record or a policy that is not used, and why."""

    subject: str
    """What is at fault: ``Service demo/echo`` or ``apps/echo.yaml document 2 (Service demo/echo)``."""
    reason: str
    """Stable CamelCase code, for metrics and tests."""
    message: str
    """One sentence, lower case, no final period."""
    path: str = ""
    """Field path inside the object, such as ``spec.ports[0].port``; empty where the whole object is meant."""

    def __str__(self) -> str:
        where = f" {self.path}" if self.path else ""
        return f"{self.subject}{where}: {self.message} ({self.reason})"
