"""The audit log of a real API server, read back in the terms of the stand-in's."""

from __future__ import annotations

import json
from http import HTTPStatus
from pathlib import Path

from support.kube.api import Audited
from support.kube.authorization import Attributes
from support.kube.objects import Json

POLICY: Json = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived"],
    "rules": [
        {"level": "None", "users": ["system:apiserver"]},
        {"level": "None", "nonResourceURLs": ["/*"]},
        {"level": "Metadata"},
    ],
}
"""Who, what and how it was answered, without bodies; not what the API server does for itself."""


class AuditLog:
    """Reads on where it last ended: the log grows for the whole run."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0
        self._read: list[Audited] = []

    def read(self) -> list[Audited]:
        """All so far, in the order in which they were answered."""
        if not self._path.exists():
            return []
        with self._path.open("rb") as file:
            file.seek(self._offset)
            for line in file:
                if not line.endswith(b"\n"):
                    break  # being written
                self._offset += len(line)
                if (found := audited(json.loads(line))) is not None:
                    self._read.append(found)
        return list(self._read)


def audited(event: Json) -> Audited | None:
    """The request that an event is about; None for one that tells nothing more, and for what is no resource.

    A watch is told of when it starts and when it ends, of which the start counts.
    """
    asked = event.get("objectRef")
    verb = event["verb"]
    code = event.get("responseStatus", {}).get("code", 0)
    wanted = "ResponseStarted" if verb == "watch" and code == HTTPStatus.OK else "ResponseComplete"
    if asked is None or event["stage"] != wanted:
        return None
    user = event.get("impersonatedUser") or event["user"]
    parts = (asked.get(name, "") for name in ("apiGroup", "resource", "subresource", "namespace", "name"))
    return Audited(user.get("username", ""), Attributes(verb, *parts), code)
