"""When an object that is installed must be applied again."""

from __future__ import annotations

from typing import Any

import pytest

from federation.install.differences import needs_apply

MANAGER = "federation-install"
STATED: dict[str, Any] = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "x", "labels": {"a": "b"}},
    "spec": {
        "replicas": 2,
        "template": {
            "containers": [{"name": "one", "resources": {"limits": {"memory": "1024Mi", "cpu": "0.5"}}}],
            "ports": [{"port": 80}],
        },
    },
}
OWNED = {
    "f:metadata": {"f:labels": {"f:a": {}}},
    "f:spec": {
        "f:replicas": {},
        "f:template": {
            "f:containers": {'k:{"name":"one"}': {".": {}, "f:name": {}, "f:resources": {}}},
            "f:ports": {},
        },
    },
}


def found(**spec: Any) -> dict[str, Any]:
    """As an API server has it: with defaults, with what others own, and quantities in its own spelling."""
    template = {
        "containers": [
            {"name": "injected"},
            {"name": "one", "image": "", "resources": {"limits": {"memory": "1Gi", "cpu": "500m"}}},
        ],
        "ports": [{"port": 80, "protocol": "TCP"}],
        "restartPolicy": "Always",
    }
    fields = [{"manager": MANAGER, "operation": "Apply", "fieldsV1": OWNED}]
    metadata = {"name": "x", "labels": {"a": "b", "others": "c"}, "managedFields": fields}
    return {**STATED, "metadata": metadata, "spec": {"replicas": 2, "template": template, **spec}}


def test_what_the_api_server_and_others_add_is_no_difference() -> None:
    """Defaults, fields and items of others, and quantities that amount to the same."""
    assert not needs_apply(found(), STATED, MANAGER)


@pytest.mark.parametrize(
    "spec",
    [
        {"replicas": 3},
        {"template": {}},
        {"template": {**found()["spec"]["template"], "ports": [{"port": 81}]}},
        {"template": {**found()["spec"]["template"], "ports": [{"port": 80}, {"port": 81}]}},
        {"template": {**found()["spec"]["template"], "containers": [{"name": "two"}]}},
        {
            "template": {
                **found()["spec"]["template"],
                "containers": [{"name": "one", "resources": {"limits": {"memory": "1G", "cpu": "500m"}}}],
            }
        },
    ],
)
def test_a_field_that_is_another_is_one(spec: dict[str, Any]) -> None:
    """In a mapping, in a list by name, in a list by position, and in what a quantity amounts to."""
    assert needs_apply(found(**spec), STATED, MANAGER)


def test_what_is_missing_or_never_was_ours_is_applied() -> None:
    """An object that is not there, and one that somebody else applied just as we would."""
    assert needs_apply(None, STATED, MANAGER)
    assert needs_apply(found(), STATED, "another")


def test_what_is_stated_no_more_is_given_up() -> None:
    """A field of ours that the new manifest lacks goes only if it is applied again."""
    assert needs_apply(found(), {**STATED, "metadata": {"name": "x"}}, MANAGER)
