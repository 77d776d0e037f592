"""The sidecar of a pod: what it is told is what its programs take, and it can be taken away again."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controllers.injection.annotations import Tuning
from controllers.injection.pod_patch import (
    PROXY_DIRECTORY,
    TOKEN_DIRECTORY,
    TRUST_DIRECTORY,
    redirect_arguments,
    with_sidecar,
    without_sidecar,
)
from controllers.injection.redirect_rules import parse_networks
from controllers.sources.pod_accounts import INJECTED_LABEL
from support.injection import INJECTION

CONTAINERS = st.lists(st.fixed_dictionaries({"name": st.sampled_from(["a", "b", "c"])}), min_size=1, max_size=3)
PODS = st.fixed_dictionaries(
    {"spec": st.fixed_dictionaries({"containers": CONTAINERS}, optional={"initContainers": CONTAINERS})},
    optional={"metadata": st.fixed_dictionaries({"name": st.just("x")}, optional={"labels": st.just({"a": "b"})})},
)


def injected(tuning: Tuning | None = None, **options: Any) -> Any:
    pod = {"spec": {"containers": [{"name": "app"}]}}
    return with_sidecar(pod, replace(INJECTION, **options), tuning or Tuning())


@given(PODS, st.booleans(), st.booleans())
def test_taken_away_the_pod_is_as_before(pod: dict[str, Any], native: bool, redirect: bool) -> None:
    """For native and plain sidecars; a pod without one stays as it is."""
    after = with_sidecar(pod, replace(INJECTION, native=native), Tuning(redirect=redirect))
    assert without_sidecar(after) == pod
    assert without_sidecar(pod) is pod


def test_a_pod_with_its_sidecar_can_be_selected() -> None:
    """By the label by which the controllers find its service account."""
    assert injected()["metadata"]["labels"] == {INJECTED_LABEL: "true"}


@pytest.mark.parametrize("native", [True, False])
def test_the_sidecar_is_a_container_or_an_init_container_that_stays(native: bool) -> None:
    """Only the latter may have a restart policy and a startup probe that holds the others up."""
    spec = injected(native=native)["spec"]
    begin, main = ([one["name"] for one in spec[part]] for part in ("initContainers", "containers"))
    proxy = next(one for one in spec["initContainers"] + spec["containers"] if one["name"] == "federation-proxy")

    assert begin == ["federation-bootstrap", "federation-init", *(["federation-proxy"] if native else [])]
    assert main == ["app", *([] if native else ["federation-proxy"])]
    assert (proxy.get("restartPolicy"), "startupProbe" in proxy) == (("Always", True) if native else (None, False))


def test_only_the_redirect_needs_rights() -> None:
    """Every other container of ours is as the restricted profile of pod security asks."""
    spec = injected()["spec"]
    own = {one["name"]: one["securityContext"] for one in spec["initContainers"]}
    for name, context in own.items():
        root = name == "federation-init"
        assert context["runAsNonRoot"] is not root
        assert context["capabilities"].get("add", []) == (["NET_ADMIN", "NET_RAW"] if root else [])
        assert context["capabilities"]["drop"] == ["ALL"]
        assert (context["allowPrivilegeEscalation"], context["readOnlyRootFilesystem"]) == (False, True)


def test_every_mount_has_its_volume_and_every_name_fits() -> None:
    """Names of ports have at most 15 characters, those of volumes and containers 63."""
    spec = injected()["spec"]
    mounted = {mount["name"] for one in spec["initContainers"] for mount in one["volumeMounts"]}
    paths = {mount["mountPath"] for one in spec["initContainers"] for mount in one["volumeMounts"]}
    ports = [port["name"] for one in spec["initContainers"] for port in one.get("ports", ())]

    assert mounted == {volume["name"] for volume in spec["volumes"]}
    assert paths == {PROXY_DIRECTORY, TOKEN_DIRECTORY, TRUST_DIRECTORY}
    assert all(len(name) <= 15 for name in ports)


def test_a_pods_networks_take_the_place_of_the_clusters() -> None:
    """An empty list means all of them again."""
    cluster = replace(INJECTION, include=parse_networks(["10.96.0.0/12"], ""))
    assert redirect_arguments(cluster, Tuning())[-2:] == ["--include", "10.96.0.0/12"]
    assert "--include" not in redirect_arguments(cluster, Tuning(include=()))
    other = Tuning(include=parse_networks(["10.0.0.0/8"], ""), exclude_ports=(53,))
    assert redirect_arguments(cluster, other)[-4:] == ["--include", "10.0.0.0/8", "--exclude-port", "53"]
