"""A controller's Unix socket for its owner, as those see it who ask. An edge."""

from __future__ import annotations

import socket
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path
from typing import Final

ADMIN_SOCKET: Final = "admin.sock"
"""In the state directory."""


def exchange(address: Path, method: str, path: str, timeout_seconds: float) -> tuple[int, bytes]:
    """Status and body of the answer; raises OSError and HTTPException where there is none."""
    with closing(_UnixConnection(address, timeout_seconds)) as connection:
        connection.request(method, path)
        response = connection.getresponse()
        return response.status, response.read()


class _UnixConnection(HTTPConnection):
    def __init__(self, address: Path, timeout_seconds: float) -> None:
        super().__init__("controller", timeout=timeout_seconds)
        self._seconds = timeout_seconds
        self._address = address

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self._seconds)
        self.sock.connect(str(self._address))
