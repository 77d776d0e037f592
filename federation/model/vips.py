"""Clusterset IPs: one stable address per imported service, the same for the life of the import (KEP-1645). Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from ipaddress import IPv4Address, IPv4Network

from federation.model.names import ServiceKey


def assign_vips(
    held: Mapping[ServiceKey, IPv4Address], wanted: Iterable[ServiceKey], network: IPv4Network
) -> dict[ServiceKey, IPv4Address]:
    """Addresses for exactly the ``wanted`` services: held ones stay, new ones start at a hash of the name and probe on.

    The hash makes a cluster that lost its journal find the same addresses again, save for collisions. A service beyond
    the size of ``network`` gets none. The network's first and last address are never given.
    """
    keys = sorted(set(wanted))
    table = {key: held[key] for key in keys if key in held and held[key] in network}
    used = set(table.values())
    size = network.num_addresses - 2
    for key in keys:
        if key in table or len(used) >= size:
            continue
        start = int.from_bytes(hashlib.sha256(str(key).encode()).digest()[:8]) % size
        address = next(
            candidate for step in range(size) if (candidate := network[1 + (start + step) % size]) not in used
        )
        table[key] = address
        used.add(address)
    return table
