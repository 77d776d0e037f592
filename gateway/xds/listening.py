"""Where the xDS server may listen: a Unix socket that only its owner can open, or TCP with TLS.

The stream carries private keys, so there is no function for TCP in the clear. Sits beside `server`; knows
sockets and certificates, nothing of xDS.
"""

from __future__ import annotations

import socket
import stat
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import grpc

from federation.model.errors import ConfigError

# sockaddr_un.sun_path holds 108 bytes with the final NUL on Linux, 104 on macOS.
_MAX_UNIX_PATH = 103


@dataclass(frozen=True, slots=True)
class ServingCertificate:
    """What the server shows to its clients."""

    chain_pem: bytes
    """Leaf first."""
    key_pem: bytes = field(repr=False)


def prepare_unix_socket(path: Path) -> str:
    """Make the directory (0700), remove a socket that nobody serves any more; returns the gRPC address.

    Raises ConfigError where the path is too long, is no socket, or is served by another process.
    """
    if len(bytes(path.absolute())) > _MAX_UNIX_PATH:
        raise ConfigError(f"xds socket path {path} is longer than {_MAX_UNIX_PATH} bytes")
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    path.parent.chmod(0o700)
    if path.exists():
        if not stat.S_ISSOCK(path.stat().st_mode):
            raise ConfigError(f"xds socket path {path} is a file of another kind")
        if _is_served(path):
            raise ConfigError(f"xds socket {path} is served by another process")
        path.unlink()
    return f"unix:{path.absolute()}"


def _is_served(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            return False
        return True


def rotating_credentials(certificate: Callable[[], ServingCertificate]) -> grpc.ServerCredentials:
    """TLS credentials that ask for the certificate at every handshake, so that it can rotate.

    ``certificate`` is called on gRPC's own threads; if it raises later on, the last good one stays.
    """
    shown = certificate()

    def fetch() -> grpc.ServerCertificateConfiguration | None:
        nonlocal shown
        current = certificate()
        if current == shown:
            return None
        shown = current
        return _configuration(current)

    return grpc.dynamic_ssl_server_credentials(_configuration(shown), fetch)  # type: ignore[arg-type]


def _configuration(certificate: ServingCertificate) -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration([(certificate.key_pem, certificate.chain_pem)])
