"""Where the exchange is: one Redis server, the master that Sentinels watch, or a Redis Cluster; and its URL.

A value and a pure function. No URL holds a user or a password: those are in files. What is wrong is said without
repeating the URL, because people put passwords into them all the same.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import AddressValueError, IPv6Address
from typing import NamedTuple

_PORT = {"": 6379, "sentinel": 26379, "cluster": 6379}
_HOST = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,251}[A-Za-z0-9])?")
_MASTER = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,126}[A-Za-z0-9])?")
_DATABASES = range(65536)


class Deployment(StrEnum):
    """How the servers of an exchange belong together."""

    STANDALONE = ""
    SENTINEL = "sentinel"
    CLUSTER = "cluster"


class Node(NamedTuple):
    """Host name or IP (IPv6 without brackets), and port, of a Redis server or a Sentinel."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class ExchangeAddress:
    """A URL of the exchange in its parts; its text is the URL again, with every port spelt out."""

    nodes: tuple[Node, ...]
    """The server, the Sentinels, or servers of the Cluster to begin with; none for a Unix socket."""
    deployment: Deployment = Deployment.STANDALONE
    tls: bool = False
    socket: str = ""
    """Path of the Unix socket, absolute; else empty."""
    master: str = ""
    """The name under which the Sentinels know the master; else empty."""
    database: int = 0

    def __str__(self) -> str:
        if self.socket:
            return f"unix://{self.socket}"
        kind = f"+{self.deployment}" if self.deployment else ""
        parts = [f"redis{'s' if self.tls else ''}{kind}://{','.join(map(str, self.nodes))}"]
        parts += [self.master] if self.master else []
        parts += [str(self.database)] if self.database else []
        return "/".join(parts)


def parse_exchange_address(url: str) -> ExchangeAddress:
    """Read the URL of an exchange; raises ValueError with the rule that is broken, and nothing of the URL itself.

    ``redis://HOST[:PORT][/DATABASE]``, ``redis+sentinel://HOST[:PORT],…/MASTER[/DATABASE]``,
    ``redis+cluster://HOST[:PORT],…``, each with ``rediss`` for TLS, or ``unix:///PATH``.
    """
    scheme, separator, rest = url.partition("://")
    protocol, _, kind = scheme.partition("+")
    if not separator or not (scheme == "unix" or (protocol in {"redis", "rediss"} and scheme in _schemes())):
        raise ValueError(f"must begin with {', '.join(f'{name}://' for name in _schemes())} or unix://")
    user, at, _ = rest.rpartition("@")
    if at and ":" in user:
        raise ValueError("must not contain a password: settings hold no secrets")
    if at:
        raise ValueError("must not contain a user: its name and password are in a credentials file")
    if "?" in rest or "#" in rest or any(not char.isprintable() or char.isspace() for char in rest):
        raise ValueError("must not contain parameters, a fragment or spaces")
    if scheme == "unix":
        if not rest.startswith("/") or rest == "/":
            raise ValueError("lacks the path after unix://, which begins with /")
        return ExchangeAddress((), socket=rest)
    hosts, *path = rest.split("/")
    if path and not path[-1]:
        path.pop()
    deployment = Deployment(kind)
    nodes = tuple(_node(text, scheme, _PORT[kind]) for text in hosts.split(","))
    if deployment is Deployment.STANDALONE and len(nodes) > 1:
        raise ValueError(f"has several hosts: {protocol}+sentinel:// or {protocol}+cluster:// says what they are")
    master = ""
    if deployment is Deployment.SENTINEL:
        if not path or _MASTER.fullmatch(path[0]) is None:
            raise ValueError("lacks the master's name after the Sentinels, as in redis+sentinel://HOST:26379/MASTER")
        master = path.pop(0)
    if deployment is Deployment.CLUSTER and path:
        raise ValueError("has a path: a Redis Cluster has one database only")
    return ExchangeAddress(nodes, deployment, protocol == "rediss", "", master, _database(path))


def _schemes() -> list[str]:
    kinds = (f"+{kind}" if kind else "" for kind in Deployment)
    return [f"{protocol}{kind}" for kind in kinds for protocol in ("redis", "rediss")]


def _node(text: str, scheme: str, default_port: int) -> Node:
    if not text:
        raise ValueError(f"lacks the host after {scheme}://")
    host, port = text, ""
    if text.startswith("["):
        host, _, port = text[1:].partition("]")
        if port and not port.startswith(":"):
            raise ValueError("has an IPv6 address with something behind its bracket that is no port")
        port = port[1:] if port else str(default_port)
        try:
            host = str(IPv6Address(host))
        except AddressValueError:
            raise ValueError("has brackets around what is no IPv6 address") from None
    else:
        host, colon, port = text.partition(":")
        port = port if colon else str(default_port)
        if _HOST.fullmatch(host) is None:
            raise ValueError("has a host that is neither a name nor an IP address (IPv6 in brackets)")
    if not (port.isascii() and port.isdigit() and len(port) <= 5 and 0 < int(port) < 65536):
        raise ValueError("has a port that is not from 1 to 65535")
    return Node(host, int(port))


def _database(path: list[str]) -> int:
    if not path:
        return 0
    text = path[0]
    if len(path) > 1 or not (text.isascii() and text.isdigit() and len(text) <= 5 and int(text) in _DATABASES):
        raise ValueError("must end with the number of a database, or after the host")
    return int(text)
