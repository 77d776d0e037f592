"""Controllers under the rights that an installation gives them: nothing is forbidden, and nothing is given for nothing.

They run as pods of the installation do: by the account, the roles and the settings that it makes. They are driven
through everything that they do, and what the API server noted of it is held against the rules, verb by verb.
"""

from __future__ import annotations

import asyncio
import base64
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml

from controllers.injection.annotations import INJECTION as INJECTION_LABEL
from controllers.mcs.objects import derived_id
from controllers.sources.pod_accounts import INJECTED_LABEL
from federation.model.names import ServiceKey
from gateway.nodes import GatewayNode, Listen, node_metadata
from gateway.xds import protos
from support.delta_client import DeltaClient
from support.exchange import until
from support.install_site import InstallSite, install_site
from support.installation import one, pods, rendered
from support.kube.api import Audited
from support.kube.cluster import emptied
from support.kube.housekeeping import CRDS, NAMESPACES
from support.kube.objects import GroupResource
from support.kube.plane import Plane
from support.kube.service_accounts import made_pod, pod_token
from support.kube.site import AUTHORIZATION, CORE, DEFINITIONS, MERGE, until_code
from support.kube_members import (
    CLUSTERSET,
    SECONDS,
    SYSTEM,
    KubeClusters,
    KubeMember,
    conditions,
    exported,
    kube_clusters,
)
from support.kube_rights import forbidden, rights_of, ungranted, unneeded
from support.mesh_site import ROOT, control_plane, istio_definitions, linkerd
from support.ports import free_port

pytestmark = pytest.mark.timeout(180)

ACCOUNT, GATEWAY = "federation-controller", "federation-gateway"
USER = f"system:serviceaccount:{SYSTEM}:{ACCOUNT}"
BUNDLE = "federation-trust-bundle"
WEBHOOK = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/federation-sidecar-injector"
PROPERTIES = "/apis/about.k8s.io/v1beta1/clusterproperties"
DERIVED = derived_id(ServiceKey("demo", "echo")).name
LOOPBACK = "127.0.0.1"


class Installed:
    """Cluster west, installed with some values; its controllers are the account that the installation made."""

    def __init__(self, site: InstallSite, west: KubeMember, documents: tuple[Any, ...]) -> None:
        self.admin = site.admin
        self.west = west
        self.rights = rights_of(documents)
        # Not any pod: the namespace takes none that is not restricted.
        self.gateway_pod = {"metadata": {"name": "gateway-1"}, "spec": dict(pods(documents))[GATEWAY]}
        self._settings = yaml.safe_load(one(documents, "ConfigMap", "federation-settings")["data"]["cluster.yaml"])
        self._kubeconfig = site.server.write_kubeconfig(
            site.kubeconfig.with_name("account"), site.server.account_token(SYSTEM, ACCOUNT)
        )
        self._noted = len(site.server.audit)

    @property
    def requests(self) -> list[Audited]:
        """What the controllers asked for."""
        return [asked for asked in self.west.server.audit[self._noted :] if asked.user == USER]

    def start(self, number: int) -> None:
        """One more controller, by the installation's settings, but on loopback and on the disk of a test."""
        kubernetes = {**self._settings["kubernetes"], "kubeconfig": str(self._kubeconfig), "leaseSeconds": 4}
        if "webhookListen" in kubernetes:
            kubernetes["webhookListen"] = f"{LOOPBACK}:{free_port(LOOPBACK)}"
        self.west.settings = {
            "region": "us",
            "dns": {"listen": f"{LOOPBACK}:{free_port(LOOPBACK)}"},
            "gateway": self._settings["gateway"],
            "kubernetes": kubernetes,
            **{key: value for key, value in self._settings.items() if key == "mesh"},
        }
        self.west.start(number)

    @property
    def webhook(self) -> str:
        """Of the controller that was started last."""
        return f"https://{self.west.settings['kubernetes']['webhookListen']}/inject"

    async def merge(self, path: str, patch: Mapping[str, Any]) -> None:
        reply = await self.admin.ask("PATCH", path, dict(patch), media=MERGE)
        assert reply.code == 200, reply

    async def granted(self) -> None:
        """Until both bindings are in force, which takes a real API server a moment."""
        for resource, namespace in (("serviceexports", ""), ("secrets", SYSTEM)):
            group = "multicluster.x-k8s.io" if resource == "serviceexports" else ""
            verb = "list" if resource == "serviceexports" else "create"
            asked = {"group": group, "resource": resource, "namespace": namespace, "verb": verb}
            await until_so(lambda asked=asked: self._may(asked))

    async def _may(self, asked: Mapping[str, str]) -> bool:
        body = {"spec": {"user": USER, "groups": [], "resourceAttributes": asked}}
        allowed: bool = (await self.admin.post(f"{AUTHORIZATION}/subjectaccessreviews", body)).body["status"]["allowed"]
        return allowed

    def said(self, words: str) -> bool:
        """Whether a controller of the cluster has logged these words."""
        return any(words in replica.child.log.read_text() for replica in self.west.replicas)


