"""Stage: the directories that it writes are what the product reads, whole and without a problem."""

from __future__ import annotations

from contextlib import aclosing
from pathlib import Path

import pytest

from controllers.sources.files import FileSource
from federation.app.sites import load_cluster
from federation.demo.processes import Fleet
from federation.demo.sites import US_EAST, Layout, plan_sites
from federation.demo.stage import Stage
from federation.exchange.server import EmbeddedRedis
from federation.membership.keys import load_signing_key, public_key
from federation.membership.tokens import NodePrincipal, TokenStore
from gateway.ir.build import build_inbound


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    """A stage with its files written and nothing running."""
    redis = EmbeddedRedis(16379, directory=tmp_path / "redis", program=Path("/nowhere"))
    made = Stage(tmp_path, plan_sites(Layout()), Fleet(tmp_path, {}), redis)
    made.write_files()
    return made


def test_members_know_each_other_by_their_keys(stage: Stage) -> None:
    """The public key that others hold of a cluster belongs to the private key in its directory."""
    settings = {cluster: load_cluster(stage.directory(cluster)) for cluster in stage.sites}
    keys = {cluster: public_key(load_signing_key(own.member_key_file)) for cluster, own in settings.items()}
    for cluster, own in settings.items():
        assert {member.cluster: member.public_key for member in own.members} == {
            peer: key for peer, key in keys.items() if peer != cluster
        }


def test_every_proxy_has_its_token(stage: Stage) -> None:
    """Gateway and backend pods have a token in every cluster, the client in its own."""
    principals = {}
    for cluster in stage.sites:
        directory = stage.directory(cluster) / "tokens"
        store = TokenStore.load(directory)
        assert store.problems == ()
        principals[cluster] = {store.authenticate(path.read_text().strip()) for path in directory.iterdir()}
    gateway, backend, client = (
        NodePrincipal("gateway"),
        NodePrincipal("sidecar", "demo", "backend"),
        NodePrincipal("sidecar", "demo", "client"),
    )
    assert principals.pop(US_EAST) == {gateway, backend, client}
    assert all(found == {gateway, backend} for found in principals.values())


async def test_manifests_lead_to_the_pods(stage: Stage) -> None:
    """Read by the file source without a problem, the slices have each sidecar take its pod's services and no others."""
    for cluster, site in stage.sites.items():
        settings = load_cluster(stage.directory(cluster))
        async with aclosing(FileSource(stage.directory(cluster), settings).updates()) as updates:
            update = await anext(updates)
        assert update.problems == ()
        assert set(update.state.services) == {service.key for service in site.services}
        for pod in site.pods:
            inbound = [
                port
                for key, state in update.state.services.items()
                for port in build_inbound(
                    key, state, address=pod.inbound.host, inbound_port=pod.inbound.port, sidecar_port=15006
                )
            ]
            assert {(port.service, port.port, port.app_port, port.protocol.is_http) for port in inbound} == {
                (service.key, service.port, listen.port, service.is_http) for service, listen in pod.apps.items()
            }
