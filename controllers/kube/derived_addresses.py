"""DerivedAddresses: the clusterset IPs that the API server gave, by service, as they are in the derived Services.

Edge with a little memory: what is allocated is ``mcs.derived_service``'s, and what listens there the controller's.
IPv4 and IPv6 are told apart: a service has one of each family that the cluster's Services have.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final

from controllers.kube.cluster_watch import ClusterWatch
from controllers.kube.observed_objects import WRITER_RESOURCES
from controllers.mcs.derived_service import key_of
from controllers.mcs.objects import Document, derived_id, id_of, is_ours, section, texts
from controllers.sources.watched_objects import Resource
from federation.model.names import ServiceKey, parse_service_key

_SERVICES: Final = next(one for one in WRITER_RESOURCES if one.kind == "Service")

_HOLD_OFF_SECONDS: Final = 0.2

_Addresses = tuple[IPv4Address | None, IPv6Address | None]


class DerivedAddresses:
    """Of one cluster, by a ``watch`` that somebody runs; ``on_change`` gets all addresses there are now, those of IPv4
    and those of IPv6, from the first whole list on."""

    def __init__(
        self,
        watch: ClusterWatch,
        on_change: Callable[[Mapping[ServiceKey, IPv4Address], Mapping[ServiceKey, IPv6Address]], None],
    ) -> None:
        self._watch = watch
        self._on_change = on_change
        self._addresses: dict[ServiceKey, _Addresses] = {}
        self._listed = False
        self._news = asyncio.Event()

    async def run(self) -> None:
        """Follow the derived Services until cancelled."""
        with self._watch.follow([_SERVICES], self, lambda: None):
            while True:
                await self._news.wait()
                self._news.clear()
                self._on_change(
                    {key: ipv4 for key, (ipv4, _) in self._addresses.items() if ipv4 is not None},
                    {key: ipv6 for key, (_, ipv6) in self._addresses.items() if ipv6 is not None},
                )
                # Thousands come one after the other when a cluster joins.
                await asyncio.sleep(_HOLD_OFF_SECONDS)

    def replace(self, _: Resource, items: Iterable[Document]) -> None:
        """See ``sources.resource_watch.Objects``; likewise the others."""
        found = {key: address for item in items for key, address in _allocated(item)}
        if found != self._addresses or not self._listed:
            self._addresses, self._listed = found, True
            self._news.set()

    def put(self, _: Resource, item: Document) -> None:
        for key, address in _allocated(item):
            if self._addresses.get(key) != address:
                self._addresses[key] = address
                self._news.set()

    def remove(self, _: Resource, item: Document) -> None:
        for key, _address in _allocated(item):
            if self._addresses.pop(key, None) is not None:
                self._news.set()

    def mark_unreadable(self, _: Resource, cause: str) -> None:
        """Addresses stay where they are while nobody can say otherwise."""

    def mark_readable(self, _: Resource) -> None:
        """Nothing depends on it."""


def _allocated(item: Document) -> Iterable[tuple[ServiceKey, _Addresses]]:
    """The service that a derived Service of ours holds addresses for, and these."""
    if not is_ours("Service", item):
        return
    try:
        key = parse_service_key(key_of(item))
    except ValueError:
        return
    # By namespace and name: whoever may make Services in one namespace must not hold addresses of another's.
    if id_of(item, "Service") != derived_id(key):
        return
    ipv4: IPv4Address | None = None
    ipv6: IPv6Address | None = None
    for text_ in texts(section(item, "spec").get("clusterIPs")):
        try:
            address = ip_address(text_)
        except ValueError:
            continue
        if isinstance(address, IPv4Address):
            ipv4 = ipv4 or address
        else:
            ipv6 = ipv6 or address
    if ipv4 or ipv6:
        yield key, (ipv4, ipv6)
