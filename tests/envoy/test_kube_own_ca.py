"""A cluster in Kubernetes that brings its own CA: peers verify by that, and its gateways reach the controllers by TLS
of the built-in one. Processes as their pods start them, and real Envoys.
"""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from controllers.injection.annotations import INJECTION as LABEL
from federation.app.clock import utc_now
from support.certificates import make_ca
from support.clusterset import CLUSTERSET
from support.exchange import until
from support.injection import CONFIGURATIONS, CONFIGURED, bundle_of, review
from support.kube.housekeeping import NAMESPACES
from support.kube_members import SECONDS, SYSTEM, KubeMember, exported, kube_clusters
from support.kube_pod import PodOfKubernetes
from support.ports import free_port
from support.processes import eventually
from trustbundle.rotation import authority_id

pytestmark = [pytest.mark.envoy, pytest.mark.timeout(180)]

HOST = "127.0.0.1"
DOMAIN = f"east.{CLUSTERSET}"
OWN_ID = f"spiffe://{DOMAIN}/federation/controller"


def trust_bundle(member: KubeMember) -> str:
    found = member.objects("ConfigMap", SYSTEM).get("federation-trust-bundle", {})
    return str(found.get("data", {}).get("bundle.pem", ""))


def listens(port: int) -> bool:
    with socket.create_connection((HOST, port), timeout=1):
        return True


def shown(port: int, bundle: str) -> tuple[tuple[str, str], ...]:
    """The names in the certificate of whoever listens; ssl.SSLError where ``bundle`` does not vouch for it."""
    context = ssl.create_default_context(cadata=bundle)
    context.check_hostname = False
    context.set_alpn_protocols(["h2"])
    with socket.create_connection((HOST, port), timeout=5) as raw, context.wrap_socket(raw) as stream:
        found: Any = stream.getpeercert()
        return tuple(found["subjectAltName"])


async def injected(port: int, ca_bundle: str, pod: dict[str, Any]) -> dict[str, Any]:
    context = ssl.create_default_context(cadata=ca_bundle)
    async with (
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context)) as client,
        client.post(
            f"https://{HOST}:{port}/inject",
            data=review(pod),
            headers={"content-type": "application/json"},
            server_hostname="federation-controller.federation-system.svc",
        ) as answer,
    ):
        found: dict[str, Any] = (await answer.json())["response"]
        return found


async def test_a_cluster_with_a_ca_of_its_own_runs_as_it_is_installed(tmp_path: Path) -> None:
    """Every controller of it shows a certificate that its gateway and the API server verify; a peer gets the brought
    root and nothing else, and routes to the cluster. Pods are told why they get no sidecar."""
    root = make_ca(utc_now(), uris=[f"spiffe://{DOMAIN}"])
    (tmp_path / "root-cert.pem").write_text(root.pem)
    gateway, xds, webhook, second = (free_port(HOST) for _ in range(4))
    async with kube_clusters(tmp_path) as clusters:
        east = await clusters.add(
            "east",
            "eu",
            gateway={"listen": f"{HOST}:{gateway}", "addresses": [f"{HOST}:{gateway}"]},
            xds={"listen": f"{HOST}:{xds}"},
            ca={"bundleFile": str(tmp_path / "root-cert.pem")},
        )
        east.settings["kubernetes"]["webhookListen"] = f"{HOST}:{webhook}"
        east.server.put(NAMESPACES, {"metadata": {"name": "demo", "labels": {LABEL: "enabled"}}})
        east.server.put(CONFIGURATIONS, CONFIGURED)
        west = await clusters.add("west", "us")
        await clusters.found(east, west, clusterset=CLUSTERSET)
        await until(lambda: bool(trust_bundle(east)) and bool(bundle_of(east.server)), seconds=SECONDS)
        internal = trust_bundle(east)

        pod = PodOfKubernetes(tmp_path, "gateway-0", SYSTEM, "federation-gateway")
        await pod.mount(east)
        options = ("--listen", f"{HOST}:{gateway}", "--xds", f"{HOST}:{xds}", "--admin-port", str(free_port(HOST)))
        await asyncio.to_thread(pod.bootstrap, "gateway", *options)
        pod.child.start()
        try:
            await asyncio.to_thread(eventually, lambda: listens(gateway), "the gateway listens", SECONDS)
            nodes = [node.identity for node in east.replicas[0].status().nodes]
        finally:
            pod.child.end()
        webhook_says = await injected(webhook, bundle_of(east.server), {"spec": {"containers": [{"name": "app"}]}})

        east.settings["xds"] = {"listen": f"{HOST}:{second}"}
        del east.settings["kubernetes"]["webhookListen"]
        east.start(1)
        await until(lambda: east.replicas[1].ready, seconds=SECONDS)
        names = [await asyncio.to_thread(shown, port, internal) for port in (xds, second)]

        west.namespace()
        for document in exported():
            east.create(document)
        await until(lambda: "echo" in west.objects("ServiceImport"), seconds=SECONDS)
        trust = json.loads(await west.run("trust", "show", "-o", "json"))
        problems = east.replicas[0].status().problems

    (peer,) = [domain for domain in trust["domains"] if domain["trustDomain"] == DOMAIN]
    assert [authority["id"] for authority in peer["authorities"]] == [authority_id(root.der)]
    assert root.pem.strip() not in internal
    assert bundle_of(east.server) == internal
    assert names == [(("URI", OWN_ID),)] * 2
    assert nodes == ["gateway"]
    assert (webhook_says["allowed"], webhook_says["auditAnnotations"]) == (True, {"injection": "ExternalCa"})
    assert problems == ()
