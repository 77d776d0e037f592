"""What kubectl's JSON says of a cluster; nothing of it is taken for granted."""

from __future__ import annotations

import json

import pytest

from controllers.dns.corefile_edit import BEGIN, with_forward, with_plugin
from federation.app.kind.sight import (
    ClusterSight,
    Nodes,
    Share,
    forwards,
    has_image,
    is_member,
    read_deployments,
    read_digest,
    read_nodes,
    read_secret,
)
from federation.model.addresses import HostPort
from support.corefiles import KUBEADM


def deployment(*, seen: int = 2, updated: int = 2, ready: int = 2) -> str:
    pods = {"updatedReplicas": updated, "readyReplicas": ready, "availableReplicas": ready}
    status = {"observedGeneration": seen, **pods}
    whole = {"metadata": {"name": "x", "generation": 2}, "spec": {"replicas": 2}, "status": status}
    return json.dumps({"items": [whole]})


def test_nodes_are_counted_and_known_by_their_mark() -> None:
    """The mark is on the first; a node that is not ready does not count."""
    ready, not_ready = ({"conditions": [{"type": "Ready", "status": status}]} for status in ("True", "Unknown"))
    first = {"metadata": {"name": "a", "labels": {"federation-gateway.dev/kind": "clusterset"}}, "status": ready}
    second = {"metadata": {"name": "b"}, "status": not_ready}
    assert read_nodes(json.dumps({"items": [first, second]})) == Nodes(("a", "b"), 1, ours=True)
    assert read_nodes(json.dumps({"items": [second]})) == Nodes(("b",), 0, ours=False)


@pytest.mark.parametrize(
    ("printed", "share"),
    [
        (deployment(), Share(2, 2)),
        (deployment(ready=1), Share(1, 2)),
        (deployment(updated=1), Share(1, 2)),
        (deployment(seen=1), Share(0, 2)),
    ],
)
def test_pods_of_an_older_version_are_not_ready(printed: str, share: Share) -> None:
    """Nor any, before a change was seen."""
    assert read_deployments(printed) == {"x": share}
    assert share.whole == (share.ready == 2)


def test_a_member_has_a_roster() -> None:
    """A key alone is of one that only asked."""
    assert is_member('{"data": {"member.key": "eA==", "state__roster": "e30="}}')
    assert not is_member('{"data": {"member.key": "eA=="}}')


def test_forwarding_is_that_to_our_service() -> None:
    """An address of yesterday is none; nor is the plugin, which `up` does not use."""
    service = json.dumps({"spec": {"clusterIP": "10.96.0.20"}})
    corefiles = {
        with_forward(KUBEADM, HostPort("10.96.0.20", 53)): True,
        with_forward(KUBEADM, HostPort("10.96.0.21", 53)): False,
        with_plugin(KUBEADM): False,
        KUBEADM: False,
        f"{BEGIN}\n": False,
    }
    for corefile, expected in corefiles.items():
        assert forwards(json.dumps({"data": {"Corefile": corefile}}), service) is expected
    assert not forwards(json.dumps({"data": {"Corefile": next(iter(corefiles))}}), "")
    six = with_forward(KUBEADM, HostPort("fd00::14", 53))
    assert forwards(json.dumps({"data": {"Corefile": six}}), json.dumps({"spec": {"clusterIP": "fd00::14"}}))


def test_secrets_are_whole_or_none() -> None:
    """All keys, decoded."""
    printed = json.dumps({"data": {"ca.pem": "Y2E=", "bad": "%", "empty": ""}})
    assert read_secret(printed, "ca.pem") == (b"ca",)
    assert [read_secret(printed, "ca.pem", key) for key in ("bad", "empty", "gone")] == [None, None, None]


def test_an_image_is_known_by_its_id() -> None:
    """By its name only if that never means another one, as where docker counts ids in its own way."""
    printed = json.dumps({"images": [{"id": "sha256:1", "repoTags": ["images.example/library/x:1"]}, {"id": ""}]})
    assert [has_image(printed, one) for one in ("sha256:1", "sha256:2", "")] == [True, False, False]
    assert [has_image(printed, "sha256:2", name) for name in ("x:1", "images.example/library/x:1")] == [True, True]
    assert [has_image(printed, "sha256:2", name) for name in (":1", "x:2", "y/x:1")] == [False, False, False]


@pytest.mark.parametrize("printed", ["", "no JSON", "[]", '{"items": 1, "data": [], "images": null, "metadata": ""}'])
def test_anything_else_is_nothing(printed: str) -> None:
    """As where an object is missing."""
    assert (read_nodes(printed), read_deployments(printed)) == (Nodes((), 0, ours=False), {})
    assert (is_member(printed), forwards(printed, printed), read_digest(printed)) == (False, False, "")
    assert (read_secret(printed, "a"), has_image(printed, "x")) == (None, False)


def test_a_whole_cluster_has_everything() -> None:
    """One thing that is missing is enough."""
    some = Share(2, 2)
    whole = ClusterSight("east", True, some, some, some, member=True, dns=True, sample=some)
    assert whole.whole
    assert not ClusterSight("east", True, some, some, some, member=True, dns=True).whole
    assert not ClusterSight("east", False, some, some, some, member=True, dns=True, sample=some).whole
    assert (str(Share()), str(Share(1, 2))) == ("-", "1/2")
