"""A pod's Envoy, from the command that writes its bootstrap to the certificate of its service account."""

from __future__ import annotations

import asyncio
import socket
import ssl
import urllib.request
from asyncio.subprocess import Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import pytest
from cryptography import x509
from typer.testing import CliRunner

from controllers.kube.client import KubeAccess, open_client
from controllers.kube.token_review import REPROVE_SECONDS, TokenReviewer
from federation.app.bundles import own_certificate
from federation.app.nodes import NodeDesk
from federation.app.programs import die_with_parent, find_envoy
from federation.cli.main import app
from federation.model.errors import MissingProgramError
from federation.model.names import sni
from gateway.xds.server import XdsServer
from support.builders import ECHO, endpoint, endpoint_slice, exported_state
from support.clock import ManualClock
from support.control import ControlLoop, started_authority
from support.exchange import until
from support.kube.caller import Caller
from support.kube.plane import plane_of
from support.kube.real import free_ports
from support.kube.server import StandIn, running
from support.kube.service_accounts import made_pod, pod_token, project

pytestmark = pytest.mark.envoy

HOST, NAMESPACE, ACCOUNT, POD = "127.0.0.1", "demo", "echo", "echo-1"
AUDIENCE = "federation.test"


class Control:
    """A control plane that proves nodes by an API server; it serves one exported service of this host's."""

    def __init__(self, directory: Path, access: KubeAccess, inbound_port: int, port: int) -> None:
        self._seconds = 1000.0
        self.port = port
        self.clock = ManualClock(datetime.now(UTC))
        self.authority = started_authority(clock=self.clock)
        loop = ControlLoop(directory, clock=self.clock, authority=self.authority)
        loop.own({ECHO: exported_state(endpoint_slice(endpoint(HOST), inbound_port=inbound_port))})
        loop.step()
        self.reviewer = TokenReviewer(
            partial(open_client, access),
            AUDIENCE,
            own_namespace="federation-system",
            monotonic=lambda: self._seconds,
            clock=lambda: datetime.now(UTC),
        )
        self.desk = NodeDesk(loop.dataplane, self.reviewer, self.authority, "east.test", self.clock)
        self._cache = loop.cache
        self.server = self._made()

    async def start(self) -> None:
        self.server = self._made()
        self.server.listen_tls(HOST, self.port, own_certificate(self.authority, "east.test"))
        await self.server.start()

    async def notice(self) -> frozenset[str]:
        """Time passes, until all tokens are proved again; returns whose don't hold any more."""
        self._seconds += REPROVE_SECONDS
        self.desk.withdrawn()
        await self.reviewer.reprove()
        gone = self.desk.withdrawn()
        self.server.refuse_from_now_on(gone)
        return gone

    def pass_seconds(self, seconds: float) -> None:
        self._seconds += seconds

    @property
    def nodes(self) -> list[str]:
        return [stream.node for stream in self.server.streams()]

    def _made(self) -> XdsServer:
        return XdsServer(
            self._cache,
            authenticate=self.desk.authenticate,
            on_node=self.desk.on_node,
            now=lambda: datetime.now(UTC),
        )


class Pod:
    """A pod's volumes, its bootstrap, and its Envoy."""

    def __init__(self, directory: Path) -> None:
        self.token = directory / "token-volume"
        self.trust = directory / "trust-volume"
        self.proxy = directory / "proxy"
        self.proxy.mkdir()
        self.inbound, self.admin, self.health = free_ports(3)

    def bootstrap(self, xds: str) -> None:
        """What the init container does."""
        words = ["--pod-ip", HOST, "--namespace", NAMESPACE, "--pod-name", POD, "--clusterset", "test"]
        words += ["--inbound-port", str(self.inbound), "--admin-port", str(self.admin)]
        words += ["--health-port", str(self.health), "--xds", xds, "--region", "eu"]
        words += ["--token-file", str(self.token / "token"), "--trust-bundle", str(self.trust / "bundle.pem")]
        words += ["--output", str(self.proxy / "envoy.json")]
        CliRunner().invoke(app, ["proxy-config", "sidecar", *words], catch_exceptions=False)

    @asynccontextmanager
    async def envoy(self) -> AsyncIterator[Process]:
        """What the proxy container does."""
        with (self.proxy / "envoy.log").open("wb") as log:
            process = await asyncio.create_subprocess_exec(
                *(find_envoy(), "--config-path", self.proxy / "envoy.json", "--disable-hot-restart"),
                *("--concurrency", "1", "--log-level", "warning"),
                preexec_fn=die_with_parent,
                stdout=log,
                stderr=log,
            )
        try:
            yield process
        finally:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()

    def says_ready(self) -> bool:
        """The kubelet's probe."""
        try:
            with socket.create_connection((HOST, self.health), timeout=5) as connection:
                connection.sendall(b"GET /healthz/ready HTTP/1.1\r\nhost: pod\r\nconnection: close\r\n\r\n")
                return connection.recv(100).startswith(b"HTTP/1.1 200 ")
        except ConnectionRefusedError:
            return False

    def stat(self, name: str) -> int:
        """A counter of Envoy's."""
        with urllib.request.urlopen(f"http://{HOST}:{self.admin}/stats?filter={name}", timeout=5) as answer:
            return int(answer.read().decode().partition(": ")[2] or 0)

    async def identity(self) -> str:
        """The SPIFFE ID in the certificate that the sidecar shows to callers."""
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        _, writer = await asyncio.open_connection(HOST, self.inbound, ssl=context, server_hostname=sni(ECHO, 80))
        der = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        writer.transport.abort()
        names = x509.load_der_x509_certificate(der).extensions.get_extension_for_class(x509.SubjectAlternativeName)
        (found,) = names.value.get_values_for_type(x509.UniformResourceIdentifier)
        return str(found)


