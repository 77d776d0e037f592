"""The long-running commands as real processes: how they end, what they leave, and what they log."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from federation.app.programs import ENVOY_VARIABLE
from federation.membership.keys import generate_signing_key, save_signing_key
from federation.membership.tokens import create_token
from support.admitted import Admitted, found_clusterset
from support.processes import eventually, federation_command, python_environment


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A cluster's directory, with a stand-in for Envoy that runs until it is ended."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    (tmp_path / "cluster.yaml").write_text(
        "{clusterset: acme, cluster: us-east, region: us, trustDomain: us-east.acme,"
        f" exchange: {{url: 'unix://{tmp_path}/redis.sock'}}, http: {{listen: '127.0.0.1:{port}'}}}}"
    )
    (tmp_path / "sidecar.yaml").write_text(
        "{clusterDirectory: ., namespace: demo, serviceAccount: echo, address: 127.0.0.1}"
    )
    (tmp_path / "tokens").mkdir()
    for name in ("gateway", "demo.echo"):
        create_token(tmp_path / "tokens" / f"{name}.token")
    key = generate_signing_key()
    save_signing_key(tmp_path / "member.key", key)
    found_clusterset("acme", [Admitted(tmp_path, "us-east", "us-east.acme", key)])
    envoy = tmp_path / "envoy"
    envoy.write_text(f"#!/bin/sh\necho $$ > {tmp_path}/envoy.pid\nexec sleep 60\n")
    envoy.chmod(0o755)
    return tmp_path


@contextmanager
def running(site: Path, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """The command in the site's directory, as the leader of a process group; killed as a whole in the end."""
    process = subprocess.Popen(
        federation_command(*arguments),
        cwd=site,
        env={**python_environment(), ENVOY_VARIABLE: str(site / "envoy")},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    with process:
        try:
            yield process
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def group_is_empty(process: subprocess.Popen[str]) -> bool:
    try:
        os.killpg(process.pid, 0)
    except ProcessLookupError:
        return True
    return False


COMMANDS = {
    "controller": (("controller", "--dir", "."), "state/admin.sock"),
    "gateway": (("gateway", "--dir", "."), "envoy.pid"),
    "sidecar": (("sidecar", "--config", "sidecar.yaml"), "envoy.pid"),
}
"""Each command with the file that tells that it is up."""


@pytest.mark.parametrize(
    ("command", "number"), [("controller", signal.SIGTERM), ("gateway", signal.SIGINT), ("sidecar", signal.SIGTERM)]
)
def test_a_signal_is_a_clean_end(command: str, number: signal.Signals, site: Path) -> None:
    """SIGTERM and SIGINT end it with 0 and without a word of trouble, and nothing that it started lives on."""
    arguments, sign = COMMANDS[command]
    with running(site, *arguments) as process:
        eventually((site / sign).exists, f"{command} runs")
        process.send_signal(number)
        _, words = process.communicate(timeout=30)
        assert (process.returncode, group_is_empty(process), "Traceback" in words) == (0, True, False)


def test_envoy_dies_with_its_killed_supervisor(site: Path) -> None:
    """kill -9 of the supervisor takes Envoy with it (Linux): a new supervisor finds the ports free."""
    with running(site, "gateway", "--dir", ".") as process:
        eventually(lambda: (site / "envoy.pid").read_text().strip(), "Envoy runs")
        process.kill()
        process.wait()
        eventually(lambda: group_is_empty(process), "Envoy is gone")


def test_a_second_controller_is_refused_and_the_first_logs_json(site: Path) -> None:
    """On one directory there is one controller; without a terminal each line of its log is one object."""
    with running(site, "controller", "--dir", ".") as first:
        eventually((site / "state" / "admin.sock").exists, "the controller runs")
        with running(site, "controller", "--dir", ".") as second:
            _, told = second.communicate(timeout=30)
        first.terminate()
        _, words = first.communicate(timeout=30)
    assert (second.returncode, told.startswith("error: another controller runs on ")) == (2, True)
    lines = [json.loads(line) for line in words.splitlines()]
    assert "controller started" in [line["event"] for line in lines]
    assert [line for line in lines if not {"event", "level", "timestamp"} <= line.keys()] == []


@pytest.mark.parametrize(
    ("arguments", "missing", "words"),
    [
        (("controller", "--dir", "."), "member.key", "member.key is not there"),
        (("controller", "--dir", "."), "state/roster", "us-east is no member of a clusterset yet"),
        (("gateway", "--dir", "."), "tokens/gateway.token", "gateway.token can't be read"),
        (
            ("gateway", "--base", "cluster.yaml"),
            "cluster.yaml",
            "the installation's settings cluster.yaml can't be read",
        ),
        (("sidecar", "--config", "sidecar.yaml"), "tokens/demo.echo.token", "demo.echo.token can't be read"),
        (("sidecar",), "sidecar.yaml", "sidecar.yaml can't be read"),
    ],
)
def test_what_is_missing_is_an_error_with_a_hint(
    arguments: tuple[str, ...], missing: str, words: str, site: Path
) -> None:
    """Exit code 2, the file, the cause and a hint; no traceback."""
    (site / missing).unlink()
    with running(site, *arguments) as process:
        _, told = process.communicate(timeout=30)
    error, hint = told.splitlines()
    assert (process.returncode, words in error, hint.startswith("hint: ")) == (2, True, True)
