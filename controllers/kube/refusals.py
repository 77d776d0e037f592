"""What it means that the API server refuses a write of ours: that of one object, or trouble of everybody. Pure."""

from __future__ import annotations

from http import HTTPStatus
from typing import Final

from controllers.kube.client import KubeError
from controllers.kube.locations import missing_rule
from controllers.mcs.objects import Apply, Delete
from federation.model.problems import Problem

_TERMINATING: Final = "NamespaceTerminating"
"""The cause of a refusal where a namespace is about to go."""


def is_overtaken(error: KubeError) -> bool:
    """Whether the cluster is no longer as it was when the plan was made."""
    terminating = any(reason == _TERMINATING for reason, _ in error.causes)
    return terminating or error.status in {HTTPStatus.CONFLICT, HTTPStatus.NOT_FOUND}


def refusal(write: Apply | Delete, api_version: str, error: KubeError) -> Problem:
    """What is wrong with one object; raises ``error`` again where it is not about this object."""
    match error.status:
        case HTTPStatus.FORBIDDEN:
            subresource = write.subresource if isinstance(write, Apply) else ""
            verbs = "delete" if isinstance(write, Delete) else "patch" if subresource else "create, patch"
            rule = missing_rule(write.id, api_version, subresource, verbs)
            return Problem(str(write.id), "Forbidden", f"{error}; the role must have the rule {rule}")
        case 0 | HTTPStatus.UNAUTHORIZED | HTTPStatus.REQUEST_TIMEOUT | HTTPStatus.TOO_MANY_REQUESTS:
            raise error
        case status if status >= HTTPStatus.INTERNAL_SERVER_ERROR and not error.untyped:
            raise error
        case _:
            return Problem(str(write.id), "Refused", str(error))
