"""The API server that a test runs on: the stand-in, or a real kube-apiserver with etcd from KUBEBUILDER_ASSETS."""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
import socket
import ssl
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from support.kube.caller import Caller
from support.kube.server import StandIn, multicluster_definitions

ASSETS = "KUBEBUILDER_ASSETS"
STAND_IN, REAL = "stand-in", "real-api-server"
START_SECONDS = 60.0
DEFINITIONS_PATH = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


@dataclass(frozen=True, slots=True)
class Plane:
    """How a test reaches its API server as the administrator, and what is there beside it."""

    url: str
    ca_pem: str
    token: str
    has_controllers: bool
    """Whether somebody empties namespaces and collects garbage."""

    def caller(self, token: str | None = None, headers: Mapping[str, str] | None = None) -> Caller:
        """A client with this token, the administrator's if none is given."""
        return Caller(self.url, self.ca_pem, self.token if token is None else token, headers)


def plane_of(server: StandIn) -> Plane:
    return Plane(server.url, server.ca_pem, server.admin_token, has_controllers=True)


def assets() -> Path | None:
    """Where kube-apiserver and etcd are, None where they are not."""
    named = os.environ.get(ASSETS)
    found = named and all((Path(named) / name).is_file() for name in ("kube-apiserver", "etcd"))
    return Path(named) if named and found else None


@contextmanager
def real_plane(programs: Path) -> Iterator[Plane]:
    """A control plane of its own, without controllers, on loopback; its CRDs are not there yet."""
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        client, peer, secure = _free_ports(3)
        etcd_url = f"http://127.0.0.1:{client}"
        peer_url = f"http://127.0.0.1:{peer}"
        etcd = [str(programs / "etcd"), "--data-dir", str(directory / "etcd"), "--log-level", "error"]
        etcd += ["--listen-client-urls", etcd_url, "--advertise-client-urls", etcd_url, "--unsafe-no-fsync"]
        etcd += ["--listen-peer-urls", peer_url, "--initial-advertise-peer-urls", peer_url]
        etcd += ["--initial-cluster", f"default={peer_url}"]
        stack.enter_context(_process(etcd, directory / "etcd.log"))

        token, key = secrets.token_hex(16), directory / "accounts.key"
        tokens = directory / "tokens.csv"
        tokens.touch(mode=0o600)
        tokens.write_text(f'{token},admin,admin,"system:masters"\n')
        openssl = shutil.which("openssl")
        assert openssl is not None, "openssl is missing: it makes the key of service accounts"
        subprocess.run([openssl, "genrsa", "-out", str(key), "2048"], check=True, capture_output=True)
        url = f"https://127.0.0.1:{secure}"
        server = [str(programs / "kube-apiserver"), f"--etcd-servers={etcd_url}", f"--cert-dir={directory / 'certs'}"]
        server += ["--bind-address=127.0.0.1", f"--secure-port={secure}", "--authorization-mode=RBAC"]
        server += [f"--token-auth-file={tokens}", "--service-cluster-ip-range=10.96.0.0/16"]
        server += [f"--service-account-issuer={url}", f"--service-account-key-file={key}"]
        server += [f"--service-account-signing-key-file={key}", "--disable-admission-plugins=ServiceAccount"]
        stack.enter_context(_process(server, directory / "kube-apiserver.log"))
        yield _ready(url, token, directory)


def _ready(url: str, token: str, directory: Path) -> Plane:
    """The plane once it answers; its self-signed certificate is its CA."""
    certificate = directory / "certs" / "apiserver.crt"
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        with suppress(OSError):
            ca_pem = certificate.read_text()
            context = ssl.create_default_context(cadata=ca_pem)
            asked = urllib.request.Request(f"{url}/readyz", headers={"Authorization": f"Bearer {token}"})
            with urllib.request.urlopen(asked, context=context, timeout=5):
                return Plane(url, ca_pem, token, has_controllers=False)
        time.sleep(0.1)
    log = (directory / "kube-apiserver.log").read_text()[-2000:]
    raise TimeoutError(f"kube-apiserver is not ready after {START_SECONDS:.0f} s: {log}")


async def install_definitions(plane: Plane) -> None:
    """The CRDs of the MCS API and of ClusterProperty, established; those there already stay."""
    async with plane.caller() as admin:
        for definition in multicluster_definitions():
            reply = await admin.post(DEFINITIONS_PATH, definition)
            assert reply.code in {201, 409}, reply
            path = f"{DEFINITIONS_PATH}/{definition['metadata']['name']}"
            async with asyncio.timeout(START_SECONDS):
                while not _is_established((await admin.get(path)).body):
                    await asyncio.sleep(0.05)


def _is_established(definition: Mapping[str, object]) -> bool:
    status = definition.get("status")
    conditions = status.get("conditions") or [] if isinstance(status, dict) else []
    return any(one["type"] == "Established" and one["status"] == "True" for one in conditions)


@contextmanager
def _process(command: Sequence[str], log: Path) -> Iterator[None]:
    with log.open("wb") as output, subprocess.Popen(command, stdout=output, stderr=output) as process:
        try:
            yield
        finally:
            # With watches open a kube-apiserver takes a minute to end when asked to.
            process.kill()


def _free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [one.getsockname()[1] for one in sockets]


def told_servers(outcomes: Mapping[str, Sequence[str]]) -> list[str]:
    """Which API servers the tests ran on, one line, from the test ids by outcome; nothing where none wanted one."""
    ran = [test for outcome in ("passed", "failed") for test in outcomes.get(outcome, ())]
    skipped = [test for test in outcomes.get("skipped", ()) if REAL in test]
    counts = [(name, sum(name in test for test in ran)) for name in (STAND_IN, REAL)]
    told = [f"{count} tests on the {name}" for name, count in counts if count]
    if skipped:
        missing = f"{ASSETS} names no directory with kube-apiserver and etcd"
        wanting = "no controllers run beside it" if counts[1][1] else missing
        told.append(f"{len(skipped)} SKIPPED: {wanting}")
    return [f"kubernetes: {', '.join(told)}"] if told else []
