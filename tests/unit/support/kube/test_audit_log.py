"""Requests as they stand in the audit log of a real API server."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from support.kube.api import Audited
from support.kube.audit_log import AuditLog, audited
from support.kube.authorization import Attributes


def event(verb: str = "create", stage: str = "ResponseComplete", code: int = 201, **more: Any) -> dict[str, Any]:
    asked = {"resource": "services", "namespace": "demo", "name": "echo", "apiVersion": "v1"}
    response = {"metadata": {}, "code": code}
    user = {"username": "jane", "groups": ["system:authenticated"]}
    return {"verb": verb, "stage": stage, "user": user, "objectRef": asked, "responseStatus": response, **more}


def test_a_request_counts_when_it_was_answered() -> None:
    """A watch already when it is accepted, and only then; what is no resource never."""
    request = Audited("jane", Attributes("create", "", "services", "", "demo", "echo"), 201)
    watch = Audited("jane", Attributes("watch", "", "services", "", "demo", "echo"), 200)

    assert audited(event()) == request
    assert audited(event("watch", "ResponseStarted", 200)) == watch
    assert audited(event("watch", "ResponseComplete", 200)) is None
    assert audited(event("watch", "ResponseComplete", 403)) is not None
    assert audited(event("list", "ResponseStarted", 200)) is None
    assert audited(event(objectRef=None)) is None


def test_whoever_is_impersonated_is_the_user() -> None:
    """As RBAC sees it; who is nobody has no name."""
    shown, nobody = audited(event(impersonatedUser={"username": "bob"})), audited(event(user={}, code=401))

    assert shown is not None
    assert nobody is not None
    assert (shown.user, nobody.user, nobody.code) == ("bob", "", 401)


def test_the_log_is_read_on(tmp_path: Path) -> None:
    """Each entry once; one that is being written waits until it is whole."""
    path = tmp_path / "audit.log"
    log = AuditLog(path)
    before = log.read()
    whole, cut = json.dumps(event()) + "\n", json.dumps(event(code=409))
    path.write_text(whole + cut)
    first = log.read()
    with path.open("a") as file:
        file.write("\n")

    assert (before, [one.code for one in first]) == ([], [201])
    assert [one.code for one in log.read()] == [201, 409]
