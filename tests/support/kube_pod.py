"""An Envoy as it runs in a pod of a cluster backed by Kubernetes, in front of a controller that runs on this host."""

from __future__ import annotations

import json
from pathlib import Path

from federation.app.programs import find_envoy
from support.clusterset import CLUSTERSET, cli
from support.kube.service_accounts import made_pod, pod_token
from support.kube_members import SYSTEM, KubeMember
from support.processes import Child

PROXY_PORT = 15001


class PodOfKubernetes:
    """An Envoy as it runs in a pod: the volumes that a kubelet mounts, and what the init container writes."""

    def __init__(self, root: Path, name: str, namespace: str, account: str) -> None:
        self.directory = root / name
        self.directory.mkdir()
        self.name, self.namespace, self.account = name, namespace, account
        command = [str(find_envoy()), "--config-path", str(self.directory / "envoy.json"), "--disable-hot-restart"]
        self.child = Child(name, [*command, "--concurrency", "1"], root / f"{name}.log")

    async def mount(self, member: KubeMember) -> None:
        async with member.caller() as admin:
            await made_pod(admin, self.namespace, self.account, self.name)
            token = await pod_token(admin, self.namespace, self.account, self.name, f"federation.{CLUSTERSET}")
        (self.directory / "token").write_text(token)
        bundle = member.objects("ConfigMap", SYSTEM)["federation-trust-bundle"]["data"]["bundle.pem"]
        (self.directory / "bundle.pem").write_text(bundle)

    def bootstrap(self, kind: str, *options: str) -> None:
        files = ["--token-file", str(self.directory / "token"), "--trust-bundle", str(self.directory / "bundle.pem")]
        place = ["--clusterset", CLUSTERSET, "--health-port", "0", "--output", str(self.directory / "envoy.json")]
        done = cli("proxy-config", kind, "--pod-name", self.name, *files, *place, *options)
        assert done.returncode == 0, done.stderr

    def with_proxy(self, host: str) -> None:
        """A port for calls by name: no connection can be redirected on this host without touching all of it."""
        path = self.directory / "envoy.json"
        document = json.loads(path.read_text())
        document["node"]["metadata"]["federation"]["http_proxy"] = {"host": host, "port": PROXY_PORT}
        path.write_text(json.dumps(document))
