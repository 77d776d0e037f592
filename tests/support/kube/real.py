"""A real control plane of a test run: etcd, kube-apiserver and, where it is there, kube-controller-manager.

Processes of their own, on loopback, with a CA, users and an audit log; all they keep is in one temporary directory.
Everything here blocks: in a test with an event loop, ``come_back`` belongs into a thread.
"""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import ssl
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from http import HTTPStatus
from pathlib import Path
from typing import Any

import yaml

from support.kube.api import Audited
from support.kube.audit_log import POLICY, AuditLog
from support.kube.identity import ADMIN, MASTERS
from support.kube.kubeconfig import kubeconfig, write_private
from support.kube.objects import Json
from support.kube.pki import Authority, Pair, signing_key
from support.kube.services import CLUSTER_IPS

START_SECONDS = 60.0
DEFINITIONS_PATH = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
CONTROLLERS = (
    "clusterrole-aggregation-controller",
    "garbage-collector-controller",
    "namespace-controller",
    "root-ca-certificate-publisher-controller",
    "serviceaccount-controller",
)
"""Those that tests rely on. None makes EndpointSlices: there are no pods, and tests say themselves what there is."""


class RealServer:
    """One control plane, from ``start`` to ``stop``. Who is administrator has a token, all others certificates."""

    name = "real"

    def __init__(self, programs: Path, directory: Path, *, service_ranges: Sequence[str] = CLUSTER_IPS[:1]) -> None:
        self._programs = programs
        self._service_ranges = service_ranges
        self._directory = directory
        self._authority = Authority("test CA")
        self._client, self._peer, self._secure = free_ports(3)
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        context = ssl.create_default_context(cadata=self._authority.pem)
        self._connection = http.client.HTTPSConnection(
            "127.0.0.1", self._secure, timeout=START_SECONDS, context=context
        )
        self._log = AuditLog(directory / "audit.log")
        self.admin_token = os.urandom(16).hex()
        self.has_controllers = (programs / "kube-controller-manager").is_file()

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self._secure}"

    @property
    def ca_pem(self) -> str:
        return self._authority.pem

    @property
    def audit(self) -> list[Audited]:
        """Every request for a resource that was answered, a watch once it is accepted. An entry may come a moment after
        the answer."""
        return self._log.read()

    def start(self) -> None:
        """Serve; raises TimeoutError, with what was logged last, where the API server does not get ready."""
        for name, content in self._files().items():
            write_private(self._directory / name, content)
        self._start_etcd()
        self._start_server()

    def start_controllers(self) -> None:
        """Once the CRDs are there that the garbage collector is to know from the start."""
        if not self.has_controllers:
            return
        access = self._directory / "controllers.kubeconfig"
        self.write_kubeconfig(access)
        self._run(
            "kube-controller-manager",
            f"--kubeconfig={access}",
            "--leader-elect=false",
            "--bind-address=127.0.0.1",
            "--secure-port=0",
            f"--controllers={','.join(CONTROLLERS)}",
            f"--root-ca-file={self._directory / 'ca.pem'}",
            "--kube-api-qps=200",
            "--kube-api-burst=400",
        )

    def stop(self) -> None:
        """With watches open an API server takes a minute to end when asked to, so nothing is asked."""
        for process in self._processes.values():
            process.kill()
            process.wait()
        self._processes.clear()
        self._connection.close()

    def kill(self) -> None:
        """``kill -9`` of the API server; etcd and what it keeps stay."""
        process = self._processes.pop("kube-apiserver")
        process.kill()
        process.wait()
        self._connection.close()

    def freeze(self) -> None:
        """Let it take connections and answer nothing."""
        self._processes["kube-apiserver"].send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """End that."""
        if self.runs:
            self._processes["kube-apiserver"].send_signal(signal.SIGCONT)

    @property
    def runs(self) -> bool:
        """Whether it was not killed."""
        return "kube-apiserver" in self._processes

    def come_back(self) -> None:
        """The API server again, on the same port and the same etcd. If it was killed its watch cache is new, and older
        watches get 410."""
        if self.runs:
            self.thaw()
        else:
            self._start_server()

    def install(self, definition: Json) -> None:
        """A CRD, established."""
        self.ask("POST", DEFINITIONS_PATH, definition)
        path = f"{DEFINITIONS_PATH}/{definition['metadata']['name']}"
        deadline = time.monotonic() + START_SECONDS
        while not _is_established(self.ask("GET", path)):
            assert time.monotonic() < deadline, f"{path} does not get established"
            time.sleep(0.05)

    # Access

    def kubeconfig(self, user: str = "", groups: Sequence[str] = ()) -> Json:
        """For any user of any groups, by certificate; for the administrator if none is named."""
        if not user:
            return kubeconfig(self.name, self.url, self.ca_pem, token=self.admin_token)
        return kubeconfig(self.name, self.url, self.ca_pem, pair=self.certificate(user, groups))

    def certificate(self, user: str, groups: Sequence[str] = ()) -> Pair:
        """A key and a client certificate."""
        return self._authority.user(user, groups)

    def write_kubeconfig(
        self, path: Path, token: str | None = None, *, user: str = "", groups: Sequence[str] = ()
    ) -> Path:
        """The kubeconfig as a file that only its owner reads: of a token, or of a user by certificate."""
        content = kubeconfig(self.name, self.url, self.ca_pem, token=token) if token else self.kubeconfig(user, groups)
        return write_private(path, yaml.safe_dump(content).encode())

    def account_token(self, namespace: str, name: str, *, lifetime_seconds: int = 3600) -> str:
        """A token of a service account (TokenRequest), which is created where it is missing."""
        accounts = f"/api/v1/namespaces/{namespace}/serviceaccounts"
        self.ask("POST", accounts, {"metadata": {"name": name}}, accept=(201, 409))
        asked = {"spec": {"expirationSeconds": lifetime_seconds}}
        token: str = self.ask("POST", f"{accounts}/{name}/token", asked, accept=(201,))["status"]["token"]
        return token

    def ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        media: str = "application/json",
        accept: Sequence[int] = (200, 201),
    ) -> Json:
        """A request of the administrator, not through the event loop; raises AssertionError for another answer."""
        deadline = time.monotonic() + START_SECONDS
        while (answered := self._asked(method, path, body, media))[0] == HTTPStatus.TOO_MANY_REQUESTS:
            # As the storage of custom resources says while it is made ready.
            assert time.monotonic() < deadline, (method, path, answered)
            time.sleep(0.05)
        status, media, content = answered
        assert status in accept, (method, path, status, content[:500])
        return json.loads(content) if media == "application/json" else {"text": content.decode()}

    def _asked(self, method: str, path: str, body: Any, media: str) -> tuple[int, str, bytes]:
        headers = {"Authorization": f"Bearer {self.admin_token}", "Content-Type": media}
        content = None if body is None else json.dumps(body)
        for fresh in (self._connection.sock is None, True):
            try:
                self._connection.request(method, path, content, headers)
                answer = self._connection.getresponse()
                return answer.status, answer.headers.get_content_type(), answer.read()
            except (OSError, http.client.HTTPException):
                # The next request opens another.
                self._connection.close()
                # One that was kept may have been closed by a server that was stopped, or found it idle.
                if fresh:
                    raise
        raise AssertionError("the second connection is a fresh one")

    # Processes

    def _files(self) -> Mapping[str, bytes]:
        pair = self._authority.server("127.0.0.1")
        return {
            "ca.pem": self._authority.pem.encode(),
            "server.key": pair.key,
            "server.pem": pair.certificate,
            "accounts.key": signing_key(),
            "tokens.csv": f'{self.admin_token},{ADMIN.name},admin,"{MASTERS}"\n'.encode(),
            "audit-policy.yaml": yaml.safe_dump(POLICY).encode(),
        }

    def _start_etcd(self) -> None:
        client, peer = f"http://127.0.0.1:{self._client}", f"http://127.0.0.1:{self._peer}"
        self._run(
            "etcd",
            f"--data-dir={self._directory / 'etcd'}",
            f"--listen-client-urls={client}",
            f"--advertise-client-urls={client}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster=default={peer}",
            "--log-level=error",
            "--unsafe-no-fsync",
        )

    def _start_server(self) -> None:
        at = self._directory
        self._run(
            "kube-apiserver",
            f"--etcd-servers=http://127.0.0.1:{self._client}",
            "--bind-address=127.0.0.1",
            # Only shown to clients, in the Service "kubernetes"; it may be no loopback address.
            "--advertise-address=192.0.2.1",
            f"--secure-port={self._secure}",
            f"--tls-cert-file={at / 'server.pem'}",
            f"--tls-private-key-file={at / 'server.key'}",
            f"--client-ca-file={at / 'ca.pem'}",
            f"--token-auth-file={at / 'tokens.csv'}",
            "--authorization-mode=RBAC",
            f"--service-cluster-ip-range={','.join(self._service_ranges)}",
            f"--service-account-issuer={self.url}",
            f"--service-account-key-file={at / 'accounts.key'}",
            f"--service-account-signing-key-file={at / 'accounts.key'}",
            # It would have pods wait for their account's token; no pod runs here.
            "--disable-admission-plugins=ServiceAccount",
            f"--audit-policy-file={at / 'audit-policy.yaml'}",
            f"--audit-log-path={at / 'audit.log'}",
        )
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and self._processes["kube-apiserver"].poll() is None:
            with suppress(OSError, http.client.HTTPException, AssertionError):
                self.ask("GET", "/readyz")
                return
            time.sleep(0.05)
        log = (self._directory / "kube-apiserver.log").read_text()[-2000:]
        raise TimeoutError(f"kube-apiserver is not ready after {START_SECONDS:.0f} s, or ended: {log}")

    def _run(self, program: str, *options: str) -> None:
        command = [str(self._programs / program), *options]
        with (self._directory / f"{program}.log").open("ab") as output:
            self._processes[program] = subprocess.Popen(command, stdout=output, stderr=output)


def _is_established(definition: Json) -> bool:
    conditions = definition.get("status", {}).get("conditions") or []
    return any(one["type"] == "Established" and one["status"] == "True" for one in conditions)


@contextmanager
def real_server(programs: Path, **options: Any) -> Iterator[RealServer]:
    """A control plane for the time of a block; its CRDs are not there yet, nor do its controllers run."""
    with tempfile.TemporaryDirectory() as directory:
        server = RealServer(programs, Path(directory), **options)
        try:
            server.start()
            yield server
        finally:
            server.stop()


def free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [one.getsockname()[1] for one in sockets]
