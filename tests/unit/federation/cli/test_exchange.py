"""`federation exchange` as a user runs it: what it prints, refuses and leaves behind."""

from __future__ import annotations

import asyncio
import signal
import socket
import subprocess
from functools import partial
from pathlib import Path

import pytest
from typer.testing import CliRunner

from federation.cli.exchange import app
from federation.cli.main import app as main
from federation.exchange.connection import ExchangeAccess
from federation.exchange.credentials import load_credentials
from federation.exchange.redis_board import RedisBoard
from federation.model.errors import ConfigError
from federation.model.exchange_address import parse_exchange_address
from support.processes import federation_command, python_environment
from support.redis_server import tls_program


def test_it_runs_until_it_is_asked_to_end(tmp_path: Path) -> None:
    """It says where it listens and the next command, whose words let the administrator in; SIGTERM is a clean end."""
    program = {"FEDERATION_REDIS_SERVER": str(tls_program())}
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = federation_command("exchange", "up", "--listen", f"127.0.0.1:{port}")
    with subprocess.Popen(
        command, cwd=tmp_path, env=python_environment() | program, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        try:
            url = process.stdout.readline().removeprefix("exchange listens on ").strip()
            words = process.stdout.readline().split()
            assert words[:3] == ["next:", "federation", "init"]
            options = dict(zip(words[3::2], words[4::2], strict=True))
            assert options["--exchange"] == url == f"rediss://127.0.0.1:{port}"
            assert CliRunner().invoke(main, [*words[2:], "--help"]).exit_code == 0
            assert asyncio.run(answers(url, Path(options["--exchange-ca"]), Path(options["--exchange-admin"])))
            process.send_signal(signal.SIGTERM)
            assert process.wait(timeout=20) == 0
        finally:
            process.kill()
    assert not asyncio.run(answers(url, tmp_path / "exchange/ca.pem", tmp_path / "exchange/admin.credentials"))


async def answers(url: str, ca_file: Path, admin_file: Path) -> bool:
    board = RedisBoard(
        ExchangeAccess(parse_exchange_address(url), ca_file, partial(load_credentials, admin_file)), "acme"
    )
    try:
        await board.server_time()
    except Exception:
        return False
    finally:
        await board.aclose()
    return True


@pytest.mark.parametrize(
    ("words", "refusal"),
    [
        (["--listen", "192.0.2.1:6379", "--no-tls"], "is no loopback address"),
        (["--listen", "0.0.0.0:6379"], "means every address of this host"),
        (["--listen", "localhost:6379"], "--listen: 'localhost:6379' is not IPv4:PORT"),
    ],
)
def test_what_would_be_unsafe_or_unreachable_is_refused(tmp_path: Path, words: list[str], refusal: str) -> None:
    """Passwords do not travel in the clear, a certificate has a name, and a refusal leaves no directory behind."""
    result = CliRunner().invoke(app, ["up", "--dir", str(tmp_path / "exchange"), *words])
    assert isinstance(result.exception, ConfigError)
    assert refusal in str(result.exception)
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def site(tmp_path: Path) -> Path:
    (tmp_path / "cluster.yaml").write_text(
        "{clusterset: acme, cluster: us-east, region: us, trustDomain: us-east.acme, memberKeyFile: member.key,"
        " exchange: {url: 'redis://h'}}"
    )
    return tmp_path


def test_the_rules_of_a_member_and_the_authority_are_printed(site: Path) -> None:
    """One command each, with the selector quoted for redis-cli and a placeholder for the password."""
    for words, user in (([], "fg.acme.us-east"), (["--cluster", "eu-west"], "fg.acme.eu-west")):
        result = CliRunner().invoke(app, ["acl", "--dir", str(site), *words])
        member, authority = result.stdout.splitlines()
        assert member.startswith(f'ACL SETUSER {user} reset on ">PASSWORD" resetkeys')
        assert member.endswith('"(+subscribe resetchannels &fg:acme:*)"')
        assert authority.startswith('ACL SETUSER fg.acme reset on ">PASSWORD"')


def test_a_member_that_is_no_cluster_is_refused(site: Path) -> None:
    """What would not be a cluster's name would not be its user's either."""
    result = CliRunner().invoke(app, ["acl", "--dir", str(site), "--cluster", "a b ~*"])
    assert isinstance(result.exception, ConfigError)
