"""Clusterset IPs as they are found in derived Services, whoever has edited them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from ipaddress import IPv4Address, IPv6Address
from typing import Any

from controllers.kube.cluster_watch import ClusterWatch
from controllers.kube.derived_addresses import _SERVICES, DerivedAddresses
from controllers.mcs.objects import MANAGED_BY, MANAGER, derived_id
from federation.model.names import ServiceKey
from support.builders import ECHO
from support.exchange import until

TOLD = list[tuple[Mapping[ServiceKey, IPv4Address], Mapping[ServiceKey, IPv6Address]]]


def derived(*ips: str, of: ServiceKey = ECHO, name: str = "", manager: str = MANAGER, says: str = "") -> dict[str, Any]:
    return {
        "metadata": {
            "namespace": of.namespace,
            "name": name or derived_id(of).name,
            "labels": {MANAGED_BY["Service"]: manager},
            "annotations": {"federation-gateway.dev/service": says or str(of)},
        },
        "spec": {"clusterIPs": list(ips)},
    }


async def test_addresses_are_told_from_the_first_list_on() -> None:
    """An empty list is told too; then every change of either family, and nothing where none was."""
    told: TOLD = []
    addresses = DerivedAddresses(ClusterWatch(never), lambda *both: told.append(both))
    task = asyncio.create_task(addresses.run())
    try:
        addresses.replace(_SERVICES, [])
        await until(lambda: told == [({}, {})])
        addresses.put(_SERVICES, derived("fd00::1", "10.96.0.7"))
        await until(lambda: told[1:] == [({ECHO: IPv4Address("10.96.0.7")}, {ECHO: IPv6Address("fd00::1")})])
        addresses.put(_SERVICES, derived("10.96.0.7", "fd00::1", "10.96.0.9", "fd00::2"))
        addresses.put(_SERVICES, derived("10.96.0.8"))
        await until(lambda: told[2:] == [({ECHO: IPv4Address("10.96.0.8")}, {})])
        addresses.mark_unreadable(_SERVICES, "away")
        addresses.put(_SERVICES, derived("no address", "fd00::2"))
        await until(lambda: told[3:] == [({}, {ECHO: IPv6Address("fd00::2")})])
        addresses.remove(_SERVICES, derived("fd00::2"))
        await until(lambda: told[4:] == [({}, {})])
    finally:
        task.cancel()
        await asyncio.wait([task])


async def test_a_service_that_is_none_of_ours_or_says_nothing_usable_has_no_address() -> None:
    """Neither by its label, nor by its name, nor by what it says of itself."""
    told: TOLD = []
    addresses = DerivedAddresses(ClusterWatch(never), lambda *both: told.append(both))
    task = asyncio.create_task(addresses.run())
    try:
        addresses.replace(
            _SERVICES,
            [
                derived("10.0.0.1", manager="somebody"),
                derived("10.0.0.2", name="derived-other"),
                derived("10.0.0.3", says="no key"),
                derived("None"),
                derived(),
            ],
        )
        await until(lambda: told == [({}, {})])
    finally:
        task.cancel()
        await asyncio.wait([task])


async def test_whoever_may_make_services_elsewhere_holds_no_address_of_ours() -> None:
    """The name alone would be easy to guess; and what is deleted there takes nothing away here."""
    told: TOLD = []
    addresses = DerivedAddresses(ClusterWatch(never), lambda *both: told.append(both))
    hostile = derived("10.0.0.66")
    hostile["metadata"]["namespace"] = "evil"
    task = asyncio.create_task(addresses.run())
    try:
        addresses.replace(_SERVICES, [derived("10.96.0.7"), hostile])
        await until(lambda: told == [({ECHO: IPv4Address("10.96.0.7")}, {})])
        addresses.put(_SERVICES, hostile)
        addresses.remove(_SERVICES, hostile)
        addresses.put(_SERVICES, derived("10.96.0.8"))
        await until(lambda: told[1:] == [({ECHO: IPv4Address("10.96.0.8")}, {})])
    finally:
        task.cancel()
        await asyncio.wait([task])


def never() -> Any:
    raise AssertionError("nobody runs the watch")
