"""Keys and certificates are replaced under load, and no call fails.

Three clusters call one another all the time. A rotation is an action and a proof: what the Envoys were seen to hold and
to present, from before the action on, shows that the new ones are really in use. Certificates live for seconds here, so
that all that happens to them in a day happens in one test.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
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
    member_key: str
    """The beginning of the own one, once no other is on its way."""
    authority: str
    """The beginning of the key that rosters are verified by."""
    heard: dict[str, str]
    """The newest version that was accepted of each peer."""


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
    run_at(sites, list(sites.sites), "rotate", "ca")


def rotate_member_keys(sites: Triangle) -> None:
    """All members at once."""
    run_at(sites, list(sites.sites), "rotate", "member-key")


def rotate_authority(sites: Triangle) -> None:
    """Where the authority is."""
    run_at(sites, ["us-east"], "rotate", "authority")


def run_at(sites: Triangle, names: Sequence[str], *command: str) -> None:
    """Run a command for each of the clusters, side by side."""
    directories = [str(sites.sites[name].cluster.directory) for name in names]
    with ThreadPoolExecutor() as pool:
        for done in pool.map(lambda directory: cli(*command, "--dir", directory), directories):
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


def every_member_has_another_key_and_is_heard_with_it(history: History) -> bool:
    """A member says everything anew, under another epoch, with its new key: every peer has accepted that."""
    first, last = history[0], history[-1]
    return all(
        last[name].member_key not in {"", first[name].member_key}
        and all(epoch(last[other].heard[name]) > epoch(first[other].heard[name]) for other in OWN if other != name)
        for name in OWN
    )


def every_member_knows_one_new_authority(history: History) -> bool:
    first, last = ({held.authority for held in one.values()} for one in (history[0], history[-1]))
    return len(last) == 1 and not first & last


def epoch(version: str) -> int:
    return int(version.partition("-")[0])


ROTATIONS = (
    Rotation("leaf", wait, every_leaf_was_replaced_three_times),
    Rotation("ca", rotate_ca, every_ca_is_another_and_the_old_ones_are_gone),
    Rotation("member key", rotate_member_keys, every_member_has_another_key_and_is_heard_with_it),
    Rotation("authority", rotate_authority, every_member_knows_one_new_authority),
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
                    found[name] = await asyncio.to_thread(_held, site, issuer)
    return found


def _held(site: Site, issuer: bytes) -> Held:
    certificates = site.pod.sidecar.admin.read("/certs")["certificates"]
    status = site.cluster.status()
    membership = status["membership"]
    return Held(
        leaf=site.pod.sidecar.admin.certificate(),
        issuer=issuer,
        roots=frozenset(root["serial_number"] for entry in certificates for root in entry.get("ca_cert", ())),
        member_key="" if membership.get("rekeying") else membership["memberKey"],
        authority=membership["authority"],
        heard={peer["cluster"]: peer["version"] for peer in status["peers"]},
    )
