"""Transparent redirect over IPv6: a pod of both families, in a network namespace like a pod's.

The pod is what the injection makes of one. It calls by the clusterset IP a service that it serves itself, so that its
one proxy is both sidecars; its controller, which it finds by TLS, is in the test's own process.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, ExitStack
from datetime import UTC, datetime
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Any

import pytest

from controllers.injection.annotations import Tuning
from controllers.injection.pod_patch import Injection
from controllers.injection.policy import HEALTH_PORT
from controllers.injection.redirect_rules import REDIRECT_PORT
from federation.app.bundles import own_certificate
from federation.app.nodes import NodeDesk
from federation.app.programs import find_envoy
from federation.membership.tokens import TokenStore, create_token
from federation.model.errors import MissingProgramError
from gateway.xds.server import XdsServer
from support.builders import ECHO, endpoint, endpoint_port, endpoint_slice, exported_state
from support.clock import ManualClock
from support.clusterset import app_command, get
from support.control import ControlLoop, started_authority
from support.injected_pod import InjectedPod
from support.namespaces import Namespace, bridged_namespaces
from support.processes import Child

pytestmark = [pytest.mark.envoy, pytest.mark.netns, pytest.mark.timeout(120)]

APP, PLAIN, XDS = 8080, 8090, 15012
POD_IPV6, OTHER_IPV6 = "fd00:203::1", "fd00:203::2"
VIPS = {4: IPv4Address("240.96.0.1"), 6: IPv6Address("fd00:96::1")}
SECONDS = 60.0

# A GET as an unprivileged user, who may not be able to read this Python's own files: imported before.
_GET = """
import encodings.idna, os, socket, sys
os.setuid(65534)
with socket.create_connection((sys.argv[1], int(sys.argv[2])), 10) as connection:
    connection.sendall(b"GET /asked HTTP/1.1\\r\\nhost: echo\\r\\nconnection: close\\r\\n\\r\\n")
    while data := connection.recv(65536):
        sys.stdout.write(data.decode())
"""


class Pod:
    """The pod's network, and what is answered to an application in it."""

    def __init__(self, network: Namespace) -> None:
        self.network = network

    async def speak(self, host: object, port: int) -> str:
        """All that comes back, while the controller goes on in this thread."""
        return await asyncio.to_thread(self.network.run, sys.executable, "-c", _GET, str(host), str(port))

    async def get(self, host: object, port: int) -> dict[str, Any]:
        head, _, body = (await self.speak(host, port)).partition("\n\n")
        if not head.startswith("HTTP/1.1 200"):
            raise ValueError(head[:200])
        return dict(json.loads(body[body.index("{") : body.rindex("}") + 1]))


@pytest.fixture
async def pod(tmp_path: Path) -> AsyncIterator[Pod]:
    try:
        find_envoy()
    except MissingProgramError as error:
        pytest.skip(f"{error}: {error.hint}")
    async with AsyncExitStack() as stack:
        sync = stack.enter_context(ExitStack())
        own, other = bridged_namespaces(sync, 2)
        try:
            for network, address in ((own, POD_IPV6), (other, OTHER_IPV6)):
                network.run("ip", "address", "add", f"{address}/64", "dev", "eth0", "nodad")
            # What is nobody's neighbour goes to a router, so that a clusterset IP can be connected to.
            for family, via in (("-4", other.host), ("-6", OTHER_IPV6)):
                own.run("ip", family, "route", "add", "default", "via", via)
            own.run("ip6tables", "-t", "nat", "-L")
        except OSError as error:
            pytest.skip(f"no IPv6 with ip6tables here: {error}")
        here = f"{own.host.rpartition('.')[0]}.254"
        server, tokens = await _controller(stack, tmp_path, own.host, here)
        facts = {
            "metadata.name": "echo-1",
            "metadata.namespace": ECHO.namespace,
            "status.podIP": own.host,
            "spec.serviceAccountName": "default",
            "spec.nodeName": "node-1",
            "metadata.labels['topology.kubernetes.io/zone']": "",
        }
        made = InjectedPod(sync, own, Injection("", "", "east", "eu", "east.test", f"{here}:{XDS}"), Tuning(), facts)
        made.mount(tokens, tmp_path / "bundle.pem")
        apps = [
            Child(name, [*network.prefix, *app_command(name, host, f"http:{port}")], tmp_path / f"{name}.log")
            for name, network, host, port in (
                ("echo", own, own.host, APP),
                ("plain", other, OTHER_IPV6, PLAIN),
            )
        ]
        for child in (*apps, made.proxy):
            sync.callback(child.end)
        for child in apps:
            child.start()
        await server.start()
        await asyncio.to_thread(made.start)
        found = Pod(own)
        async with asyncio.timeout(SECONDS):
            while not await asyncio.to_thread(_answers, found):
                await asyncio.sleep(0.05)
        yield found


