"""Sites: settings and manifests that the product itself accepts, and addresses that don't collide."""

from __future__ import annotations

from collections import Counter
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest

from federation.demo.sites import (
    BILLING,
    CLIENT_ACCOUNT,
    ECHO,
    EU_WEST,
    GENERATIONS,
    LEDGER,
    SLOW,
    US_EAST,
    US_WEST,
    Layout,
    cluster_text,
    manifests,
    plan_sites,
    renewed,
    sidecar_text,
)
from federation.model.settings import parse_cluster_settings, parse_sidecar_settings

LAYOUTS = [Layout(), Layout(variant=9), Layout(ranges=False), Layout(ranges=False, variant=9)]
HERE = Path("/clusters/one")


def test_who_exports_what() -> None:
    """Echo and slow are everywhere, billing only in eu-west, ledger everywhere but at the caller's."""
    assert {site.cluster: set(site.services) for site in plan_sites(Layout())} == {
        US_EAST: {ECHO, SLOW},
        US_WEST: {ECHO, SLOW, LEDGER},
        EU_WEST: {ECHO, SLOW, LEDGER, BILLING},
    }


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_no_address_is_used_twice(layout: Layout) -> None:
    """Every listener of every cluster, now and later, has an address of its own."""
    addresses = Counter(address for site in plan_sites(layout) for address in site.listeners)
    assert [address for address, count in addresses.items() if count > 1] == []


def test_variants_don_t_collide() -> None:
    """Two demos on one machine share no address."""
    for ranges in (True, False):
        taken = [
            {address for site in plan_sites(Layout(ranges, variant)) for address in site.listeners}
            for variant in range(10)
        ]
        assert sum(map(len, taken)) == len(set().union(*taken))


def test_ranges_tell_the_clusters_apart() -> None:
    """Each cluster has an address range of its own, where there are ranges; else all share 127.0.0.1."""
    for site, network in zip(plan_sites(Layout()), ("127.10.0.0/16", "127.20.0.0/16", "127.30.0.0/16"), strict=True):
        assert all(ip_address(address.host) in ip_network(network) for address in site.listeners)
    assert {address.host for site in plan_sites(Layout(ranges=False)) for address in site.listeners} == {"127.0.0.1"}


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_cluster_files_are_good_settings(layout: Layout) -> None:
    """The product reads every cluster.yaml: its own identity, and where it meets the others."""
    for site in plan_sites(layout):
        text = cluster_text(site, exchange_url="redis://127.0.0.1:6379")
        settings = parse_cluster_settings(text, directory=HERE)
        assert (settings.cluster, settings.region, settings.trust_domain) == (
            site.cluster,
            site.region,
            site.trust_domain,
        )
        assert settings.gateway.listen == site.gateway
        assert str(settings.exchange.url) == "redis://127.0.0.1:6379"


def test_an_exchange_with_tls_is_known_by_its_ca() -> None:
    """Where the exchange speaks TLS, its CA is pinned."""
    site = plan_sites(Layout())[0]
    text = cluster_text(site, exchange_url="rediss://127.0.0.1:6379")
    assert parse_cluster_settings(text, directory=HERE).exchange.ca_file == HERE / "exchange-ca.pem"


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_sidecar_files_are_good_settings(layout: Layout) -> None:
    """The product reads every sidecar file; the client's leads to all services, the pods' have a probe."""
    for site in plan_sites(layout):
        for pod in site.pods:
            settings = parse_sidecar_settings(sidecar_text(pod), directory=HERE)
            assert (settings.address, settings.inbound_port) == (pod.inbound.host, pod.inbound.port)
            assert settings.probe is not None
            assert settings.cluster_directory == HERE
    client = plan_sites(layout)[0].client
    assert client is not None
    settings = parse_sidecar_settings(sidecar_text(client), directory=HERE)
    assert settings.service_account == CLIENT_ACCOUNT
    assert settings.http_proxy == client.http_proxy
    assert {listener.service: listener.listen for listener in settings.outbound} == {
        service.key: listen for service, listen in client.outbound.items()
    }


def test_renewed_pods_have_other_addresses() -> None:
    """Pods that replace others share nothing with them but their number, as often as the story needs."""
    site = plan_sites(Layout())[0]
    seen = {pod.inbound.host for pod in site.pods}
    for _ in range(GENERATIONS - 1):
        site = renewed(site)
        hosts = {pod.inbound.host for pod in site.pods}
        assert (len(hosts), hosts & seen) == (2, set())
        seen |= hosts
    assert site.later_pods == ()


def test_pods_that_are_not_ready_are_in_the_slices() -> None:
    """Only the conditions differ between the manifests of pods that start and of pods that serve."""
    site = plan_sites(Layout())[0]
    starting, serving = manifests(site, ready=False), manifests(site)
    assert starting != serving
    assert {name: text.replace("ready: false", "ready: true") for name, text in starting.items()} == serving
