"""Where something listens or is reached on this host's networks: an IP and port, or a Unix socket.

Host names are refused on purpose: what is written here goes to Envoy as it is, and a name that resolves differently in
two places is a fault nobody finds. Gateways alone may have names (``parse_gateway_address``), for load balancers of
which nothing else is known; who calls such a gateway resolves it, again and again (``controllers.gateway_names``).
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

from federation.model.names import is_dns_name

# sun_path of sockaddr_un has 108 bytes on Linux and 104 on the BSDs, the final NUL included.
UNIX_PATH_LIMIT = 103


@dataclass(frozen=True, slots=True, order=True)
class HostPort:
    """An IP address and a port; its text is ``127.0.0.1:15443`` or ``[::1]:15443``."""

    host: str
    """IPv4 or IPv6 in canonical spelling, without brackets; of a gateway, it may be a DNS name."""
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def is_name(self) -> bool:
        """Whether it takes a resolver to connect there."""
        return is_dns_name(self.host)

    @property
    def is_loopback(self) -> bool:
        return is_localhost(self.host) if self.is_name else ip_address(self.host).is_loopback

    @property
    def is_unspecified(self) -> bool:
        """Whether it means every address of the host (``0.0.0.0``, ``[::]``)."""
        return not self.is_name and ip_address(self.host).is_unspecified


@dataclass(frozen=True, slots=True)
class UnixSocket:
    path: Path
    """Absolute, or relative to the working directory where the settings' directory was."""

    def __str__(self) -> str:
        return f"unix:{self.path}"


def parse_host_port(text: str) -> HostPort:
    """Read ``IPv4:PORT`` or ``[IPv6]:PORT``; raises ValueError for anything else, host names included."""
    host, colon, port = text.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    literal = host[1:-1] if bracketed else host
    try:
        address = ip_address(literal)
    except ValueError:
        address = None
    if address is None or not colon or (address.version == 6) is not bracketed or "%" in literal:
        raise ValueError(f"{text!r} is not IPv4:PORT or [IPv6]:PORT")
    return HostPort(str(address), _port(port, text))


def parse_gateway_address(text: str) -> HostPort:
    """Read what ``parse_host_port`` does, or ``NAME:PORT`` with a DNS name, which is spelled in lower case."""
    host, colon, port = text.rpartition(":")
    name = host.lower().removesuffix(".")
    if colon and is_dns_name(name):
        return HostPort(name, _port(port, text))
    try:
        return parse_host_port(text)
    except ValueError as error:
        raise ValueError(f"{error}, nor NAME:PORT") from None


def is_localhost(name: str) -> bool:
    """Whether the name means the host that asks, wherever that is (RFC 6761, 6.3)."""
    return f".{name}".endswith(".localhost")


def _port(port: str, text: str) -> int:
    if not (port.isascii() and port.isdigit() and len(port) <= 5 and 0 < int(port) < 65536):
        raise ValueError(f"{text!r} has no port from 1 to 65535")
    return int(port)


def parse_listen_address(text: str, *, directory: Path) -> HostPort | UnixSocket:
    """Read ``IP:PORT`` or ``unix:PATH``, the path relative to ``directory``; raises ValueError.

    A path that the kernel could not bind is refused here, where the file to correct is known.
    """
    if not text.startswith("unix:"):
        try:
            return parse_host_port(text)
        except ValueError as error:
            raise ValueError(f"{error}, nor unix:PATH") from None
    name = text.removeprefix("unix:")
    if not name:
        raise ValueError("unix: lacks a path")
    socket = UnixSocket(directory / name)
    length = len(str(socket.path).encode())
    if length > UNIX_PATH_LIMIT:
        raise ValueError(f"socket path {str(socket.path)!r} has {length} bytes, more than {UNIX_PATH_LIMIT}")
    return socket
