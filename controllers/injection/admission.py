"""AdmissionReview v1: what an API server asks before it makes a pod, and what it is answered. Pure.

A pod is never refused: it gets a sidecar, or it doesn't and the answer says why (warnings, audit annotations).
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Final

import msgspec

from controllers.injection.annotations import INJECTION
from controllers.injection.json_patch import diff
from controllers.injection.pod_patch import Injection, with_sidecar
from controllers.injection.policy import Decision, NamespaceFacts, decide_injection
from controllers.mcs.objects import Document, mapping, section, text

API_VERSION: Final = "admission.k8s.io/v1"
KIND: Final = "AdmissionReview"

# An API server passes on 256 characters of a warning, and none with control characters.
_LONGEST_WARNING: Final = 256


@dataclass(frozen=True, slots=True)
class Asked:
    """One request, as far as it matters."""

    uid: str
    namespace: str
    pod: Document | None
    """None where it is about something else than a new pod."""
    dry_run: bool = False

    @property
    def subject(self) -> str:
        """The pod, for logs; one of a workload has no name yet."""
        metadata = section(self.pod, "metadata")
        return f"{self.namespace}/{text(metadata.get('name')) or text(metadata.get('generateName')) + '*'}"


@dataclass(frozen=True, slots=True)
class Answer:
    """What becomes of the pod, and the document that says so."""

    document: Document
    decision: Decision | None
    """None where there was nothing to decide."""


def parse_review(content: bytes) -> Asked:
    """Read a request; raises ValueError with what is wrong with it."""
    try:
        review = msgspec.json.decode(content, type=dict[str, object])
    except (msgspec.DecodeError, RecursionError) as error:
        raise ValueError(f"the body is no JSON object: {error}") from error
    if (review.get("apiVersion"), review.get("kind")) != (API_VERSION, KIND):
        raise ValueError(f"the body is no {KIND} of {API_VERSION}")
    request = section(review, "request")
    uid = text(request.get("uid"))
    if not uid:
        raise ValueError("request.uid is missing")
    kind = section(request, "kind")
    is_pod = (kind.get("group"), kind.get("kind")) == ("", "Pod") and not request.get("subResource")
    pod = mapping(request.get("object")) if is_pod and request.get("operation") == "CREATE" else None
    return Asked(uid, text(request.get("namespace")), pod, request.get("dryRun") is True)


def answer_review(asked: Asked, injection: Injection, namespace: NamespaceFacts | None) -> Answer:
    """The answer to a request; ``namespace`` is None where it is not known yet.

    Then the API server's word counts, which asks about pods of labelled namespaces only.
    """
    if asked.pod is None:
        return Answer(_review({"uid": asked.uid, "allowed": True}), None)
    decision = decide_injection(
        asked.pod,
        namespace or NamespaceFacts(asked.namespace, {INJECTION: "enabled"}),
        system_namespace=injection.system_namespace,
        native=injection.native,
        issues=injection.issues,
    )
    response: dict[str, object] = {
        "uid": asked.uid,
        "allowed": True,
        "auditAnnotations": {"injection": "Injected" if decision.reason is None else str(decision.reason)},
    }
    if decision.tuning is not None:
        patch = msgspec.json.encode([*diff(asked.pod, with_sidecar(asked.pod, injection, decision.tuning))])
        response |= {"patchType": "JSONPatch", "patch": base64.b64encode(patch).decode()}
    if decision.warnings:
        response["warnings"] = [_fitting(warning) for warning in decision.warnings]
    return Answer(_review(response), decision)


def _review(response: Document) -> Document:
    return {"apiVersion": API_VERSION, "kind": KIND, "response": response}


def _fitting(warning: str) -> str:
    printable = "".join(char if char.isprintable() else " " for char in warning)
    return printable if len(printable) <= _LONGEST_WARNING else f"{printable[: _LONGEST_WARNING - 3]}..."
