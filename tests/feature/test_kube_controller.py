"""Whole controllers on Kubernetes: found, join, export, import, leave, with two API servers and one exchange."""

from __future__ import annotations

import json
from pathlib import Path

from federation.membership.join_token import parse_token
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


async def test_an_operator_needs_no_more_than_the_context_of_a_cluster(tmp_path: Path) -> None:
    """Commands run where the controller leads, with files from here; what they are told is in no audit log."""
    async with kube_clusters(tmp_path) as clusters:
        east = await clusters.add("east", "eu")
        nobody = await east.run("status", code=3)
        await clusters.found(east)
        status = json.loads(await east.run("status", "-o", "json"))
        ca = tmp_path / "ca.pem"
        ca.write_text("no certificate")
        refused = await east.run(
            "init", "--clusterset", "b", "--cluster-id", "c", "--exchange", "redis://h", f"--exchange-ca={ca}", code=2
        )
        token = await east.run("token", "create", "--cluster", "west")
        listed = json.loads(await east.run("token", "list", "-o", "json"))
        asked = [one.asked for one in east.server.audit if one.asked.subresource == "exec"]

    assert "no controller leads in namespace federation-system" in nobody
    assert (status["cluster"], status["ready"]) == ("east", True)
    assert (status["kubernetes"]["leader"], status["kubernetes"]["leads"]) == ("east-0", True)
    assert "clusterset: is acme, must be b" in refused
    assert "exchange.caFile: is not set" in refused
    assert [one["cluster"] for one in listed] == ["west"]
    assert parse_token(token).cluster == "west"
    assert {one.name for one in asked} == {"east-0"}
