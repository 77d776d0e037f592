"""A CA is replaced, and one that was stolen is distrusted, while two clusters call each other through real Envoys."""

from __future__ import annotations

import asyncio
import socket
import ssl
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from support.certificates import Ca, make_leaf
from support.clusterset import (
    INBOUND_PORT,
    Cluster,
    ClusterSet,
    Pod,
    all_ready,
    cli,
    get,
    identity,
    port_name,
)
from support.load import calls_reach, steady_load
from support.processes import eventually
from trustbundle.identity import TrustDomain
from trustbundle.keystore import FileKeystore
from trustbundle.rotation import authority_id

pytestmark = [pytest.mark.envoy, pytest.mark.timeout(180)]

APP, OWN = 8080, {"east": 8181, "west": 8182}
RATE = 100.0
"""Calls per second from each cluster to the other."""


@dataclass(frozen=True)
class Sites:
    east: Cluster
    west: Cluster
    pods: dict[str, Pod]
    directory: Path

    @property
    def targets(self) -> dict[str, float]:
        return {
            f"http://{self.east.host(21)}:{OWN['west']}/": RATE,
            f"http://{self.west.host(21)}:{OWN['east']}/": RATE,
        }


@pytest.fixture(scope="module")
def sites(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sites]:
    """Two clusters, each with a service that the other calls. A CA is known after ten minutes, if nobody says so."""
    directory = tmp_path_factory.mktemp("taint")
    with ClusterSet(directory) as clusters:
        east, west = (clusters.add(name, name) for name in OWN)
        pods = {}
        for here, there in ((east, west), (west, east)):
            listen = f"{here.host(21)}:{OWN[there.name]}"
            outbound = [{"service": f"demo/of-{there.name}", "port": OWN[there.name], "listen": listen}]
            pods[here.name] = here.pod(11, f"http:{APP}", outbound=outbound)
            hosts = [pods[here.name].sidecar.address]
            here.export(f"of-{here.name}", {"http": OWN[here.name]}, hosts, targets={"http": APP})
        clusters.introduce()
        for cluster in (east, west):
            cluster.controller.start()
            cluster.gateway.start()
            pods[cluster.name].start()
        all_ready(east, west)
        made = Sites(east, west, pods, directory)
        eventually(lambda: get(east.host(21), OWN["west"])[0] == 200, "east reaches west")
        eventually(lambda: get(west.host(21), OWN["east"])[0] == 200, "west reaches east")
        yield made


def authority(cluster: Cluster) -> Ca:
    """The CA that signs, with its key, as whoever stole its files has it."""
    keystore = FileKeystore(cluster.directory / "state" / "ca", TrustDomain(cluster.trust_domain))
    state = keystore.load()
    assert state is not None
    assert state.current is not None
    key = load_pem_private_key(keystore.load_key(state.current.id).reveal(), password=None)
    return Ca(x509.load_der_x509_certificate(state.current.certificate), key)  # type: ignore[arg-type]


def served(sites: Sites, ca: Ca) -> bool:
    """Whether a caller of west with a fresh certificate of this CA is served by east's pod."""
    leaf = make_leaf(ca, datetime.now(UTC), uris=[identity("west", "echo")])
    path = sites.directory / "client.pem"
    path.write_text(leaf.key_pem + leaf.chain_pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["http/1.1"])
    context.load_cert_chain(path)
    address = (sites.pods["east"].sidecar.address, INBOUND_PORT)
    try:
        with (
            socket.create_connection(address, 10) as plain,
            context.wrap_socket(plain, server_hostname=port_name("of-east", OWN["east"])) as connection,
        ):
            connection.sendall(b"GET / HTTP/1.1\r\nhost: of-east\r\nconnection: close\r\n\r\n")
            return connection.recv(65536).startswith(b"HTTP/1.1 200")
    except (ssl.SSLError, ConnectionError):
        return False


def trusted(sites: Sites) -> list[set[str]]:
    """The ids of west's authorities that each cluster has in force."""
    return [
        {
            one["id"]
            for domain in cluster.trust()["domains"]
            if domain["cluster"] == "west"
            for one in domain["authorities"]
        }
        for cluster in (sites.east, sites.west)
    ]


def look(sites: Sites, *command: str) -> subprocess.CompletedProcess[str]:
    done = cli("trust", *command, "--dir", str(sites.west.directory))
    print(done.stdout)
    return done


async def run(sites: Sites, *command: str) -> subprocess.CompletedProcess[str]:
    return await asyncio.to_thread(cli, *command, "--dir", str(sites.west.directory))


async def test_rotating_now_costs_no_call(sites: Sites) -> None:
    """`rotate ca --now` ends with another CA that signs, long before its propagation time, and no call fails of it."""
    before = authority_id(authority(sites.west).der)
    async with steady_load(sites.targets) as outcomes:
        for outcome in outcomes.values():
            await calls_reach(outcome, 50)
        done = await run(sites, "rotate", "ca", "--now")
        for outcome in outcomes.values():
            await calls_reach(outcome, 200)
    after = authority_id(authority(sites.west).der)

    print(done.stdout, {url: outcome.calls for url, outcome in outcomes.items()})
    assert [outcome.failures[:3] for outcome in outcomes.values()] == [[], []]
    assert (done.returncode, done.stderr, before == after) == (0, "", False)
    assert f"CA {after} signs" in done.stdout
    # The one before only verifies from now on.
    assert trusted(sites) == [{before, after}] * 2


async def test_a_tainted_ca_is_gone_without_a_failed_call(sites: Sites) -> None:
    """`trust taint` ends with the old CA out of both clusters' bundles; what it signs is refused, and no call fails."""
    stolen = authority(sites.west)
    name = authority_id(stolen.der)
    served_before = served(sites, stolen)
    async with steady_load(sites.targets) as outcomes:
        for outcome in outcomes.values():
            await calls_reach(outcome, 50)
        done = await run(sites, "trust", "taint")
        await asyncio.to_thread(
            eventually, lambda: not any(name in found for found in trusted(sites)), "east drops it, too", seconds=10
        )
        for outcome in outcomes.values():
            await calls_reach(outcome, 200)

    print(done.stdout, {url: outcome.calls for url, outcome in outcomes.items()})
    assert [outcome.failures[:3] for outcome in outcomes.values()] == [[], []]
    assert (done.returncode, done.stderr) == (0, "")
    assert f"CA {name} is tainted" in done.stdout
    eventually(lambda: not served(sites, stolen), "its certificates are refused", seconds=10)
    eventually(lambda: look(sites, "check").returncode == 0, "nothing is left to do", seconds=10)
    assert name not in look(sites, "show", "-o", "wide").stdout
    assert (served_before, served(sites, authority(sites.west))) == (True, True)