async def _controller(stack: AsyncExitStack, directory: Path, pod_ip: str, here: str) -> tuple[XdsServer, Path]:
    """What serves the pod, and the pod's token: service echo, whose endpoint the pod is, has IPs of both families."""
    clock = ManualClock(datetime.now(UTC))
    authority = started_authority(clock=clock)
    loop = ControlLoop(directory, clock=clock, authority=authority)
    loop.own({ECHO: exported_state(endpoint_slice(endpoint(pod_ip), ports=[endpoint_port(APP)]))})
    loop.controller.on_vips({ECHO: VIPS[4]}, {ECHO: VIPS[6]})  # type: ignore[dict-item]
    loop.step()
    (directory / "bundle.pem").write_text(authority.bundle().pem)
    tokens = directory / "tokens"
    tokens.mkdir()
    token = tokens / f"{ECHO.namespace}.default.token"
    create_token(token)
    desk = NodeDesk(loop.dataplane, TokenStore.load(tokens), authority, "east.test", clock)
    server = XdsServer(loop.cache, authenticate=desk.authenticate, on_node=desk.on_node, now=lambda: datetime.now(UTC))
    server.listen_tls(here, XDS, own_certificate(authority, "east.test"))
    stack.push_async_callback(server.stop, 0.1)
    return server, token


def _answers(pod: Pod) -> bool:
    """Whether the proxy says that it is ready, and has taken its own side of the service."""
    try:
        ready = get(pod.network.host, HEALTH_PORT, "/ready")[0] == 200
        pod.network.run(sys.executable, "-c", _GET, str(VIPS[4]), "80")
    except OSError:
        return False
    return ready


@pytest.mark.parametrize("family", [4, 6])
async def test_a_clusterset_ip_of_either_family_leads_to_the_service(pod: Pod, family: int) -> None:
    """A plain connection becomes a call by mutual TLS, with the caller's identity."""
    seen = await _until_answered(pod, VIPS[family], 80)
    assert (seen["app"], seen["path"]) == ("echo", "/asked")
    assert "URI=spiffe://east.test/ns/demo/sa/default" in seen["headers"]["x-forwarded-client-cert"]


async def test_other_destinations_over_ipv6_pass_through_untouched(pod: Pod) -> None:
    """What is no clusterset IP reaches where it was sent, and the redirect's own port leads nowhere."""
    seen = await _until_answered(pod, OTHER_IPV6, PLAIN)
    assert (seen["app"], seen["path"]) == ("plain", "/asked")
    assert "x-forwarded-client-cert" not in seen["headers"]
    nat = pod.network.run("ip6tables-save", "-t", "nat")
    assert f"--to-ports {REDIRECT_PORT}" in nat


async def _until_answered(pod: Pod, host: object, port: int) -> dict[str, Any]:
    """The answer, once Envoy has taken all that it was told."""
    found: list[dict[str, Any]] = []
    last: Exception | None = None
    try:
        async with asyncio.timeout(SECONDS):
            while not found:
                try:
                    found.append(await pod.get(host, port))
                except (OSError, ValueError) as error:
                    last = error
                    await asyncio.sleep(0.1)
    except TimeoutError as error:
        error.add_note(f"last: {last}")
        raise
    return found[0]
