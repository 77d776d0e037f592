"""`federation dns` as a user runs it against a cluster."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from controllers.dns.corefile_edit import with_forward
from federation.cli.main import app
from federation.model.addresses import HostPort
from support.cluster_dns import data, put_coredns, put_service, writes
from support.corefiles import KUBEADM
from support.kube.server import StandIn


@pytest.fixture
def kubeconfig(api_server: StandIn, tmp_path: Path) -> Path:
    put_service(api_server)
    return api_server.write_kubeconfig(tmp_path / "kubeconfig")


async def dns(kubeconfig: Path, *words: str) -> Result:
    command = ["dns", words[0], "--kubeconfig", str(kubeconfig), *words[1:]]
    return await asyncio.to_thread(CliRunner().invoke, app, command)


async def test_it_is_installed_shown_and_undone(api_server: StandIn, kubeconfig: Path) -> None:
    """Each command says what it did; the second time there is nothing to do."""
    put_coredns(api_server)
    before = await dns(kubeconfig, "status")
    done, again, state = [await dns(kubeconfig, word) for word in ("install", "install", "status")]
    assert (before.exit_code, before.stdout) == (
        1,
        "problem: nothing of the federation answers for clusterset.local\n",
    )
    assert (done.exit_code, done.output) == (0, "kube-system/coredns/Corefile changed\n")
    assert (again.exit_code, again.output) == (0, "nothing to change\n")
    assert (state.exit_code, state.output) == (0, "clusterset.local is forwarded to 10.96.0.20:53\n")

    undone = await dns(kubeconfig, "uninstall")
    assert (undone.exit_code, (data(api_server) or {})["Corefile"]) == (0, KUBEADM)


async def test_print_shows_the_diff_only(api_server: StandIn, kubeconfig: Path) -> None:
    """On standard output, as `patch` takes it; nothing is written."""
    put_coredns(api_server)
    shown = await dns(kubeconfig, "install", "--print")
    added = [line[1:] for line in shown.stdout.splitlines() if line.startswith("+") and not line.startswith("+++")]
    whole = with_forward(KUBEADM, HostPort("10.96.0.20", 53))
    assert "\n".join(added) + "\n" == whole.removeprefix(KUBEADM)
    assert (shown.exit_code, writes(api_server)) == (0, [])


async def test_status_is_data_for_programs(api_server: StandIn, kubeconfig: Path) -> None:
    """With the exit code that tells whether all is well."""
    put_coredns(api_server, with_forward(KUBEADM, HostPort("10.96.0.9", 53)))
    state = await dns(kubeconfig, "status", "-o", "json")
    shown = json.loads(state.stdout)
    assert (state.exit_code, shown["method"], shown["server"]) == (1, "forward", "10.96.0.9:53")
    assert len(shown["problems"]) == 1


async def test_what_can_not_be_done_is_an_error_with_a_hint(api_server: StandIn, kubeconfig: Path) -> None:
    """No CoreDNS here, no context of that name, no kubeconfig."""
    neither = await dns(kubeconfig, "install")
    nowhere = await dns(kubeconfig, "status", "--context", "mars")
    without = await dns(kubeconfig.with_name("gone"), "status")
    kinds = [type(result.exception).__name__ for result in (neither, nowhere, without)]
    assert kinds == ["DnsError", "KubeError", "ConfigError"]


async def test_the_plugin_is_a_method(api_server: StandIn, kubeconfig: Path) -> None:
    """Its note and its state have their words."""
    put_coredns(api_server, image="coredns/coredns:v1.9.0")
    refused = await dns(kubeconfig, "install", "--method", "plugin")
    assert "older than 1.12.2" in str(refused.exception)
