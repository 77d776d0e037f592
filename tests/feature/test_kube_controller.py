"""Whole controllers on Kubernetes: found, join, export, import, leave, with two API servers and one exchange."""

from __future__ import annotations

import base64
import json
import socket
import ssl
from pathlib import Path

import aiohttp
import pytest

from controllers.injection.annotations import INJECTION as LABEL
from federation.membership.join_token import parse_token
from support.exchange import until
from support.injection import CONFIGURATIONS, CONFIGURED, bundle_of, review
from support.kube.faults import Failure
from support.kube.housekeeping import NAMESPACES
from support.kube_members import SECONDS, SYSTEM, conditions, exported, kube_clusters

pytestmark = pytest.mark.timeout(180)


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
        # The status of an import is written last.
        await until(lambda: "status" in east.objects("ServiceImport")["echo"], seconds=SECONDS)
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


async def test_a_command_ends_well_once_what_it_made_cannot_go_with_the_pod(tmp_path: Path) -> None:
    """An API server that takes no Secret for a while keeps it waiting."""
    async with kube_clusters(tmp_path) as clusters:
        east = await clusters.add("east", "eu")
        await clusters.found(east)
        east.server.faults.fail(Failure(500, 3, verbs=("update",), plural="secrets"))
        token = await east.run("token", "create", "--cluster", "west")
        kept = east.objects("Secret", SYSTEM)["federation-state"]["data"]
        made = (east.replicas[0].directory / "authority" / "ledger.json").read_bytes()

    assert parse_token(token).cluster == "west"
    assert base64.b64decode(kept["authority__ledger.json"]) == made


async def test_pods_get_their_sidecar_and_the_trust_that_it_needs(tmp_path: Path) -> None:
    """The webhook proves to be the one that the API server is told to trust, and the bundle is where pods mount it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    async with kube_clusters(tmp_path) as clusters:
        east = await clusters.add("east", "eu")
        east.settings["kubernetes"]["webhookListen"] = f"127.0.0.1:{port}"
        east.server.put(NAMESPACES, {"metadata": {"name": "demo", "labels": {LABEL: "enabled"}}})
        east.server.put(CONFIGURATIONS, CONFIGURED)
        await clusters.found(east)
        await until(lambda: "federation-trust-bundle" in east.objects("ConfigMap"), seconds=SECONDS)
        await until(lambda: bool(bundle_of(east.server)), seconds=SECONDS)
        mounted = east.objects("ConfigMap")["federation-trust-bundle"]["data"]["bundle.pem"]
        context = ssl.create_default_context(cadata=bundle_of(east.server))
        async with (
            aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context)) as client,
            client.post(
                f"https://127.0.0.1:{port}/inject",
                data=review({"metadata": {"name": "web"}, "spec": {"containers": [{"name": "app"}]}}),
                headers={"content-type": "application/json"},
                server_hostname="federation-controller.federation-system.svc",
            ) as answer,
        ):
            said = await answer.json()

    patch = json.loads(base64.b64decode(said["response"]["patch"]))
    assert said["response"]["allowed"]
    assert "federation-proxy" in json.dumps(patch)
    assert mounted == bundle_of(east.server)
