"""A peer's gateway that is known by a name, on real processes: the system's resolver, with a hosts file of the test's.

The caller's controller runs in a mount namespace of its own, where /etc/hosts is a file that the test writes. Nothing
else is in it, and no name server answers.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from support.clusterset import ADMIN_PORT, GATEWAY_PORT, Cluster, ClusterSet, Sidecar, get, port_name
from support.load import calls_reach, steady_load, until
from support.processes import Child, eventually, federation_command

pytestmark = [pytest.mark.envoy, pytest.mark.netns, pytest.mark.timeout(240)]

ECHO = 8080
RATE = 50.0
NAME = "gateway.west.localhost"
_SECONDS = 90.0
"""For what waits for resolvers, which ask every ten seconds."""


@dataclass(frozen=True)
class Sites:
    east: Cluster
    west: Cluster
    caller: Sidecar
    controller: Child
    """East's."""
    hosts: Path
    second: str
    """Where west's gateway is reached as well, for who is told."""

    def resolve(self, *addresses: str) -> None:
        """What the name leads to from now on, written in place: the file is mounted."""
        self.hosts.write_text("127.0.0.1 localhost\n" + "".join(f"{address} {NAME}\n" for address in addresses))

    def known(self) -> set[str]:
        """The addresses of the gateway that are in east's journal."""
        journal = (self.east.directory / "state" / "journal.json").read_text()
        return {address for address in (self.west.host(1), self.second) if f'"{address}"' in journal}

    @property
    def url(self) -> str:
        return f"http://{self.caller.address}:{ECHO}/"


def mounted(directory: Path) -> list[str]:
    """What runs a command with the hosts file and the name servers that are in ``directory``."""
    script = 'mount --bind "$0/hosts" /etc/hosts && mount --bind "$0/resolv.conf" /etc/resolv.conf && exec "$@"'
    return ["unshare", "--mount", "sh", "-c", script, str(directory)]


@pytest.fixture
def sites(tmp_path: Path) -> Iterator[Sites]:
    """East calls west, whose gateway it knows by a name that leads to one address."""
    (tmp_path / "hosts").touch()
    # Nobody listens there, and the kernel says so at once.
    (tmp_path / "resolv.conf").write_text("nameserver 127.0.0.1\n")
    unshare = shutil.which("unshare")
    if unshare is None or subprocess.run([*mounted(tmp_path), "true"], capture_output=True, check=False).returncode:
        pytest.skip(f"no mount namespaces here (uid {os.getuid()})")
    with ClusterSet(tmp_path / "set") as clusters:
        east = clusters.add("us-east", "us")
        west = clusters.add("us-west", "us", gateway={"addresses": [f"{NAME}:{GATEWAY_PORT}"]})
        clusters.introduce()
        pod = west.pod(11, f"http:{ECHO}")
        west.export("echo", {"http": ECHO}, [pod.sidecar.address])
        here = east.host(21)
        outbound = [{"service": "demo/echo", "port": ECHO, "listen": f"{here}:{ECHO}"}]
        caller = east.sidecar("caller", here, "caller", outbound=outbound)
        command = federation_command("controller", "--dir", str(east.directory))
        controller = Child("us-east controller", [*mounted(tmp_path), *command], tmp_path / "us-east-controller.log")
        east.children.append(controller)
        found = Sites(east, west, caller, controller, tmp_path / "hosts", west.host(2))
        found.resolve(west.host(1))
        controller.start()
        west.controller.start()
        for cluster in (east, west):
            cluster.gateway.start()
        pod.start()
        caller.start()
        eventually(lambda: get(here, ECHO)[0] == 200, "calls are answered", seconds=90)
        yield found


def start_second_gateway(sites: Sites) -> None:
    """Another gateway of west, at the second address, as a user would start it: from a directory of its own."""
    west = sites.west
    directory = west.directory.parent / "us-west-second"
    shutil.copytree(west.directory, directory, ignore=shutil.ignore_patterns("state"))
    settings = (directory / "cluster.yaml").read_text()
    for port in (GATEWAY_PORT, ADMIN_PORT):
        settings = settings.replace(f"{west.host(1)}:{port}", f"{sites.second}:{port}")
    xds = west.directory / "state" / "xds.sock"
    (directory / "cluster.yaml").write_text(f"{settings}xds: {{listen: 'unix:{xds}'}}\n")
    command = federation_command("gateway", "--dir", str(directory))
    child = Child("us-west second gateway", command, directory.with_suffix(".log"))
    west.children.append(child)
    child.start()


async def test_the_address_of_a_name_changes_under_load(sites: Sites) -> None:
    """The gateway moves: its name leads to the new address, then the old one is killed. No call fails, and the old
    address is forgotten when the name has not led there for a while."""
    assert sites.known() == {sites.west.host(1)}
    async with steady_load({sites.url: RATE}) as outcomes:
        await calls_reach(outcomes[sites.url], 50)
        await asyncio.to_thread(start_second_gateway, sites)
        await until(
            lambda: get(sites.second, ADMIN_PORT, "/ready")[0] == 200, "the second gateway is ready", seconds=90.0
        )
        sites.resolve(sites.second)
        await until(lambda: sites.second in sites.known(), "the second gateway is known", _SECONDS)
        sites.west.gateway.kill()
        await until(lambda: sites.known() == {sites.second}, "the second gateway alone is known", _SECONDS)
        await calls_reach(outcomes[sites.url], 50)
    outcome = outcomes[sites.url]
    print(f"moved gateway: {len(outcome.failures)} of {outcome.calls} failed")
    assert outcome.failures == []
    assert sites.east.peer("us-west")["state"] == "Live"


async def test_a_name_that_no_longer_resolves_keeps_its_addresses(sites: Sites) -> None:
    """DNS fails, for the running controller and for one that starts: calls go on, and status says what is wrong."""
    async with steady_load({sites.url: RATE}) as outcomes:
        sites.resolve()
        await until(
            lambda: f"{NAME} does not resolve" in sites.east.problems(),
            "the name is told of",
            seconds=90.0,
        )
        assert "its last addresses are used" in sites.east.problems()
        sites.controller.kill()
        sites.controller.start()
        await until(
            lambda: sites.east.ready() and "its last addresses are used" in sites.east.problems(),
            "the last ones are used",
            seconds=90.0,
        )
        await until(
            lambda: sites.east.services()["echo"]["backends"][0]["priority"] == 0,
            "the service has a backend",
            seconds=90.0,
        )
        await calls_reach(outcomes[sites.url], 50)
    assert outcomes[sites.url].failures == []
    assert sites.caller.admin.clusters(port_name("echo", ECHO)) == {"us-west"}
