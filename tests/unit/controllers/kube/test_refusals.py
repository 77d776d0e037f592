"""What refusals of an API server mean."""

from __future__ import annotations

import pytest

from controllers.kube.client import KubeError
from controllers.kube.refusals import is_overtaken, refusal
from controllers.mcs.objects import Apply, Delete
from controllers.sources.manifests import ObjectId

ID = ObjectId("ServiceEntry", "demo", "federation-echo")
VERSION = "networking.istio.io/v1"
RULE = 'apiGroups: ["networking.istio.io"], resources: ["serviceentries"]'


@pytest.mark.parametrize(
    ("write", "verbs"),
    [
        (Apply(ID, "", {}), "create, patch"),
        (Delete(ID, "u", "1"), "delete"),
    ],
)
def test_a_right_that_is_missing_is_told_with_its_rule(write: Apply | Delete, verbs: str) -> None:
    """So that it can be pasted into a role."""
    problem = refusal(write, VERSION, KubeError("no", status=403))
    assert (problem.subject, problem.reason) == (str(ID), "Forbidden")
    assert problem.message.endswith(f"the role must have the rule {RULE}, verbs: [{verbs}]")


def test_an_object_that_is_refused_is_its_own_problem() -> None:
    """Whatever the API server says of it."""
    problem = refusal(Apply(ID, "", {}), VERSION, KubeError("spec.hosts: too long", status=422))
    assert (problem.subject, problem.reason, problem.message) == (str(ID), "Refused", "spec.hosts: too long")


@pytest.mark.parametrize("status", [0, 401, 408, 429, 500, 503])
def test_trouble_of_the_api_server_is_not_an_objects(status: int) -> None:
    """Everybody waits for it."""
    with pytest.raises(KubeError):
        refusal(Apply(ID, "", {}), VERSION, KubeError("no", status=status))


def test_what_was_overtaken_is_planned_again() -> None:
    """Somebody was faster, or the namespace is about to go."""
    going = KubeError("no", status=403, causes=(("NamespaceTerminating", "metadata.namespace"),))
    assert [is_overtaken(KubeError("", status=status)) for status in (404, 409, 403)] == [True, True, False]
    assert is_overtaken(going)
