"""A TCP connection finds a cluster that lives, although Envoy has not found out yet that the nearer ones are dead."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
from pathlib import Path

import pytest
from google.protobuf.json_format import MessageToDict

from federation.app.programs import die_with_parent, find_envoy
from federation.model.errors import MissingProgramError
from federation.model.names import ClusterId, ServiceKey
from gateway.ir.model import AppProtocol, ImportedPort, Upstream, UpstreamLocality
from gateway.telemetry import Telemetry
from gateway.xds.translate.clusters import import_assignment, import_cluster
from gateway.xds.translate.listeners import Address, local_listener

pytestmark = pytest.mark.envoy

NETWORK = f"127.77.{os.getpid() % 250 + 1}"
DEAD = [f"{NETWORK}.{number}" for number in range(1, 10)]
"""Of ten tries, nine are needed to find out about these: none may be spent on an address twice."""
ALIVE, CALLER = f"{NETWORK}.20", f"{NETWORK}.21"


def imported() -> ImportedPort:
    """Eight dead addresses in the own cluster, a dead gateway in the region, and a living one elsewhere."""

    def locality(priority: int, cluster: str, *addresses: str) -> UpstreamLocality:
        return UpstreamLocality(
            priority, ClusterId(cluster), "here", "", tuple(Upstream(host, 9000) for host in addresses)
        )

    return ImportedPort(
        ServiceKey("demo", "ledger"),
        9000,
        AppProtocol.TCP,
        ("spiffe://elsewhere/ns/demo/sa/ledger",),
        (locality(0, "own", *DEAD[:-1]), locality(1, "near", DEAD[-1]), locality(2, "far", ALIVE)),
    )


def bootstrap() -> dict[str, object]:
    port = imported()
    cluster = MessageToDict(import_cluster(port))
    # The path below TLS is what is tried here: no certificates, and endpoints without a control plane.
    del cluster["transportSocket"], cluster["edsClusterConfig"]
    cluster |= {"type": "STATIC", "loadAssignment": MessageToDict(import_assignment(port))}
    listener = MessageToDict(local_listener(Address(CALLER, 9000), port, Telemetry(ClusterId("east"))))
    return {"static_resources": {"listeners": [listener], "clusters": [cluster]}}


async def first_word() -> bytes:
    reader, writer = await asyncio.open_connection(CALLER, 9000)
    try:
        return await reader.read(16)
    finally:
        writer.close()


async def wait_until_listening() -> None:
    """Connections are accepted as soon as Envoy listens, so a refused one means that it does not yet."""
    async with asyncio.timeout(30):
        while True:
            probe = await asyncio.create_subprocess_exec("/bin/sh", "-c", f"grep -q {_hex_listener()} /proc/net/tcp")
            if await probe.wait() == 0:
                return
            await asyncio.sleep(0.05)


def _hex_listener() -> str:
    return "".join(f"{int(part):02X}" for part in reversed(CALLER.split("."))) + ":2328"


async def test_the_first_connection_succeeds_though_all_nearer_addresses_are_dead(tmp_path: Path) -> None:
    """No connection is spent on finding out: the very first one is answered, by the cluster that lives."""
    try:
        envoy = find_envoy()
    except MissingProgramError as error:
        pytest.skip(str(error))

    async def greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"far\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(greet, ALIVE, 9000)
    config = tmp_path / "envoy.json"
    config.write_text(json.dumps(bootstrap()))
    options = ["--config-path", config, "--disable-hot-restart", "--concurrency", "1", "--log-path", tmp_path / "log"]
    process = subprocess.Popen([envoy, *options], preexec_fn=die_with_parent)  # noqa: PLW1509
    try:
        await wait_until_listening()
        words = [await first_word() for _ in range(5)]
    finally:
        process.kill()
        process.wait()
        server.close()
        await server.wait_closed()

    assert words == [b"far\n"] * 5
