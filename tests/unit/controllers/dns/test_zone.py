"""The zone: what a change rebuilds, which endpoints have no name, and what is found where."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address

import pytest

from controllers.dns.zone import Node, Target, Zone, service_names
from controllers.projection import ServiceResult
from federation.model.export import Exported
from federation.model.merge import merge_service
from federation.model.names import ClusterId, ServiceKey
from federation.model.records import EndpointAddress, ImportType
from federation.model.view import MergedService
from support.builders import EAST, WEST, endpoints_record, export_record, key, port

VIP = IPv4Address("240.96.0.1")
VIP6 = IPv6Address("fd00::1")
DB, ECHO, SHOP = key("demo/db"), key("demo/echo"), key("shop/echo")


def clusterset_ip(of: ServiceKey = ECHO, *numbers: int) -> MergedService:
    ports = [port(number, f"p{number}") for number in numbers or (80,)]
    merged = merge_service(of, {EAST: (export_record(of, ports=ports), endpoints_record(of))})
    assert merged is not None
    return merged


def headless(of: ServiceKey, endpoints: Iterable[EndpointAddress], cluster: ClusterId = EAST) -> MergedService:
    export = export_record(of, type=ImportType.HEADLESS)
    merged = merge_service(of, {cluster: (export, endpoints_record(of, addresses=endpoints))})
    assert merged is not None
    return merged


def result(merged: MergedService) -> ServiceResult:
    return ServiceResult(Exported(), merged, (), (), ((EAST,), (WEST,)))


def test_nothing_is_known_before_the_first_pass_and_a_zone_may_be_empty() -> None:
    """Without a pass there is no view; after one without services, only the apex and the version exist."""
    zone = Zone()
    assert zone.view is None
    zone.update([], {}, {}, 7)
    view = zone.view

    assert view is not None
    assert (view.serial, view.services) == (7, {})
    found = [view.find(name) for name in [(), ("svc",), ("demo", "svc"), ("echo", "demo", "svc")]]
    assert found == [Node(), None, None, None]
    assert view.find(("dns-version",)) == Node(texts=("1.0.0",))


def test_a_pass_builds_the_names_of_its_own_services_alone() -> None:
    """What did not change is the very same object after the pass, and the serial is the time of the last change."""
    zone = Zone()
    results = {of: result(clusterset_ip(of)) for of in (ECHO, SHOP)}
    vips = {ECHO: VIP, SHOP: VIP + 1}
    zone.update(results, results, vips, 7)
    before = zone.view
    assert before is not None
    untouched, changing = before.services[SHOP], before.services[ECHO]
    results[ECHO] = result(clusterset_ip(ECHO, 80, 90))
    zone.update([ECHO], results, vips, 8)
    zone.update([ECHO, SHOP], results, vips, 9)
    after = zone.view

    assert after is not None
    assert after.services[SHOP] is untouched
    assert after.services[ECHO] is not changing
    assert (before.serial, after.serial) == (7, 8)


def test_a_clusterset_ip_of_either_family_is_at_the_name() -> None:
    """Both where there are both, also one of IPv6 alone; an address that moves takes its own service along only."""
    zone = Zone()
    results = {of: result(clusterset_ip(of)) for of in (ECHO, SHOP)}
    seen = []
    for vips, ipv6_vips in (({ECHO: VIP}, {ECHO: VIP6, SHOP: VIP6}), ({ECHO: VIP}, {SHOP: VIP6}), ({}, {})):
        zone.update([] if seen else results, results, vips, 7, ipv6_vips)
        assert zone.view is not None
        seen.append([(node.ipv4, node.ipv6) for of in (ECHO, SHOP) for node in [zone.view.names_of(of)[()]]])

    assert seen == [
        [(((VIP,),), ((VIP6,),)), ((), ((VIP6,),))],
        [(((VIP,),), ()), ((), ((VIP6,),))],
        [((), ()), ((), ())],
    ]


def test_the_names_of_a_service_that_is_gone_are_gone_with_its_namespace() -> None:
    """The last service of a namespace takes the namespace's name along, the last of all ``svc``."""
    zone = Zone()
    results = {of: result(clusterset_ip(of)) for of in (ECHO, DB, SHOP)}
    zone.update(results, results, {}, 7)

    def found() -> list[bool]:
        assert zone.view is not None
        names = [("echo", "demo", "svc"), ("demo", "svc"), ("shop", "svc"), ("svc",)]
        return [zone.view.find(name) is not None for name in names]

    seen = [found()]
    for gone in (ECHO, DB, SHOP):
        del results[gone]
        zone.update([gone], results, {}, 8)
        seen.append(found())

    assert seen == [
        [True, True, True, True],
        [False, True, True, True],
        [False, False, True, True],
        [False, False, False, False],
    ]


