"""Asking a controller over its socket: an answer, or why there is none."""

from __future__ import annotations

import socket
import socketserver
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from federation.cli.owner import ControllerUnavailableError, RefusedError, ask
from federation.model.errors import ConfigError


@pytest.fixture
def site(tmp_path: Path) -> Path:
    (tmp_path / "cluster.yaml").write_text(
        "{clusterset: acme, cluster: us-east, region: us, trustDomain: us-east.acme, memberKeyFile: k,"
        " exchange: {url: 'redis://h'}}"
    )
    (tmp_path / "state").mkdir()
    return tmp_path


@contextmanager
def answering(site: Path, status: int, body: bytes) -> Iterator[list[str]]:
    """A controller that answers everything so; yields the requests that came."""
    requests: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            requests.append(self.requestline)
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET  # noqa: N815 - http.server's names

        def address_string(self) -> str:
            return "owner"

        log_message: Callable[..., None] = lambda *_: None

    with socketserver.UnixStreamServer(str(site / "state" / "admin.sock"), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield requests
        finally:
            server.shutdown()
            thread.join()


def test_a_refusal_is_told_in_the_controllers_words(site: Path) -> None:
    """What can't be done is an error with the controller's reason and its next step, exit code 1."""
    body = b'{"message": "the CA is elsewhere", "hint": "rotate it there"}'
    with answering(site, 409, body), pytest.raises(RefusedError, match="the CA is elsewhere") as caught:
        ask(site, "/v1/rotations/ca", dict[str, object], method="POST")
    assert (caught.value.hint, caught.value.exit_code) == ("rotate it there", 1)


def test_an_answer_is_read_as_its_type(site: Path) -> None:
    """The path and the method arrive, and the body comes back typed."""
    with answering(site, 200, b'{"a": 1}') as requests:
        found = [ask(site, "/v1/x", dict[str, int]), ask(site, "/v1/y", dict[str, int], method="POST")]
    assert (found, requests) == ([{"a": 1}, {"a": 1}], ["GET /v1/x HTTP/1.1", "POST /v1/y HTTP/1.1"])


def test_no_controller_is_told_with_how_to_start_one(site: Path) -> None:
    """Without a socket the error names it and the command, and has an exit code of its own."""
    message = r"no controller answers at .*/state/admin\.sock: No such file"
    with pytest.raises(ControllerUnavailableError, match=message) as caught:
        ask(site, "/v1/status", dict)
    assert (f"federation controller --dir {site}" in caught.value.hint, caught.value.exit_code) == (True, 3)


def test_in_a_pod_a_controller_waits_for_a_membership(site: Path) -> None:
    """It can't be started by hand there; and before the membership there are no settings of the cluster."""
    (site / "base.yaml").write_text("region: us\nkubernetes: {namespace: mesh}\n")
    waits = "it waits for a membership: `federation init` or `federation join`, with --context CONTEXT -n mesh"
    for there in (True, False):
        if not there:
            (site / "cluster.yaml").unlink()
        with pytest.raises(ControllerUnavailableError if there else ConfigError) as caught:
            ask(site, "/v1/status", dict)
        assert waits in caught.value.hint
        assert str(site) not in caught.value.hint


def test_a_socket_that_nobody_serves_is_the_same(site: Path) -> None:
    """What a killed controller leaves behind does not answer."""
    with answering(site, 200, b"{}"):
        pass
    with pytest.raises(ControllerUnavailableError, match="Connection refused"):
        ask(site, "/v1/status", dict)


def test_a_refusal_is_told(site: Path) -> None:
    """An error of the controller is passed on with its status."""
    message = "answers GET /v1/status with 500 Internal Server Error"
    with answering(site, 500, b"boom"), pytest.raises(ControllerUnavailableError, match=message) as caught:
        ask(site, "/v1/status", dict)
    assert caught.value.hint == "its log says why"


@pytest.mark.parametrize("body", [b'{"a": "x"}', b"no json"])
def test_an_answer_of_another_shape_hints_at_versions(body: bytes, site: Path) -> None:
    """Where controller and command line are of different versions, that is said."""
    with answering(site, 200, body), pytest.raises(ControllerUnavailableError, match="not understood") as caught:
        ask(site, "/v1/status", dict[str, int])
    assert "version" in caught.value.hint


def test_settings_that_cannot_be_read_come_first(tmp_path: Path) -> None:
    """Without cluster.yaml nobody can be asked."""
    with pytest.raises(ConfigError, match=r"cluster\.yaml can't be read"):
        ask(tmp_path, "/v1/status", dict)


def test_a_controller_that_hangs_is_given_up(site: Path) -> None:
    """After as long as its caller can wait."""
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(site / "state" / "admin.sock"))
        silent.listen()
        with pytest.raises(ControllerUnavailableError, match="timed out"):
            ask(site, "/v1/status", dict[str, int], timeout_seconds=0.05)
