"""A cluster backed by Kubernetes and one backed by files in one clusterset: calls both ways, over real Envoys.

The Kubernetes side is started as its pods start it: a controller over the API server, proxies from bootstraps that the
command line writes, and tokens of service accounts that the API server proves.
"""

from __future__ import annotations

import asyncio
import http.client
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from support.clusterset import CLUSTERSET, Cluster, ClusterSet, app_command, cli
from support.exchange import until
from support.kube.objects import Key
from support.kube_members import KINDS, SECONDS, SYSTEM, KubeClusters, exported
from support.kube_pod import PROXY_PORT, PodOfKubernetes
from support.processes import Child, eventually

pytestmark = [pytest.mark.envoy, pytest.mark.timeout(180)]

PORT = 8080


class Mixed:
    """Cluster kube in Kubernetes, which has the authority, and cluster files, in a range of their own."""

    def __init__(self, root: Path, stack: AsyncExitStack, clusters: ClusterSet) -> None:
        assert clusters.redis is not None
        self.root, self.clusters = root, clusters
        self.files: Cluster = clusters.add("files", "eu")
        self.kube_hosts = self.files.host(0).rpartition(".")[0].rpartition(".")[0] + ".99"
        self.members = KubeClusters(root, stack, clusters.redis)
        stack.callback(self.members.end)
        self.pods: list[PodOfKubernetes] = []
        self.apps: list[Child] = []
        stack.callback(self.end)

    def host(self, number: int) -> str:
        """An address of cluster kube."""
        return f"{self.kube_hosts}.{number}"

    async def start(self) -> None:
        kube = await self.members.add(
            "kube",
            "us",
            gateway={"listen": f"{self.host(1)}:15443", "addresses": [f"{self.host(1)}:15443"]},
            xds={"listen": f"{self.host(2)}:15012"},
            ca={"propagation": "1s"},
        )
        await self.members.found(kube, clusterset=CLUSTERSET)
        self.files.write_settings()
        token = await kube.run("token", "create", "--cluster", "files")
        (self.root / "token").write_text(token)
        joined = await asyncio.to_thread(
            cli, "join", "--dir", str(self.files.directory), "--token-file", str(self.root / "token")
        )
        assert joined.returncode == 0, joined.stderr
        self.files.controller.start()
        self.files.gateway.start()
        await until(lambda: "federation-trust-bundle" in kube.objects("ConfigMap", SYSTEM), seconds=SECONDS)
        await self.pod(
            "gateway-0", SYSTEM, "federation-gateway", "gateway", "--listen", f"{self.host(1)}:15443", admin=15900
        )
        await self.pod("web-0", "demo", "web", "sidecar", *self._pod_options(10), admin=15901)
        self._serve("web-0", self.host(10))
        for document in exported("web", self.host(10)):
            if document["kind"] == "EndpointSlice":
                # Behind the API's back, which takes no loopback address in a slice.
                document["metadata"] |= {
                    "annotations": {"federation-gateway.dev/service-account": "web"},
                    "uid": "web-1",
                }
                kube.namespace()
                kube.server.store.put(KINDS["EndpointSlice"], Key("demo", "web-1"), document)
            else:
                kube.create(document)
        pod = self.files.pod(10, f"http:{PORT}", account="echo", httpProxy=f"{self.files.host(10)}:{PROXY_PORT}")
        self.files.export("echo", {"http": PORT}, [self.files.host(10)])
        pod.start()

    async def pod(self, name: str, namespace: str, account: str, kind: str, *options: str, admin: int) -> None:
        pod = PodOfKubernetes(self.root, name, namespace, account)
        self.pods.append(pod)
        await pod.mount(self.members.members["kube"])
        xds = f"{self.host(2)}:15012"
        await asyncio.to_thread(pod.bootstrap, kind, "--xds", xds, "--admin-port", str(admin), *options)
        if kind == "sidecar":
            pod.with_proxy(self.host(10))
        pod.child.start()

    def end(self) -> None:
        for child in (*self.apps, *(pod.child for pod in self.pods)):
            child.end()

    def _pod_options(self, number: int) -> tuple[str, ...]:
        return ("--pod-ip", self.host(number), "--namespace", "demo")

    def _serve(self, name: str, host: str) -> None:
        app = Child(f"app-{name}", app_command(name, host, f"http:{PORT}"), self.root / f"app-{name}.log")
        self.apps.append(app)
        app.start()


def called(proxy: str, name: str, port: int) -> dict[str, str]:
    """The answer to a call by name through a sidecar; OSError while there is none."""
    connection = http.client.HTTPConnection(proxy, PROXY_PORT, timeout=10)
    try:
        connection.request("GET", "/", headers={"host": f"{name}.demo.svc.clusterset.local:{port}"})
        answer = connection.getresponse()
        body = answer.read()
        if answer.status != 200:
            raise OSError(f"{answer.status} {body[:100]!r}")
        found = json.loads(body)
    except http.client.HTTPException as error:
        raise OSError(str(error)) from error
    else:
        return {"app": found["app"], "by": found["headers"].get("x-forwarded-client-cert", "")}
    finally:
        connection.close()


@pytest.fixture
async def mixed(tmp_path: Path) -> AsyncIterator[Mixed]:
    with ClusterSet(tmp_path) as clusters:
        async with AsyncExitStack() as stack:
            found = Mixed(tmp_path, stack, clusters)
            await found.start()
            yield found


async def test_clusters_of_both_kinds_call_each_other(mixed: Mixed) -> None:
    """By name, over mutual TLS from workload to workload; each sees the other's service as it sees its own."""

    def both() -> bool:
        to_files, to_kube = (
            called(mixed.host(10), "echo", PORT),
            called(mixed.files.host(10), "web", 80),
        )
        return (to_files["app"], to_kube["app"]) == ("files-10", "web-0")

    await asyncio.to_thread(eventually, both, "each calls the other", SECONDS * 2)
    kube = mixed.members.members["kube"]
    await until(lambda: {"echo", "web"} <= kube.objects("ServiceImport").keys(), seconds=SECONDS)
    imported = kube.objects("ServiceImport")["echo"]
    services = mixed.files.services()

    assert [one["cluster"] for one in imported["status"]["clusters"]] == ["files"]
    assert {backend["cluster"] for backend in services["web"]["backends"]} == {"kube"}
    assert not mixed.files.problems()
