"""`federation token`: tokens are made, listed and revoked where the authority is; a secret shows once."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from federation.cli.main import app
from federation.membership.join_token import parse_token
from federation.model.errors import ConfigError, FederationError
from support.admitted import Admitted, found_clusterset
from support.board_room import open_room
from support.membership_values import key


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Of the cluster that has the authority."""
    open_room(monkeypatch, users=False)
    (tmp_path / "cluster.yaml").write_text(
        "{clusterset: acme, cluster: east, region: r, trustDomain: east.acme, exchange: {url: 'redis://127.0.0.1:1'}}"
    )
    found_clusterset("acme", [Admitted(tmp_path, "east", "east.acme", key("east"))])
    return tmp_path


def invoke(directory: Path, *words: str) -> Result:
    return CliRunner().invoke(app, ["token", *words, "--dir", str(directory)])


def listed(directory: Path) -> list[dict[str, str]]:
    rows: list[dict[str, str]] = json.loads(invoke(directory, "list", "-o", "json").stdout)
    return rows


def test_a_token_is_the_only_line_of_standard_output(directory: Path) -> None:
    """So that it can be piped; what to do with it is said on standard error, without it."""
    result = invoke(directory, "create", "--cluster", "west", "--ttl", "1h")
    token = parse_token(result.stdout)
    assert (result.exit_code, token.cluster, token.clusterset, token.seat) == (0, "west", "acme", "east")
    assert result.stdout == f"{result.stdout.strip()}\n"
    assert result.stderr == "for cluster west, within 1h: federation join --token-file FILE --region NAME\n"
    assert (directory / "authority" / "ledger.json").read_bytes().find(token.seed) == -1


def test_from_a_cluster_in_kubernetes_the_other_one_is_joined_by_its_own_context(directory: Path) -> None:
    """Not by that of the cluster that made the token."""
    (directory / "base.yaml").write_text("region: us\nkubernetes: {}\n")
    result = invoke(directory, "create", "--cluster", "west")
    assert result.stderr.endswith(" --token-file FILE --region NAME, in Kubernetes with its own --context\n")


def test_tokens_are_listed_without_their_secrets(directory: Path) -> None:
    """With what became of them, for people and for programs."""
    token = invoke(directory, "create", "--cluster", "west").stdout.strip()
    table = invoke(directory, "list").stdout
    assert re.fullmatch(r"\S+ +west +Pending +\S+ \S+Z +\S+ \S+Z", table.splitlines()[1])
    everything = "".join(invoke(directory, "list", "-o", form).stdout for form in ("table", "wide", "json", "yaml"))
    assert token not in everything
    assert parse_token(token).seed.hex() not in everything
    assert [(row["cluster"], row["state"]) for row in listed(directory)] == [("west", "Pending")]


def test_a_revoked_token_stays_listed(directory: Path) -> None:
    """By its id; an id that is none is told with an exit code of 1."""
    invoke(directory, "create", "--cluster", "west")
    (row,) = listed(directory)
    result = invoke(directory, "revoke", row["id"])
    assert result.stdout == f"token {row['id']} for cluster west is revoked\n"
    assert [row["state"] for row in listed(directory)] == ["Revoked"]
    error = invoke(directory, "revoke", "0123").exception
    assert isinstance(error, FederationError)
    assert (str(error), error.exit_code) == ("there is no token 0123", 1)


@pytest.mark.parametrize(
    ("ttl", "told"), [("soon", "--ttl "), ("0s", "--ttl 0s is not within 24h"), ("25h", "--ttl 25h is not within 24h")]
)
def test_a_life_that_is_none_is_refused(directory: Path, ttl: str, told: str) -> None:
    """Or one that is too long to be safe; no token is made."""
    error = invoke(directory, "create", "--cluster", "west", "--ttl", ttl).exception
    assert isinstance(error, ConfigError)
    assert (str(error).startswith(told), listed(directory)) == (True, [])


def test_the_user_of_a_managed_exchange_goes_with_the_token(directory: Path) -> None:
    """From a private file; it stays the member's."""
    file = directory / "west.credentials"
    file.write_text("by-hand:secret\n")
    file.chmod(0o600)
    result = invoke(directory, "create", "--cluster", "west", "--exchange-credentials", str(file))
    token = parse_token(result.stdout)
    assert (token.exchange_user, token.exchange_password, token.keep_password) == ("by-hand", "secret", True)
    assert "secret" not in result.stderr


def test_no_token_is_made_for_a_member_or_a_bad_name(directory: Path) -> None:
    """The authority's reason is told."""
    errors = [invoke(directory, "create", "--cluster", name).exception for name in ("east", "No_Label")]
    assert ["is taken by a member" in str(errors[0]), "is no DNS label" in str(errors[1])] == [True, True]
    assert listed(directory) == []


def test_where_no_authority_is_that_is_said(directory: Path, tmp_path: Path) -> None:
    """With where to go."""
    other = tmp_path / "other"
    other.mkdir()
    (other / "cluster.yaml").write_text((directory / "cluster.yaml").read_text())
    for words in (("create", "--cluster", "west"), ("list",), ("revoke", "0123")):
        error = invoke(other, *words).exception
        assert isinstance(error, FederationError)
        assert "federation init" in error.hint
