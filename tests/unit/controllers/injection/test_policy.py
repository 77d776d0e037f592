"""Who gets a sidecar; reason by reason with its words in tests/golden/injection."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controllers.injection.annotations import INJECT, INJECTION
from controllers.injection.policy import Decision, NamespaceFacts, Reason, decide_injection, facts_of

ENABLED = NamespaceFacts("demo", {INJECTION: "enabled"})
SPEC = {"containers": [{"name": "app"}]}


def decided(pod: Any, namespace: NamespaceFacts = ENABLED, *, native: bool = True) -> Decision:
    return decide_injection(pod, namespace, system_namespace="federation-system", native=native)


@pytest.mark.parametrize("label", ["", "manual", "enabled", "disabled"])
@pytest.mark.parametrize("choice", ["", "true", "false"])
def test_the_pod_speaks_before_its_namespace(label: str, choice: str) -> None:
    """What it says counts wherever it is; where it says nothing, the namespace's word counts."""
    namespace = NamespaceFacts("demo", {INJECTION: label} if label else {})
    pod = {"metadata": {"labels": {INJECT: choice} if choice else {}}, "spec": SPEC}
    wanted = choice == "true" or (choice == "" and label == "enabled")
    assert (decided(pod, namespace).tuning is not None) is wanted


def test_what_is_impossible_is_told_to_those_only_who_want_it() -> None:
    """A pod that is on its node's network, and where nobody asked for a sidecar, is warned of nothing."""
    pod = {"spec": {**SPEC, "hostNetwork": True}}
    asking = {**pod, "metadata": {"labels": {INJECT: "true"}}}
    plain = NamespaceFacts("demo")

    assert decided(pod).warnings[0].startswith("no federation sidecar: the pod uses its node's network")
    assert decided(asking, plain).reason is Reason.HOST_NETWORK
    assert [len(decided(*of).warnings) for of in ((pod, ENABLED), (asking, plain), (pod, plain))] == [1, 1, 0]


def test_where_sidecars_get_no_certificate_there_are_none() -> None:
    """Who asked for one is told; another mesh's pods are left to it as ever."""
    pod = {"metadata": {}, "spec": SPEC}
    other = {**pod, "spec": {"containers": [{"name": "app"}, {"name": "istio-proxy"}]}}

    def told(of: Any, namespace: NamespaceFacts) -> Decision:
        return decide_injection(of, namespace, system_namespace="federation-system", native=True, issues=False)

    assert (told(pod, ENABLED).reason, len(told(pod, ENABLED).warnings)) == (Reason.EXTERNAL_CA, 1)
    assert told(pod, NamespaceFacts("demo")).warnings == ()
    assert told(other, ENABLED).reason is Reason.OTHER_MESH


def test_a_pod_that_runs_as_the_proxy_is_warned() -> None:
    """Its connections can't be told from the proxy's own; the container's word counts before the pod's."""
    spec = {
        "securityContext": {"runAsUser": 1337},
        "containers": [{"name": "same"}, {"name": "other", "securityContext": {"runAsUser": 1000}}],
    }
    (warning,) = decided({"spec": spec}).warnings
    assert warning == "user 1337 is the sidecar's: connections of same do not go through it"


def test_a_namespace_is_read_with_what_matters() -> None:
    """What is no string is left out."""
    metadata = {"name": "demo", "labels": {"a": "b", "c": 1}, "annotations": None}
    assert facts_of({"metadata": metadata}) == NamespaceFacts("demo", {"a": "b"}, {})


PARTS = ("metadata", "spec", "labels", "annotations", "containers", "initContainers", "name", "ports", "containerPort")
NONSENSE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(PARTS), inner),
    max_leaves=20,
)


@given(NONSENSE)
def test_no_pod_raises(pod: object) -> None:
    """Whatever an API server, or a file, holds for one."""
    decision = decided({"spec": pod, "metadata": pod})
    assert (decision.tuning is None) is (decision.reason is not None)
