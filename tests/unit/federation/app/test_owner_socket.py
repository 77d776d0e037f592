"""Asking a controller over its socket."""

from __future__ import annotations

import socketserver
import threading
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from federation.app.owner_socket import exchange


class _Handler(BaseHTTPRequestHandler):
    def do_DELETE(self) -> None:
        body = self.path.encode()
        self.send_response(409)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def address_string(self) -> str:
        return "owner"

    def log_message(self, *_: object) -> None:
        """Nothing is logged."""


def test_the_answer_comes_back_as_it_is(tmp_path: Path) -> None:
    """Whatever its status says: that is for who asks to judge."""
    with socketserver.UnixStreamServer(str(tmp_path / "s"), _Handler) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        assert exchange(tmp_path / "s", "DELETE", "/v1/x?a=b", 5) == (409, b"/v1/x?a=b")
        thread.join()


def test_nobody_there_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        exchange(tmp_path / "s", "GET", "/", 1)
