"""AdmissionReviews: what is asked and what is answered. Over HTTPS: tests/unit/controllers/http."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from controllers.injection.admission import Asked, answer_review, parse_review
from controllers.injection.annotations import INJECT, Tuning
from controllers.injection.pod_patch import with_sidecar
from controllers.injection.policy import NamespaceFacts
from support.injection import INJECTION, review
from support.kube.patches import json_patched

POD: dict[str, Any] = {"metadata": {"generateName": "web-"}, "spec": {"containers": [{"name": "web"}]}}


def response_to(pod: Any, namespace: NamespaceFacts | None = None) -> Any:
    document = answer_review(Asked("u1", "demo", pod), INJECTION, namespace).document
    assert (document["apiVersion"], document["kind"]) == ("admission.k8s.io/v1", "AdmissionReview")
    return document["response"]


def patch_of(response: Any) -> Any:
    return json.loads(base64.b64decode(response["patch"], validate=True))


def test_the_request_is_read() -> None:
    """Its id, the namespace and the pod; a pod of a workload has no name yet."""
    asked = parse_review(review(POD, dry_run=True))
    assert asked == Asked("u1", "demo", POD, dry_run=True)
    assert (asked.subject, parse_review(review({"metadata": {"name": "web"}})).subject) == ("demo/web-*", "demo/web")


@pytest.mark.parametrize(
    "change",
    [{"kind": {"group": "apps", "version": "v1", "kind": "Pod"}}, {"operation": "UPDATE"}, {"subResource": "exec"}],
)
def test_what_is_no_new_pod_is_let_through(change: dict[str, Any]) -> None:
    """A configuration that asks about more than it should does no harm."""
    asked = parse_review(review(POD, **change))
    answer = answer_review(asked, INJECTION, None)
    assert (asked.pod, answer.decision) == (None, None)
    assert answer.document["response"] == {"uid": "u1", "allowed": True}


@pytest.mark.parametrize(
    ("content", "cause"),
    [
        (b"", "no JSON object"),
        (b"[]", "no JSON object"),
        (b"[" * 100_000, "no JSON object"),
        (b'{"apiVersion": "admission.k8s.io/v1beta1", "kind": "AdmissionReview"}', "no AdmissionReview"),
        (b'{"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {}}', "uid"),
        (b'{"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {"uid": 1}}', "uid"),
    ],
)
def test_what_is_no_request_is_told(content: bytes, cause: str) -> None:
    """With what is wrong."""
    with pytest.raises(ValueError, match=cause):
        parse_review(content)


def test_the_patch_makes_the_pod_with_its_sidecar() -> None:
    """Applied by RFC 6902; a namespace that is not known yet is one that the API server has selected."""
    response = response_to(POD)
    assert (response["uid"], response["allowed"], response["patchType"]) == ("u1", True, "JSONPatch")
    assert json_patched(POD, patch_of(response)) == with_sidecar(POD, INJECTION, Tuning())
    assert response["auditAnnotations"] == {"injection": "Injected"}
    assert "warnings" not in response


def test_the_patched_pod_is_asked_about_again_and_stays() -> None:
    """Another webhook's change has the API server ask once more."""
    again = response_to(json_patched(POD, patch_of(response_to(POD))))
    assert "patch" not in again
    assert again["auditAnnotations"] == {"injection": "AlreadyInjected"}


def test_a_pod_without_its_sidecar_is_made_all_the_same_with_a_warning() -> None:
    """Of what the user did not expect; of no more than what an API server passes on."""
    huge = {"federation-gateway.dev/exclude-outbound-ports": ",".join(["no\nport"] * 99)}
    refused = response_to({**POD, "metadata": {"annotations": huge}})
    quiet = response_to({**POD, "metadata": {"labels": {INJECT: "false"}}})

    assert (refused["allowed"], "patch" in refused) == (True, False)
    (warning,) = refused["warnings"]
    assert len(warning) == 256
    assert warning.isprintable()
    assert warning.endswith("...")
    assert quiet == {"uid": "u1", "allowed": True, "auditAnnotations": {"injection": "NotWanted"}}


def test_the_namespace_counts_where_it_is_known() -> None:
    """Also what another mesh does in it."""
    assert "patch" not in response_to(POD, NamespaceFacts("demo"))
