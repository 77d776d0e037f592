"""Answers that are not what was asked for: each an exception that carries its metav1.Status. Pure.

The texts are those of the API server, since clients and people read them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from support.kube.objects import Json


@dataclass(frozen=True, slots=True)
class Cause:
    """One reason why an object is refused: a field, the kind of fault, and a sentence."""

    reason: str
    field: str
    message: str

    def as_json(self) -> Json:
        return {"reason": self.reason, "message": self.message, "field": self.field}


class Refusal(Exception):  # noqa: N818 - an answer, not an error of ours
    """A request's answer with a status of 400 and above."""

    def __init__(
        self,
        code: int,
        reason: str,
        message: str,
        *,
        details: Json | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.headers = dict(headers or {})
        self.body: Json = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": message,
            **({"reason": reason} if reason else {}),
            **({"details": details} if details else {}),
            "code": code,
        }


def success(name: str, group: str, plural: str, uid: str) -> Json:
    """The Status that answers a deletion."""
    details = {"name": name, **({"group": group} if group else {}), "kind": plural, "uid": uid}
    return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}


def _resource(group: str, plural: str) -> str:
    return f"{plural}.{group}" if group else plural


def _details(group: str, kind: str, name: str, causes: Sequence[Cause] = ()) -> Json:
    found: Json = {"name": name, **({"group": group} if group else {}), "kind": kind}
    return {**found, "causes": [cause.as_json() for cause in causes]} if causes else found


def not_found(group: str, plural: str, name: str) -> Refusal:
    message = f'{_resource(group, plural)} "{name}" not found'
    return Refusal(404, "NotFound", message, details=_details(group, plural, name))


def no_such_resource() -> Refusal:
    """The path names no resource that is served."""
    return Refusal(404, "NotFound", "the server could not find the requested resource", details={})


def already_exists(group: str, plural: str, name: str) -> Refusal:
    message = f'{_resource(group, plural)} "{name}" already exists'
    return Refusal(409, "AlreadyExists", message, details=_details(group, plural, name))


def conflict(group: str, plural: str, name: str, why: str) -> Refusal:
    message = f'Operation cannot be fulfilled on {_resource(group, plural)} "{name}": {why}'
    return Refusal(409, "Conflict", message, details=_details(group, plural, name))


def modified(group: str, plural: str, name: str) -> Refusal:
    """Optimistic concurrency: the object is not the one that the caller read."""
    why = "the object has been modified; please apply your changes to the latest version and try again"
    return conflict(group, plural, name, why)


def apply_conflict(causes: Sequence[Cause]) -> Refusal:
    """Server-side apply met fields of other managers with other values."""
    listed = "\n".join(f"- {cause.field}" for cause in causes)
    many = f"{len(causes)} conflict" + ("s" if len(causes) > 1 else "")
    text = f"{causes[0].message}: {causes[0].field}" if len(causes) == 1 else f"{causes[0].message}:\n{listed}"
    details = {"causes": [cause.as_json() for cause in causes]}
    return Refusal(409, "Conflict", f"Apply failed with {many}: {text}", details=details)


def invalid(group: str, kind: str, name: str, causes: Sequence[Cause]) -> Refusal:
    told = [f"{cause.field}: {cause.message}" for cause in causes]
    text = told[0] if len(told) == 1 else f"[{', '.join(told)}]"
    message = f'{_resource(group, kind)} "{name}" is invalid: {text}'
    return Refusal(422, "Invalid", message, details=_details(group, kind, name, causes))


def untyped(kind: str, name: str, faults: Sequence[str]) -> Refusal:
    """A configuration for server-side apply that is not of the resource's type."""
    told = faults[0] if len(faults) == 1 else "errors:\n" + "\n".join(f"  {fault}" for fault in faults)
    return Refusal(500, "", f"failed to create typed patch object ({name}; {kind}): {told}")


def bad_request(message: str) -> Refusal:
    return Refusal(400, "BadRequest", message)


def unauthorized() -> Refusal:
    return Refusal(401, "Unauthorized", "Unauthorized")


def forbidden(group: str, plural: str, name: str, why: str, causes: Sequence[Cause] = ()) -> Refusal:
    subject = f'{_resource(group, plural)} "{name}"' if name else _resource(group, plural)
    return Refusal(403, "Forbidden", f"{subject} is forbidden: {why}", details=_details(group, plural, name, causes))


def not_allowed() -> Refusal:
    return Refusal(
        405, "MethodNotAllowed", "the server does not allow this method on the requested resource", details={}
    )


def unsupported_media(accepted: Sequence[str]) -> Refusal:
    told = ", ".join(accepted)
    message = f"the body of the request was in an unknown format - accepted media types include: {told}"
    return Refusal(415, "UnsupportedMediaType", message)


def expired(message: str) -> Refusal:
    """What was asked for has been compacted."""
    return Refusal(410, "Expired", message)


def too_large_version(asked: int, current: int) -> Refusal:
    """A resource version of the future: of another server, or of this one before it lost its data."""
    cause = {"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}
    details = {"causes": [cause], "retryAfterSeconds": 1}
    message = f"Timeout: Too large resource version: {asked}, current: {current}"
    return Refusal(504, "Timeout", message, details=details)


def injected(code: int, retry_after_seconds: int | None) -> Refusal:
    """A fault that a test asked for: 429 as the server's flow control words it, or any other failure."""
    headers = {} if retry_after_seconds is None else {"Retry-After": str(retry_after_seconds)}
    details: dict[str, Any] = {} if retry_after_seconds is None else {"retryAfterSeconds": retry_after_seconds}
    reasons = {429: "TooManyRequests", 500: "InternalError", 503: "ServiceUnavailable", 504: "Timeout"}
    message = "too many requests" if code == 429 else "an error on the server has prevented the request from succeeding"
    return Refusal(code, reasons.get(code, "InternalError"), message, details=details, headers=headers)
