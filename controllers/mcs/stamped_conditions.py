"""Conditions as an object's status carries them: with generation and transition times. Pure.

The time of a condition is that of the last change of its status, so it is kept while the status stays, as Kubernetes'
own controllers do: a status that is written anew for another message must not look like a transition.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Final

from controllers.mcs.objects import Document, mapping, rfc3339, sequence, text
from federation.model.conditions import Condition

MAX_MESSAGE: Final = 4096
"""Characters; the schema takes 32,768, a reader of ``kubectl describe`` far less."""


def stamp_conditions(
    wanted: Iterable[Condition], existing: object, *, generation: int | None, now: datetime
) -> list[Document]:
    """``wanted`` as items of ``status.conditions``, in its order; ``existing`` is that list as it is now."""
    before = {text(mapping(item).get("type")): mapping(item) for item in sequence(existing)}
    stamped: list[Document] = []
    for condition in wanted:
        known = before.get(condition.type, {})
        since = text(known.get("lastTransitionTime")) if known.get("status") == condition.status.value else ""
        observed = {} if generation is None else {"observedGeneration": generation}
        stamped.append(
            {
                "type": condition.type,
                "status": condition.status.value,
                "reason": condition.reason,
                "message": _shortened(condition.message),
                **observed,
                "lastTransitionTime": since or rfc3339(now),
            }
        )
    return stamped


def _shortened(message: str) -> str:
    return message if len(message) <= MAX_MESSAGE else f"{message[: MAX_MESSAGE - 1]}…"
