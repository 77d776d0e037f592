"""Keys and certificates are replaced under load, and no call fails.

Three clusters call one another all the time. A rotation is an action and a proof: what the Envoys were seen to hold and
to present, from before the action on, shows that the new ones are really in use. Certificates live for seconds here, so
that all that happens to them in a day happens in one test.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import pytest

from federation.demo.certificates import served_issuer
from federation.model.addresses import HostPort
from support.clusterset import GATEWAY_PORT, cli, port_name
from support.load import all_calls_reach, failures, report, steady_connections, steady_load
from support.triangle import OWN, Site, Triangle, own_service, three_clusters

pytestmark = [pytest.mark.envoy, pytest.mark.timeout(180)]

RATE = 500
"""Calls per second, of all three clusters together."""
CONNECTIONS = 60
"""Of these, TCP connections with a handshake each."""
PROOF_SECONDS = 60.0
LIVES = {"leafTtl": "6s", "caTtl": "10m", "propagation": "2s"}


@dataclass(frozen=True)
class Held:
    """What one cluster's Envoys have at a moment."""

    leaf: str
    """Serial number of the certificate in the sidecar."""
    issuer: bytes
    """The CA behind the certificate that a peer is shown, through the gateway."""
    roots: frozenset[str]
    """Serial numbers of the CA certificates that the sidecar verifies by."""


History = Sequence[dict[str, Held]]
"""By cluster, oldest first."""


@dataclass(frozen=True)
class Rotation:
    name: str
    act: Callable[[Triangle], None]
    proof: Callable[[History], bool]


def wait(sites: Triangle) -> None:
    """What is short-lived is replaced without anybody's doing."""


def rotate_ca(sites: Triangle) -> None:
    """As the administrators of all clusters would, at once."""
    for site in sites.sites.values():
        done = cli("rotate", "ca", "--dir", str(site.cluster.directory))
        assert done.returncode == 0, done.stderr


def every_leaf_was_replaced_three_times(history: History) -> bool:
    return all(len({held[name].leaf for held in history}) > 3 for name in OWN)


def every_ca_is_another_and_the_old_ones_are_gone(history: History) -> bool:
    """Each cluster shows a certificate of a new CA, and nobody verifies by any of the CAs of the start."""
    first, last = history[0], history[-1]
    old = frozenset().union(*(held.roots for held in first.values()))
    return all(
        last[name].issuer != first[name].issuer and last[name].roots and not last[name].roots & old for name in OWN
    )


ROTATIONS = (
    Rotation("leaf", wait, every_leaf_was_replaced_three_times),
    Rotation("ca", rotate_ca, every_ca_is_another_and_the_old_ones_are_gone),
)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Triangle]:
    """Three clusters whose certificates are short-lived."""
    with three_clusters(tmp_path_factory.mktemp("rotations"), ca=LIVES) as sites:
        yield sites


@pytest.fixture
def sites(running: Triangle) -> Triangle:
    """The clusters, calling one another."""
    running.restore()
    return running


@pytest.mark.parametrize("rotation", ROTATIONS, ids=lambda rotation: rotation.name)
async def test_a_rotation_costs_no_call(sites: Triangle, rotation: Rotation) -> None:
    """From before the action until its proof, and for a second after, every call is answered."""
    history = [await picture(sites)]
    targets, connections = sites.targets(RATE - CONNECTIONS), sites.connections(CONNECTIONS)
    async with steady_load(targets) as outcomes, steady_connections(connections) as connected:
        await all_calls_reach(outcomes, RATE, 30)
        await asyncio.to_thread(rotation.act, sites)
        async with asyncio.timeout(PROOF_SECONDS):
            while not rotation.proof(history):
                history.append(await picture(sites))
        await all_calls_reach(outcomes, RATE, 30)
    report(f"rotation of the {rotation.name}", outcomes | connected)
    assert failures(outcomes | connected) == {}


async def picture(sites: Triangle) -> dict[str, Held]:
    """What is held now, once everybody has something to show."""
    found: dict[str, Held] = {}
    async with asyncio.timeout(30):
        for name, site in sites.sites.items():
            while name not in found:
                await asyncio.sleep(0.05)
                issuer = await served_issuer(
                    HostPort(site.cluster.host(1), GATEWAY_PORT), port_name(own_service(name), OWN[name])
                )
                if issuer is not None:
                    leaf, roots = await asyncio.to_thread(_certificates, site)
                    found[name] = Held(leaf, issuer, roots)
    return found


def _certificates(site: Site) -> tuple[str, frozenset[str]]:
    certificates = site.pod.sidecar.admin.read("/certs")["certificates"]
    leaves = [link["serial_number"] for entry in certificates for link in entry.get("cert_chain", ())]
    roots = frozenset(root["serial_number"] for entry in certificates for root in entry.get("ca_cert", ()))
    return leaves[0], roots
