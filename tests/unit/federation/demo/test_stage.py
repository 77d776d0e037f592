"""Stage: the directories that it writes are what the product reads, whole and without a problem."""

from __future__ import annotations

from contextlib import aclosing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from controllers.sources.files import FileSource
from federation.app.sites import load_cluster
from federation.demo.processes import Fleet
from federation.demo.sites import US_EAST, Layout, plan_sites
from federation.demo.stage import Stage
from federation.exchange.secure_server import ExchangeServer
from federation.membership.tokens import NodePrincipal, TokenStore
from federation.model.addresses import HostPort
from gateway.ir.build import build_inbound


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    """A stage with its files written and nothing running."""
    listen = HostPort("127.0.0.1", 16379)
    exchange = ExchangeServer(
        tmp_path / "exchange",
        listen,
        [listen.host],
        program=Path("/nowhere"),
        now=datetime(2026, 1, 1, tzinfo=UTC),
        tls=False,
    )
    made = Stage(tmp_path, plan_sites(Layout()), Fleet(tmp_path, {}), exchange)
    made.write_files()
    return made


def test_settings_name_the_exchange_and_what_joining_brings(stage: Stage) -> None:
    """Every cluster meets the others at one exchange, with a password of its own."""
    settings = {cluster: load_cluster(stage.directory(cluster)) for cluster in stage.sites}
    for cluster, own in settings.items():
        assert (str(own.exchange.url), own.exchange.credentials_file, own.exchange.ca_file) == (
            "redis://127.0.0.1:16379",
            stage.directory(cluster) / "exchange.credentials",
            None,
        )


async def test_every_proxy_has_its_token(stage: Stage) -> None:
    """Gateway and backend pods have a token in every cluster, the client in its own."""
    principals = {}
    for cluster in stage.sites:
        directory = stage.directory(cluster) / "tokens"
        store = TokenStore.load(directory)
        assert store.problems == ()
        principals[cluster] = {await store.authenticate(path.read_text().strip()) for path in directory.iterdir()}
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
