"""Which loopback addresses this machine lets us have: an edge that binds them for a moment, and chooses the layout."""

from __future__ import annotations

import socket
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from federation.demo.sites import Layout, plan_sites
from federation.model.addresses import HostPort
from federation.model.errors import FederationError

_VARIANTS = 10

# One port per variant, held as long as a demo uses it: two demos that start at once must not both find it free.
_FIRST_CLAIM = 20_990


@contextmanager
def reserve_layout() -> Iterator[Layout]:
    """The first layout whose addresses are all free, ours alone among demos while the context lasts.

    A range per cluster, else (macOS) ports on 127.0.0.1. Raises FederationError where there is none.
    """
    has_ranges = is_free(HostPort("127.10.0.1", 0))
    for variant in range(_VARIANTS):
        layout = Layout(ranges=has_ranges, variant=variant)
        with socket.socket() as claim:
            if _claimed(claim, variant) and all(is_free(address) for address in addresses(layout)):
                yield layout
                return
    raise FederationError(
        "no free loopback addresses for three clusters",
        hint="is another demo still running? look for processes named federation or envoy",
    )


def addresses(layout: Layout) -> Iterable[HostPort]:
    """Every address that the clusters of this layout bind."""
    return (address for site in plan_sites(layout) for address in site.listeners)


def is_free(address: HostPort) -> bool:
    """Whether the address can be bound now (port 0: any port of its host)."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address.host, address.port))
        except OSError:
            return False
        return True


def _claimed(claim: socket.socket, variant: int) -> bool:
    try:
        claim.bind(("127.0.0.1", _FIRST_CLAIM + variant))
    except OSError:
        return False
    return True
