"""What an installation judges by itself; the rest is in tests/feature/test_install.py."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from controllers.sources.manifests import ObjectId
from federation.app.installed_objects import Found
from federation.app.installing import check_settings, cluster_of, rollout
from federation.model.errors import ConfigError
from support.installation import rendered


def test_settings_are_judged_as_the_controllers_will() -> None:
    """Every violation, by the path of the value."""
    check_settings(rendered("settings.region=eu"))
    with pytest.raises(ConfigError) as refused:
        check_settings(rendered("settings.regoin=eu", "settings.vipRange=many"))
    told = [violation.partition(": ")[0] for violation in refused.value.violations]
    assert sorted(told) == ["settings.regoin", "settings.vipRange"]


@pytest.mark.parametrize(
    ("data", "clusterset"),
    [
        ({"cluster.yaml": b"clusterset: acme\n"}, "acme"),
        ({"cluster.yaml": b"["}, None),
        ({"cluster.yaml": b"- x"}, None),
        ({}, None),
    ],
)
def test_the_cluster_is_read_out_of_its_state(data: dict[str, bytes], clusterset: str | None) -> None:
    """What can't be read says nothing."""
    secret = {"data": {key: base64.b64encode(content).decode() for key, content in data.items()}}
    assert cluster_of(secret).get("clusterset") == clusterset
    assert cluster_of(None) == {}


def workload(kind: str, **status: Any) -> Found:
    document = {"metadata": {"generation": 2}, "spec": {"replicas": 2}, "status": status}
    return Found(ObjectId(kind, "federation-system", "x"), "apps/v1", document)


@pytest.mark.parametrize(
    ("found", "told"),
    [
        (workload("Deployment", observedGeneration=2, updatedReplicas=2, readyReplicas=2), ""),
        (workload("Deployment", observedGeneration=1, updatedReplicas=2, readyReplicas=2), "2 of 2 ready"),
        (workload("Deployment", observedGeneration=2, updatedReplicas=1, readyReplicas=2), "2 of 2 ready"),
        (workload("StatefulSet", observedGeneration=2, updatedReplicas=2), "0 of 2 ready"),
        (
            workload(
                "DaemonSet", observedGeneration=2, desiredNumberScheduled=3, updatedNumberScheduled=3, numberReady=3
            ),
            "",
        ),
        (
            workload(
                "DaemonSet", observedGeneration=2, desiredNumberScheduled=3, updatedNumberScheduled=3, numberReady=1
            ),
            "1 of 3 ready",
        ),
    ],
)
def test_a_workload_is_rolled_out_when_all_its_pods_are_new_and_ready(found: Found, told: str) -> None:
    """By the numbers of its status, once that is about the newest spec."""
    assert rollout(found) == told
