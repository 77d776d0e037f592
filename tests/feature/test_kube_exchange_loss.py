"""An exchange that comes back empty, found by a controller that starts with an empty disk."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.exchange import until
from support.kube_members import SECONDS, KubeMember, Replica, exported, kube_clusters

pytestmark = pytest.mark.timeout(180)


async def test_an_exchange_that_lost_everything_takes_no_import_from_a_new_pod(tmp_path: Path) -> None:
    """What a peer exports is not known until it has published again: its import and address stay until then."""
    async with kube_clusters(tmp_path) as clusters:
        east, west = await clusters.add("east", "eu"), await clusters.add("west", "us")
        for member in (east, west):
            member.settings["kubernetes"]["leaseSeconds"] = 4
            member.namespace()
        await clusters.found(east, west)
        for document in (*exported(), *exported("web", "10.0.0.2")):
            west.create(document)
        await until(lambda: all(_has_address(east, name) for name in ("echo", "web")), seconds=SECONDS)
        before = {name: one["spec"]["ips"] for name, one in east.objects("ServiceImport").items()}
        uids = {name: one["metadata"]["uid"] for name, one in east.objects("ServiceImport").items()}
        west.replicas[0].child.kill()
        east.replicas[0].child.end()
        clusters.redis.kill()
        for path in (tmp_path / "redis").rglob("*"):
            if path.is_file() and path.suffix in {".rdb", ".aof"}:
                path.unlink()
        clusters.redis.start()
        fresh = east.start(1)
        await until(lambda: fresh.ready and _in_order(fresh), seconds=SECONDS)
        held = {name: one["spec"]["ips"] for name, one in east.objects("ServiceImport").items()}
        # What it exports no longer when it is back goes then.
        west.delete("ServiceExport", "web")
        west.replicas[0].child.start()
        await until(lambda: "web" not in east.objects("ServiceImport"), seconds=SECONDS)
        (left,) = east.objects("ServiceImport").values()

    assert held == before
    assert (left["spec"]["ips"], left["metadata"]["uid"]) == (before["echo"], uids["echo"])


def _has_address(member: KubeMember, name: str) -> bool:
    return bool(member.objects("ServiceImport").get(name, {}).get("spec", {}).get("ips"))


def _in_order(replica: Replica) -> bool:
    kubernetes = replica.status().kubernetes
    return kubernetes is not None and kubernetes.leads and kubernetes.in_order
