"""The network between two clusters is cut, and nothing else: only the traffic between these two moves.

Each of three clusters has a network namespace of its own. us-east and us-west are of one region, so that each calls the
other before eu-west; eu-west calls both alike. The exchange is reached by all, throughout.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from federation.exchange.server import find_redis_server
from support.clusterset import Cluster, ClusterSet, all_ready, get
from support.load import (
    Outcome,
    all_calls_reach,
    ended,
    failed_share,
    failing_seconds,
    failures,
    report,
    steady_load,
    until,
)
from support.namespaces import Namespace, bridged_namespaces
from support.processes import Child, eventually, federation_command

pytestmark = [pytest.mark.envoy, pytest.mark.netns, pytest.mark.timeout(180)]

RATE = 500
SECONDS_WITH_FAILURES = 5
SHARE_OF_FAILURES = 0.005
APP = 8080
PORTS = {"us-east": 8181, "us-west": 8182, "eu-west": 8183}
"""Of the services ``not-<cluster>``, each exported by the two others."""
REGIONS = {"us-east": "us", "us-west": "us", "eu-west": "eu"}


@dataclass(frozen=True)
class Sites:
    clusters: dict[str, Cluster]
    networks: dict[str, Namespace]

    def url(self, name: str) -> str:
        """Where the cluster calls the two others."""
        return f"http://{self.networks[name].host}:1{PORTS[name]}/"

    def targets(self) -> dict[str, float]:
        return {self.url(name): RATE / 3 for name in self.clusters}

    def state(self, reader: str, of: str) -> str:
        return str(self.clusters[reader].peer(of)["state"])

    def order(self, reader: str) -> dict[str, int | None]:
        """The clusters that the reader calls, in their order."""
        backends = self.clusters[reader].services()[f"not-{reader}"]["backends"]
        return {each["cluster"]: each["priority"] for each in backends}


@pytest.fixture
def sites(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sites]:
    """Three clusters in networks of their own, each calling the two others."""
    directory = tmp_path_factory.mktemp("cut")
    with ExitStack() as stack:
        networks = dict(zip(PORTS, bridged_namespaces(stack, len(PORTS)), strict=True))
        clusters = stack.enter_context(ClusterSet(directory))
        # A Unix socket is reached from every network.
        socket_path = directory / "exchange.sock"
        exchange = _redis_on(socket_path)
        stack.callback(exchange.end)
        exchange.start()
        eventually(socket_path.exists, "the exchange is up")
        pods = []
        for name, network in networks.items():
            host, prefix = network.host, network.prefix
            cluster = clusters.add(
                name,
                REGIONS[name],
                prefix=prefix,
                exchange={"url": f"unix://{socket_path}"},
                gateway={"listen": f"{host}:15443", "admin": "127.0.0.1:15000"},
                http={"listen": f"{host}:15014"},
            )
            # Its probes, too, go through the cluster's network.
            command = [*prefix, *federation_command("controller", "--dir", str(cluster.directory))]
            cluster.controller = Child(f"{name} controller", command, directory / f"{name}-controller.log")
            cluster.children.append(cluster.controller)
            outbound = [{"service": f"demo/not-{name}", "port": PORTS[name], "listen": f"{host}:1{PORTS[name]}"}]
            pods.append(cluster.pod_at(host, name, f"http:{APP}", admin="127.0.0.1:15001", outbound=outbound))
            for other, port in PORTS.items():
                if other != name:
                    cluster.export(f"not-{other}", {"http": port}, [host], targets={"http": APP})
        clusters.introduce()
        sites = Sites(clusters.clusters, networks)
        for cluster in clusters.clusters.values():
            cluster.controller.start()
            cluster.gateway.start()
        for pod in pods:
            pod.start()
        all_ready(*clusters.clusters.values())
        for name, network in networks.items():
            eventually(lambda name=name: _all_live(sites.clusters[name]), f"{name} finds all live")
            eventually(lambda name=name, host=network.host: get(host, 10000 + PORTS[name])[0] == 200, f"{name} calls")
        yield sites


def _redis_on(path: Path) -> Child:
    command = [str(find_redis_server(os.environ)), "--port", "0", "--unixsocket", str(path), "--save", ""]
    return Child("exchange", [*command, "--daemonize", "no"], path.with_suffix(".log"))


def _all_live(cluster: Cluster) -> bool:
    return all(peer["state"] == "Live" and peer["trusted"] for peer in cluster.status()["peers"])


@pytest.mark.parametrize(
    "seconds", [pytest.param(8, id="a while"), pytest.param(60, id="a minute", marks=pytest.mark.soak)]
)
async def test_a_cut_between_two_clusters_moves_only_their_traffic(sites: Sites, seconds: int) -> None:
    """us-east and us-west lose one another and call eu-west; eu-west calls both as before; healed, all is as it was."""
    east, west, europe = (sites.url(name) for name in PORTS)
    async with steady_load(sites.targets()) as outcomes:
        for one, other in (("us-east", "us-west"), ("us-west", "us-east")):
            await until(
                lambda one=one, other=other: sites.order(one) == {other: 0, "eu-west": 1}, f"{one} has an order"
            )
        # A peer that was probed before its gateway listened is called last for a moment: the start is no measure.
        async with asyncio.timeout(30):
            while True:
                start = _answers(outcomes)
                await all_calls_reach(outcomes, RATE, 30)
                before = _answers(outcomes)
                shares = (
                    _share(_since(start[east], before[east]), "us-west"),
                    _share(_since(start[west], before[west]), "us-east"),
                )
                if min(shares) > 0.95:
                    break

        cut_at, calls = asyncio.get_running_loop().time(), ended(outcomes)
        sites.networks["us-east"].cut(sites.networks["us-west"])
        sites.networks["us-west"].cut(sites.networks["us-east"])
        for one, other in (("us-east", "us-west"), ("us-west", "us-east")):
            await until(lambda one=one, other=other: sites.state(one, other) == "Unreachable", f"{one} notices")
            await until(lambda one=one, other=other: sites.order(one) == {"eu-west": 0, other: 1}, f"{one} moves")
        noticed = _answers(outcomes)
        await all_calls_reach(outcomes, seconds * RATE, 3 * seconds)
        after = _answers(outcomes)
        assert "gateway" in sites.clusters["us-east"].peer("us-west")["reason"]
        # Nobody else noticed: not of the two, nor the two of the third.
        assert {sites.state("eu-west", of) for of in ("us-east", "us-west")} == {"Live"}
        assert {sites.state(reader, "eu-west") for reader in ("us-east", "us-west")} == {"Live"}
        assert sites.order("eu-west") == {"us-east": 0, "us-west": 0}
        assert failing_seconds(outcomes, cut_at) <= SECONDS_WITH_FAILURES
        assert failed_share(outcomes, cut_at, calls) <= SHARE_OF_FAILURES
        for url in (east, west):
            assert _share(_since(noticed[url], after[url]), "eu-west") > 0.99
        shares = [_share(_since(before[europe], after[europe]), name) for name in ("us-east", "us-west")]
        assert min(shares) > 0.4, shares
        assert outcomes[europe].failures == []

        healed_at, failed = ended(outcomes), failures(outcomes)
        for name in ("us-east", "us-west"):
            sites.networks[name].heal()
        for one, other in (("us-east", "us-west"), ("us-west", "us-east")):
            await until(lambda one=one: _all_live(sites.clusters[one]), f"{one} finds all live")
            await until(lambda one=one, other=other: sites.order(one) == {other: 0, "eu-west": 1}, f"{one} moves back")
        back = _answers(outcomes)
        await until(
            lambda: (
                outcomes[east].answered_by("us-west") > back[east]["us-west"] + RATE / 3
                and outcomes[west].answered_by("us-east") > back[west]["us-east"] + RATE / 3
            ),
            "traffic is back",
        )
        assert failures(outcomes) == failed, f"of {ended(outcomes) - healed_at} calls since"
    report("cut pair", outcomes)


def _answers(outcomes: dict[str, Outcome]) -> dict[str, dict[str, int]]:
    """By target and by the cluster that answered."""
    return {url: {name: outcome.answered_by(name) for name in PORTS} for url, outcome in outcomes.items()}


def _since(before: dict[str, int], after: dict[str, int]) -> dict[str, int]:
    return {name: after[name] - before[name] for name in after}


def _share(answers: dict[str, int], name: str) -> float:
    return answers[name] / max(1, sum(answers.values()))
