"""The iptables rules by which the connections of a pod leave through its sidecar. Pure: text for iptables-restore.

Only what leaves is redirected, and only TCP. What arrives is not: the sidecar takes mutual TLS on a port of its own, so
that probes, and callers within the cluster, find the application where it always was.

One chain of ours in the nat table, and one jump to it. Both are written in one transaction, as often as one likes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Final, Literal

from federation.model.errors import ConfigError

CHAIN: Final = "FEDERATION_OUTPUT"
PROXY_UID: Final = 1337
"""The user that sidecars run as; Istio's too, and so free in most images."""
REDIRECT_PORT: Final = 15001

Family = Literal[4, 6]
Network = IPv4Network | IPv6Network

_JUMP: Final = f"OUTPUT -p tcp -j {CHAIN}"
_LOOPBACK: Final[dict[Family, str]] = {4: "127.0.0.0/8", 6: "::1/128"}


@dataclass(frozen=True, slots=True)
class Redirect:
    """Which connections go to the sidecar."""

    uid: int = PROXY_UID
    """The sidecar's own user, whose connections go where they are sent."""
    port: int = REDIRECT_PORT
    """Where the sidecar takes them; it passes on untouched what leads to no imported service."""
    include: tuple[Network, ...] = ()
    """Destinations that are redirected; all of them if none is named."""
    exclude: tuple[Network, ...] = ()
    exclude_ports: tuple[int, ...] = ()


def plan_redirect(redirect: Redirect, family: Family, saved: str) -> str:
    """What iptables-restore (with ``--noflush``) is to be given where iptables-save prints ``saved`` of table nat."""
    jump = [] if _jumps(saved) else [f"-A {_JUMP}"]
    # Naming a chain empties it, or makes it.
    return _transaction([f":{CHAIN} - [0:0]", *(f"-A {CHAIN} {rule}" for rule in _rules(redirect, family)), *jump])


def plan_undo(saved: str) -> str:
    """What takes all of it away again; empty where nothing of it is there."""
    jumps = [f"-D {_JUMP}"] * _jumps(saved)
    chain = [f"-F {CHAIN}", f"-X {CHAIN}"] if f":{CHAIN} " in saved else []
    return _transaction([*jumps, *chain]) if jumps or chain else ""


def parse_networks(texts: Iterable[str], what: str) -> tuple[Network, ...]:
    """CIDRs and addresses; raises ConfigError with every violation, each named after ``what``."""
    found: list[Network] = []
    broken: list[str] = []
    for text in texts:
        try:
            found.append(ip_network(text))
        except ValueError as error:
            broken.append(f"{what}: {error}")
    if broken:
        raise ConfigError(f"networks are unusable: {'; '.join(broken)}", violations=broken)
    return tuple(found)


def _rules(redirect: Redirect, family: Family) -> Iterator[str]:
    yield f"-m owner --uid-owner {redirect.uid} -j RETURN"
    # Also the pod's own address: the kernel routes it over this interface.
    yield "-o lo -j RETURN"
    yield f"-d {_LOOPBACK[family]} -j RETURN"
    for port in redirect.exclude_ports:
        yield f"-p tcp --dport {port} -j RETURN"
    for network in _of(family, redirect.exclude):
        yield f"-d {network} -j RETURN"
    target = f"-j REDIRECT --to-ports {redirect.port}"
    if not redirect.include:
        yield f"-p tcp {target}"
    for network in _of(family, redirect.include):
        yield f"-d {network} -p tcp {target}"


def _of(family: Family, networks: Iterable[Network]) -> Iterator[Network]:
    return (network for network in networks if network.version == family)


def _jumps(saved: str) -> int:
    return sum(1 for line in saved.splitlines() if line.strip() == f"-A {_JUMP}")


def _transaction(lines: Iterable[str]) -> str:
    return "\n".join(["*nat", *lines, "COMMIT", ""])
