"""Sockets and certificates of the server."""

from __future__ import annotations

import socket
import stat
from pathlib import Path

import pytest

from federation.model.errors import ConfigError
from gateway.xds.listening import ServingCertificate, prepare_unix_socket, rotating_credentials
from support.self_signed import self_signed


def test_a_stale_socket_is_removed(tmp_path: Path) -> None:
    """Left by a process that was killed; the directory is closed to others."""
    path = tmp_path / "run" / "xds.sock"
    path.parent.mkdir(mode=0o755)
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))

    assert prepare_unix_socket(path) == f"unix:{path}"
    assert not path.exists()
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_a_served_socket_stays(tmp_path: Path) -> None:
    """Two controllers must not take each other's nodes."""
    path = tmp_path / "xds.sock"
    with socket.socket(socket.AF_UNIX) as served:
        served.bind(str(path))
        served.listen()

        with pytest.raises(ConfigError, match="served by another process"):
            prepare_unix_socket(path)

    assert path.exists()


def test_a_file_is_not_removed(tmp_path: Path) -> None:
    """Whatever it is, it is not ours."""
    path = tmp_path / "precious"
    path.write_text("data")

    with pytest.raises(ConfigError, match="another kind"):
        prepare_unix_socket(path)

    assert path.read_text() == "data"


def test_a_path_that_no_kernel_binds_is_refused(tmp_path: Path) -> None:
    """Longer than a socket address holds."""
    with pytest.raises(ConfigError, match="longer than"):
        prepare_unix_socket(tmp_path / ("x" * 120))


def test_the_key_does_not_show() -> None:
    """Neither in a repr nor in the repr of what holds it."""
    certificate = self_signed("xds.test")

    assert certificate.key_pem.decode().splitlines()[1] not in repr(certificate)
    assert rotating_credentials(lambda: certificate) is not None


def test_an_unreadable_certificate_fails_at_the_start() -> None:
    """Not at the first handshake."""

    def missing() -> ServingCertificate:
        raise ConfigError("no certificate yet")

    with pytest.raises(ConfigError):
        rotating_credentials(missing)