def test_a_clusterset_ip_that_moves_is_seen_without_a_change_of_its_service() -> None:
    """Addresses come free for others: whose address is another one is built anew though nobody marked it."""
    zone = Zone()
    results = {ECHO: result(clusterset_ip(ECHO)), SHOP: result(clusterset_ip(SHOP))}
    zone.update(results, results, {SHOP: VIP}, 7)
    zone.update([], results, {ECHO: VIP, SHOP: VIP + 1}, 8)

    assert zone.view is not None
    found = [zone.view.services[of][()].ipv4 for of in (ECHO, SHOP)]
    assert found == [((VIP,),), ((VIP + 1,),)]


@pytest.mark.parametrize(
    ("endpoint", "name"),
    [
        (EndpointAddress(("10.0.0.1",), "db-0"), "db-0"),
        (EndpointAddress(("10.0.0.1",)), "10-0-0-1"),
        (EndpointAddress(("10.0.0.1",), "not_a_label"), "10-0-0-1"),
        (EndpointAddress(("fd00::1:2",)), "fd00--1-2"),
        (EndpointAddress(("::1",)), "0000-0000-0000-0000-0000-0000-0000-0001"),
    ],
)
def test_every_endpoint_has_a_label(endpoint: EndpointAddress, name: str) -> None:
    """Its host name where that is one, else its address with dashes, at length where a dash would stand outside."""
    names = service_names(headless(DB, [endpoint]), [[EAST]], None)

    assert [labels for labels in names if labels[1:] == (EAST,)] == [(name, EAST)]
    assert names[()].targets == ((Target(80, (name, EAST)),),)


def test_addresses_that_no_record_can_hold_are_left_out() -> None:
    """What is no address, or has meaning on one link alone, harms only itself."""
    endpoints = [EndpointAddress(("fe80::1%eth0",)), EndpointAddress(("db.example",)), EndpointAddress(("10.0.0.1",))]
    names = service_names(headless(DB, endpoints), [[EAST]], None)

    assert (names[()].ipv4, names[()].ipv6) == (((IPv4Address("10.0.0.1"),),), ())


def test_a_port_whose_name_fills_a_label_has_none_of_its_own() -> None:
    """With its underscore it is longer than a label can be; it is found at the service's name, as unnamed ports are."""
    merged = merge_service(
        ECHO, {EAST: (export_record(ports=[port(80, "p" * 63), port(81, "q" * 62)]), endpoints_record())}
    )
    assert merged is not None
    names = service_names(merged, [], VIP)

    assert set(names) == {(), ("_" + "q" * 62, "_tcp"), ("_tcp",)}
    assert names[()].targets == ((Target(80, ()), Target(81, ())),)


def test_names_that_dns_cannot_carry_are_left_out() -> None:
    """Past 63 octets a label or 255 a name, the endpoint keeps its address in the service's records."""
    of = ServiceKey("n" * 63, "s" * 63)
    endpoint = EndpointAddress(("10.0.0.1",), "h" * 63)
    export = export_record(of, type=ImportType.HEADLESS, ports=[port(80, "p" * 63), port(81, "q" * 62)])
    merged = merge_service(of, {ClusterId("c" * 63): (export, endpoints_record(of, addresses=[endpoint]))})
    assert merged is not None
    names = service_names(merged, [[ClusterId("c" * 63)]], None)

    assert names == {(): Node(ipv4=((IPv4Address("10.0.0.1"),),))}