class Scene:
    def __init__(self, api: StandIn, access: KubeAccess, admin: Caller, control: Control, pod: Pod) -> None:
        self.api, self.access, self.admin, self.control, self.pod = api, access, admin, control, pod

    async def mount(self) -> str:
        """A fresh token in the pod's volume."""
        token = await pod_token(self.admin, NAMESPACE, ACCOUNT, POD, AUDIENCE)
        project(self.pod.token, token=token)
        return token


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    try:
        find_envoy()
    except MissingProgramError as error:
        pytest.skip(f"{error}: {error.hint}")
    async with running() as api, plane_of(api).caller() as admin:
        pod = Pod(tmp_path)
        access = KubeAccess(api.write_kubeconfig(tmp_path / "kubeconfig"))
        (port,) = free_ports(1)
        control = Control(tmp_path, access, pod.inbound, port)
        scene = Scene(api, access, admin, control, pod)
        await made_pod(admin, NAMESPACE, ACCOUNT, POD)
        await scene.mount()
        project(scene.pod.trust, **{"bundle.pem": control.authority.bundle().pem})
        scene.pod.bootstrap(f"localhost:{control.port}")
        yield scene
        await scene.control.server.stop(0.1)


async def test_a_pods_sidecar_gets_the_certificate_of_its_service_account(scene: Scene) -> None:
    """It is not ready before its controllers, found by name, have told it what to do; its token decides who it is."""
    async with scene.pod.envoy():
        await until(lambda: _listens(scene.pod.admin))
        assert not scene.pod.says_ready()
        await scene.control.start()
        await until(scene.pod.says_ready)
        # Envoy opens its listeners one after the other.
        await until(lambda: _listens(scene.pod.inbound))
        identity = await scene.pod.identity()
    assert identity == f"spiffe://east.test/ns/{NAMESPACE}/sa/{ACCOUNT}"
    assert scene.control.reviewer.problems == ()


async def test_a_replaced_token_and_a_deleted_account(scene: Scene) -> None:
    """The old token's end sends the sidecar back, with the new one, as if nothing were; its account's end shuts it
    out."""
    old = await scene.mount()
    control = scene.control
    await control.start()
    async with scene.pod.envoy():
        await until(scene.pod.says_ready)
        (node,) = control.nodes
        await scene.mount()
        scene.api.expire_token(old)
        assert await control.notice() == {node}
        await until(lambda: control.nodes == [])
        await until(lambda: control.nodes == [node])
        assert control.server.counters.auth_refused == 0

        await scene.admin.delete(f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts/{ACCOUNT}")
        assert await control.notice() == {node}
        await until(lambda: control.server.counters.auth_refused > 1)
        assert control.nodes == []


async def test_the_controllers_next_ca_is_taken_from_the_volume(scene: Scene, tmp_path: Path) -> None:
    """Envoy looks at the trust bundle again when the kubelet swaps it, and finds its controllers behind the new CA."""
    await scene.control.start()
    async with scene.pod.envoy():
        await until(scene.pod.says_ready)
        nodes = scene.control.nodes
        await scene.control.server.stop(0.1)
        (tmp_path / "next").mkdir()
        scene.control = Control(tmp_path / "next", scene.access, scene.pod.inbound, scene.control.port)
        await scene.control.start()
        await until(lambda: scene.pod.stat("cluster.xds.ssl.fail_verify_error") > 0)
        assert scene.control.nodes == []
        project(scene.pod.trust, **{"bundle.pem": scene.control.authority.bundle().pem})
        await until(lambda: scene.control.nodes == nodes)


async def test_an_api_server_that_is_away_refuses_nobody(scene: Scene) -> None:
    """A pod that starts meanwhile waits and is let in afterwards; who was let in before stays, and may come again."""
    control = scene.control
    await scene.api.vanish()
    await control.start()
    async with scene.pod.envoy():
        await until(lambda: control.reviewer.problems != ())
        assert (control.nodes, control.server.counters.auth_refused) == ([], 0)
        await scene.api.come_back()
        control.pass_seconds(10)
        await until(scene.pod.says_ready)
        (node,) = control.nodes

        await scene.api.vanish()
        assert await control.notice() == frozenset()
        await control.server.stop(0.1)
        await control.start()
        await until(lambda: control.nodes == [node])
    assert control.server.counters.auth_refused == 0


def _listens(port: int) -> bool:
    try:
        socket.create_connection((HOST, port), timeout=5).close()
    except ConnectionRefusedError:
        return False
    return True
