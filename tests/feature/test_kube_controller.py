"""Whole controllers on Kubernetes: found, join, export, import, leave, with two API servers and one exchange."""

from __future__ import annotations

from pathlib import Path

from support.exchange import until
from support.kube_members import SECONDS, conditions, exported, kube_clusters


async def test_what_one_cluster_exports_the_others_import_until_it_leaves(tmp_path: Path) -> None:
    """From an empty disk to the import with its clusterset IP; leaving takes all of it away."""
    async with kube_clusters(tmp_path) as clusters:
        east, west = await clusters.add("east", "eu"), await clusters.add("west", "us")
        await clusters.found(east, west)
        for member in (east, west):
            member.namespace()
        for document in exported():
            west.create(document)
        for member in (east, west):
            await until(lambda member=member: bool(member.objects("ServiceImport")), seconds=SECONDS)
        await until(
            lambda: conditions(west.objects("ServiceExport")["echo"]).get("Ready") == ("True", "Exported"),
            seconds=SECONDS,
        )
        await until(lambda: bool(east.objects("ServiceImport")["echo"]["spec"].get("ips")), seconds=SECONDS)
        imported = east.objects("ServiceImport")["echo"]
        derived = [one for one in east.objects("Service").values() if one["metadata"]["name"].startswith("derived-")]
        await west.run("leave")
        await until(lambda: not east.objects("ServiceImport") and not west.objects("ServiceImport"), seconds=SECONDS)

    assert imported["spec"]["type"] == "ClusterSetIP"
    assert imported["spec"]["ips"] == derived[0]["spec"]["clusterIPs"]
    assert [one["cluster"] for one in imported["status"]["clusters"]] == ["west"]