@asynccontextmanager
async def installed(plane: Plane, root: Path, *words: str) -> AsyncIterator[tuple[KubeClusters, Installed]]:
    """Cluster west as it is installed with these words of ``--set``; no controller runs."""
    words = (f"clusterset={CLUSTERSET}", *words)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(emptied(plane.server))
        site = await stack.enter_async_context(install_site(plane, root, SYSTEM))
        clusters = await stack.enter_async_context(kube_clusters(root))
        await site.install(*words)
        west = await clusters.add("west", "us", server=plane.server)
        found = Installed(site, west, rendered(*words))
        await found.granted()
        try:
            yield clusters, found
        except TimeoutError as error:
            # What is forbidden never happens.
            error.add_note(f"forbidden: {forbidden(found.requests)}")
            raise


async def test_controllers_do_all_they_do_by_the_rights_that_they_have_and_need_each(
    kube_plane: Plane, tmp_path: Path
) -> None:
    """Nothing is forbidden; without any verb of any rule, on any name, something would be."""
    if not kube_plane.has_controllers:
        pytest.skip("no controllers run beside the API server, and nobody empties namespaces")
    async with installed(kube_plane, tmp_path) as (clusters, site):
        west = site.west
        west.namespace()
        await site.merge(f"{CORE}/namespaces/demo", {"metadata": {"labels": {INJECTION_LABEL: "enabled"}}})
        east = await joined(clusters, site)
        await exports_and_imports(east, site)
        await sidecars(site)
        await gateways(site)
        await withdrawals(site)
        await takeover(site)
        await west.run("leave")
        await until(lambda: not west.objects("ServiceImport"), seconds=SECONDS)
        # Its id is the cluster's also when it is no member.
        await until_code(site.admin, f"{PROPERTIES}/clusterset.k8s.io", 404)
        with suppress(TimeoutError):
            # The audit log of a real API server comes late.
            await until(lambda: not unneeded(site.rights, site.requests), seconds=5.0)

    requests = site.requests
    assert forbidden(requests, going="short") == []
    assert unneeded(site.rights, requests) == []
    assert ungranted(site.rights, requests) == []


async def test_without_the_webhook_nothing_is_forbidden_either(kube_plane: Plane, tmp_path: Path) -> None:
    """Who turns injection off has controllers that get ready, import, and ask for nothing that they may not have."""
    async with installed(kube_plane, tmp_path, "injection.enabled=false") as (clusters, site):
        site.start(0)
        await site.west.leader()
        await site.west.run(
            "init", "--clusterset", CLUSTERSET, "--cluster-id", "west", "--exchange", clusters.redis.url
        )
        await until(lambda: site.west.replicas[0].ready, seconds=SECONDS)
        for document in exported():
            site.west.create(document)
        await until(lambda: bool(site.west.objects("ServiceImport")), seconds=SECONDS)

    assert forbidden(site.requests) == []
    assert ungranted(site.rights, site.requests) == []


@pytest.mark.parametrize("mesh", ["istio", "linkerd"])
async def test_rights_to_a_mesh_are_all_needed_and_enough(kube_plane: Plane, tmp_path: Path, mesh: str) -> None:
    """Where the values name a mesh, its objects come, go, and nothing more may be done with it than is."""
    async with installed(kube_plane, tmp_path, f"mesh={mesh}") as (clusters, site), AsyncExitStack() as stack:
        more = frozenset(map(str, site.rights - rights_of(rendered(f"clusterset={CLUSTERSET}"))))
        await brought(site, stack, mesh)
        site.west.namespace()
        east = await joined(clusters, site)
        for document in exported("far", "10.0.0.9"):
            east.create(document)
        await until(lambda: has_address(site.west, "far"), seconds=SECONDS)
        await until(lambda: mesh_of(site) == mesh, seconds=SECONDS)
        if mesh == "istio":
            for path in OF_ISTIO:
                await until_so(lambda path=path: answered(site, path, 200))
            for resource, body in control_plane("west.acme"):
                reply = await site.admin.delete(f"{path_of(resource, body)}/{body['metadata']['name']}")
                assert reply.code == 200, reply
            for path in OF_ISTIO:
                await until_so(lambda path=path: answered(site, path, 404))
        with suppress(TimeoutError):
            # The audit log of a real API server comes late.
            await until(lambda: not more.intersection(unneeded(site.rights, site.requests)), seconds=5.0)

    assert more
    assert forbidden(site.requests) == []
    assert sorted(more.intersection(unneeded(site.rights, site.requests))) == []
    assert ungranted(site.rights, site.requests) == []


