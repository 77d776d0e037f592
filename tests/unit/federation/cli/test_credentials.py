"""Tokens of a site without Kubernetes."""

from __future__ import annotations

import asyncio
import stat
from pathlib import Path

import pytest
from typer.testing import CliRunner

from federation.cli.main import app
from federation.membership.tokens import NodePrincipal, TokenStore
from federation.model.errors import ConfigError


@pytest.fixture
def site(tmp_path: Path) -> Path:
    (tmp_path / "cluster.yaml").write_text(
        "{clusterset: acme, cluster: us-east, region: us, trustDomain: us-east.acme, exchange: {url: 'redis://h'}}"
    )
    return tmp_path


def credentials(*arguments: str) -> str:
    """What the command prints; raises what it raises."""
    return CliRunner().invoke(app, ["credentials", *arguments], catch_exceptions=False).stdout


@pytest.mark.parametrize(
    ("workload", "file", "principal"),
    [
        ("gateway", "gateway.token", NodePrincipal("gateway")),
        ("demo/echo", "demo.echo.token", NodePrincipal("sidecar", "demo", "echo")),
    ],
)
def test_a_token_proves_the_workload_it_was_made_for(
    workload: str, file: str, principal: NodePrincipal, site: Path
) -> None:
    """The controller takes the token for exactly that workload; its directory and file are private."""
    printed = credentials("node-token", workload, "--dir", str(site))
    path = site / "tokens" / file
    modes = [stat.S_IMODE(each.stat().st_mode) for each in (path.parent, path)]
    proved = asyncio.run(TokenStore.load(site / "tokens").authenticate(path.read_text().strip()))
    assert (printed, modes, proved) == (f"{path}\n", [0o700, 0o600], principal)


def test_a_token_is_not_replaced(site: Path) -> None:
    """A token in use stays until someone removes it."""
    credentials("node-token", "gateway", "--dir", str(site))
    with pytest.raises(ConfigError, match="is there already") as caught:
        credentials("node-token", "gateway", "--dir", str(site))
    assert "remove it first" in caught.value.hint


@pytest.mark.parametrize("workload", ["demo", "demo/", "Demo/echo", "../x", ""])
def test_what_names_no_workload_is_refused(workload: str, site: Path) -> None:
    """Nothing but NAMESPACE/SERVICEACCOUNT or the word gateway makes a file."""
    with pytest.raises(ConfigError, match="neither NAMESPACE/SERVICEACCOUNT nor gateway"):
        credentials("node-token", workload, "--dir", str(site))
    assert not (site / "tokens").exists()


def test_a_directory_in_the_way_is_told(site: Path) -> None:
    """Where the tokens can't be written, the path and the cause are said."""
    (site / "tokens").write_text("")
    with pytest.raises(ConfigError, match=r"tokens can't be made: File exists"):
        credentials("node-token", "gateway", "--dir", str(site))
