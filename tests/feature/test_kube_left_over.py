"""What a membership leaves in a cluster when it ends while no controller can clear it away."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from controllers.mcs.objects import is_ours
from support.exchange import until
from support.kube.faults import Failure
from support.kube_members import SECONDS, SYSTEM, KubeMember, Replica, exported, kube_clusters

pytestmark = pytest.mark.timeout(180)

KINDS = ("ServiceImport", "Service", "EndpointSlice")


async def test_who_waits_for_a_membership_clears_what_the_last_one_left(tmp_path: Path) -> None:
    """The pod that knew of the eviction died before it could; nothing of others is touched."""
    async with kube_clusters(tmp_path) as clusters:
        east, west = await clusters.add("east", "eu"), await clusters.add("west", "us")
        west.settings["kubernetes"]["leaseSeconds"] = 4
        west.namespace()
        await clusters.found(east, west)
        for document in (*exported("own", "10.0.0.7"), their_import()):
            west.create(document)
        before = stored(west)
        for document in exported():
            east.create(document)
        await until(lambda: {"echo", "own", "theirs"} <= west.objects("ServiceImport").keys(), seconds=SECONDS)
        former = west.replicas[0]
        await until(lambda: in_order(former), seconds=SECONDS)
        roster = shared_roster(west)
        west.server.faults.fail(Failure(500, 10**6, verbs=("delete",)))
        await east.run("evict", "west")
        await until(lambda: not former.ready and shared_roster(west) not in {"", roster}, seconds=SECONDS)
        former.child.kill()
        left = west.objects("ServiceImport").keys()
        west.server.faults.clear_failures()
        fresh = west.start(1)
        await until(lambda: {*west.objects("ServiceImport")} == {"theirs"}, seconds=SECONDS)
        await until(lambda: names(west) == {kind: {*found} for kind, found in before.items()}, seconds=SECONDS)
        after, alive = stored(west), fresh.child.running
        # Its place is still to be had.
        await clusters.join(east, west)
        await until(lambda: fresh.ready and "echo" in west.objects("ServiceImport"), seconds=SECONDS)

    assert {"echo", "own"} <= left
    assert (after, alive) == (before, True)


def their_import() -> dict[str, Any]:
    """One that another implementation of the MCS API, or a person, has made."""
    return {
        "apiVersion": "multicluster.x-k8s.io/v1beta1",
        "kind": "ServiceImport",
        "metadata": {"namespace": "demo", "name": "theirs"},
        "spec": {"type": "ClusterSetIP", "ports": [{"port": 80}]},
    }


def stored(member: KubeMember) -> dict[str, dict[str, Any]]:
    """What others have made, with uid: who is made anew has another."""
    return {
        kind: {name: body["metadata"]["uid"] for name, body in member.objects(kind).items() if not is_ours(kind, body)}
        for kind in KINDS
    }


def names(member: KubeMember) -> dict[str, set[str]]:
    return {kind: {*member.objects(kind)} for kind in KINDS}


def shared_roster(member: KubeMember) -> str:
    """As the Secret has it, for any pod that starts."""
    data = member.objects("Secret", SYSTEM).get("federation-state", {}).get("data", {})
    return str(data.get("state__roster", ""))


def in_order(replica: Replica) -> bool:
    try:
        kubernetes = replica.status().kubernetes
    except OSError:
        return False
    return kubernetes is not None and kubernetes.in_order