OF_ISTIO = (
    f"/apis/security.istio.io/v1/namespaces/{ROOT}/authorizationpolicies/federation-foreign-callers",
    "/apis/networking.istio.io/v1/namespaces/demo/destinationrules/federation-far",
    "/apis/networking.istio.io/v1/namespaces/demo/serviceentries/federation-far",
)
"""What there is for Istio where service demo/far is imported."""


async def brought(site: Installed, stack: AsyncExitStack, mesh: str) -> None:
    """The definitions of a mesh, until the stack ends, and what its control plane is known by."""
    if mesh == "istio":
        definitions, rest = istio_definitions(), control_plane("west.acme")
    else:
        definitions = [body for resource, body in linkerd() if resource == CRDS]
        rest = [(resource, body) for resource, body in linkerd() if resource not in {CRDS, NAMESPACES}]
    for definition in definitions:
        assert (await site.admin.post(DEFINITIONS, definition)).code == 201
        stack.push_async_callback(site.west.cluster.delete_definition, definition["metadata"]["name"])
        spec = definition["spec"]
        served = f"/apis/{spec['group']}/{spec['versions'][0]['name']}/{spec['names']['plural']}"
        await until_code(site.admin, served, 200)
    site.west.namespace(ROOT if mesh == "istio" else "linkerd")
    for resource, body in rest:
        reply = await site.admin.post(path_of(resource, body), body)
        assert reply.code == 201, reply


def path_of(resource: GroupResource, body: Mapping[str, Any]) -> str:
    group, plural = resource
    return f"{f'/apis/{group}/v1' if group else CORE}/namespaces/{body['metadata']['namespace']}/{plural}"


async def answered(site: Installed, path: str, code: int) -> bool:
    return (await site.admin.get(path)).code == code


def mesh_of(site: Installed) -> str:
    """The mesh that the one controller of the cluster has found."""
    status = site.west.replicas[0].status().kubernetes
    return "" if status is None or status.mesh is None else status.mesh.kind


async def joined(clusters: KubeClusters, site: Installed) -> KubeMember:
    """East, which has all rights, founds; west joins, by its one controller."""
    site.start(0)
    east = await clusters.add("east", "eu", gateway={"addresses": ["192.0.2.1:15443"]})
    await clusters.found(east)
    await site.west.leader()
    await clusters.join(east, site.west)
    await until(lambda: site.west.replicas[0].ready, seconds=SECONDS)
    return east


async def exports_and_imports(east: KubeMember, site: Installed) -> None:
    """A service of west's own and one of east's, with all that tells of them; hand-made changes are put right."""
    west = site.west
    for document in exported():
        west.create(document)
    for document in exported("far", "10.0.0.9"):
        east.create(document)
    west.namespace()
    await until(lambda: all(has_address(west, name) for name in ("echo", "far")), seconds=SECONDS)
    await until(
        lambda: conditions(west.objects("ServiceExport")["echo"]).get("Ready") == ("True", "Exported"), seconds=SECONDS
    )
    await until(lambda: bool(west.objects("ServiceImport")["far"].get("status", {}).get("clusters")), seconds=SECONDS)
    for path in (f"{CORE}/namespaces/demo/events", PROPERTIES):
        await until_so(lambda path=path: any_of(site, path))
    await until(lambda: bool(imported_slices(west, "far")), seconds=SECONDS)
    # Of pods only those are read that have a sidecar.
    await made_pod(site.admin, "demo", "web", "web-1")
    await site.merge(f"{CORE}/namespaces/demo/pods/web-1", {"metadata": {"labels": {INJECTED_LABEL: "true"}}})
    endpoint = {"addresses": ["10.0.0.1"], "targetRef": {"kind": "Pod", "name": "web-1", "namespace": "demo"}}
    west.edit("EndpointSlice", "echo-1", {"endpoints": [endpoint]})


async def sidecars(site: Installed) -> None:
    """The bundle is where pods mount it, the webhook answers whom the API server trusts, a pod's token is reviewed."""
    for namespace in (SYSTEM, "demo"):
        await until_code(site.admin, bundle_in(namespace), 200)
    pem = (await site.admin.get(bundle_in("demo"))).body["data"]["bundle.pem"]
    await until_so(lambda: trusts(site, pem))
    context = ssl.create_default_context(cadata=pem)
    async with (
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context)) as client,
        client.post(site.webhook, json=review("just-made"), server_hostname=f"{ACCOUNT}.{SYSTEM}.svc") as answer,
    ):
        said = await answer.json()
    assert said["response"]["allowed"]

    reply = await site.admin.post(f"{CORE}/namespaces/{SYSTEM}/pods", site.gateway_pod)
    assert reply.code == 201, reply
    token = await pod_token(site.admin, SYSTEM, GATEWAY, "gateway-1", f"federation.{CLUSTERSET}")
    socket = next(site.west.replicas[0].directory.rglob("xds.sock"))
    metadata = node_metadata(GatewayNode(Listen(LOOPBACK, 15443)))
    async with DeltaClient(f"unix:{socket}", token=token, metadata=metadata) as gateway:
        await gateway.subscribe(protos.LISTENER)
        await gateway.wait_for(lambda client: bool(client.has.get(protos.LISTENER)))


async def gateways(site: Installed) -> None:
    """By a load balancer's address; then by the nodes', which nobody reads before."""
    path = f"{CORE}/namespaces/{SYSTEM}/services/{GATEWAY}"
    await site.merge(f"{path}/status", {"status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.7"}]}}})
    await until(lambda: site.said("192.0.2.7:15443"), seconds=SECONDS)
    assert "nodes" not in {asked.asked.plural for asked in site.requests}
    addresses = [{"type": "InternalIP", "address": "192.0.2.8"}]
    status = {"addresses": addresses, "conditions": [{"type": "Ready", "status": "True"}]}
    reply = await site.admin.post(f"{CORE}/nodes", {"metadata": {"name": "node-1"}})
    assert reply.code == 201, reply
    await site.merge(f"{CORE}/nodes/node-1/status", {"status": status})
    await site.merge(f"{path}/status", {"status": {"loadBalancer": None}})
    await site.merge(path, {"spec": {"type": "NodePort"}})
    await until(lambda: site.said("192.0.2.8:"), seconds=SECONDS)


async def withdrawals(site: Installed) -> None:
    """An export, a namespace with one, and a namespace's wish for sidecars are taken back."""
    west = site.west
    for document in exported("brief"):
        west.create({**document, "metadata": {**document["metadata"], "namespace": "short"}})
    await until(lambda: has_address(west, "brief", "short"), seconds=SECONDS)
    reply = await site.admin.delete(f"{CORE}/namespaces/short")
    assert reply.code == 200, reply
    west.delete("ServiceExport", "echo")
    await until(lambda: not {"echo", DERIVED} & {*west.objects("ServiceImport")}, seconds=SECONDS)
    await until(lambda: DERIVED not in west.objects("Service"), seconds=SECONDS)
    await until(lambda: not imported_slices(west, "echo"), seconds=SECONDS)
    await site.merge(f"{CORE}/namespaces/demo", {"metadata": {"labels": {INJECTION_LABEL: None}}})
    await until_code(site.admin, bundle_in("demo"), 404)
    await until_code(site.admin, f"{CORE}/namespaces/short", 404)


async def takeover(site: Installed) -> None:
    """The one that stood by leads when the leader ends, and writes."""
    west = site.west
    site.start(1)
    await until(lambda: west.replicas[1].ready, seconds=SECONDS)
    # In a thread: the stand-in answers in this one, and the Lease is given back.
    await asyncio.to_thread(west.replicas[0].child.terminate)
    await until(lambda: leads(west, 1), seconds=SECONDS)
    west.create(exported()[-1])
    await until(lambda: has_address(west, "echo"), seconds=SECONDS)


def leads(member: KubeMember, number: int) -> bool:
    status = member.replicas[number].status().kubernetes
    return status is not None and status.leads


def has_address(member: KubeMember, name: str, namespace: str = "demo") -> bool:
    found = member.objects("ServiceImport", namespace).get(name)
    return found is not None and bool(found["spec"].get("ips"))


def imported_slices(member: KubeMember, name: str) -> list[str]:
    label = "multicluster.kubernetes.io/service-name"
    slices = member.objects("EndpointSlice").items()
    return [key for key, body in slices if (body["metadata"].get("labels") or {}).get(label) == name]


def bundle_in(namespace: str) -> str:
    return f"{CORE}/namespaces/{namespace}/configmaps/{BUNDLE}"


async def trusts(site: Installed, pem: str) -> bool:
    """Whether the API server is told to verify the webhook by this bundle."""
    (webhook,) = (await site.admin.get(WEBHOOK)).body["webhooks"]
    return base64.b64decode(webhook["clientConfig"].get("caBundle") or "").decode() == pem


async def any_of(site: Installed, path: str) -> bool:
    return bool((await site.admin.get(path)).body.get("items"))


async def until_so(asked: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(SECONDS):
        while not await asked():
            await asyncio.sleep(0.02)


def review(namespace: str) -> dict[str, Any]:
    """An AdmissionReview of a pod that is made in a namespace that nobody has seen yet."""
    pod = {"metadata": {"name": "web"}, "spec": {"containers": [{"name": "app"}]}}
    request = {
        "uid": "1",
        "kind": {"group": "", "version": "v1", "kind": "Pod"},
        "namespace": namespace,
        "operation": "CREATE",
        "object": {"apiVersion": "v1", "kind": "Pod", **pod},
    }
    return {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request}
