"""`federation init`, `join`, `leave`, `evict` and `members`: what is asked of them, and what they say where."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from typer.testing import CliRunner

from federation.app import founding, joining, leaving
from federation.app.cluster_file import Place
from federation.cli.main import app
from federation.membership.join_token import JoinToken, encode_token
from federation.membership.roster import open_roster
from federation.model.errors import ConfigError, FederationError, TrustError
from federation.model.names import ClusterId
from support.admitted import Admitted, found_clusterset
from support.board_room import open_room
from support.membership_values import key

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
TOKEN = JoinToken("acme", ClusterId("west"), NOW, "redis://h", bytes(32), ClusterId("east"), bytes(range(32)))
LINE = encode_token(TOKEN)


def invoke(*words: str, given: str = "") -> Result:
    return CliRunner().invoke(app, list(words), input=given)


def fault(*words: str) -> FederationError:
    """The error that a command ends with."""
    error = invoke(*words).exception
    assert isinstance(error, FederationError), error
    return error


class Calls(list[tuple[Any, ...]]):
    """What a command has asked for, in the place of what would do it."""

    async def take(self, *arguments: Any, **options: Any) -> None:
        self.append((*arguments[:-1], *options.values()))
        arguments[-1]("word of progress")


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Calls:
    taken = Calls()
    for module, name in ((founding, "found"), (joining, "join"), (leaving, "leave")):
        monkeypatch.setattr(module, name, taken.take)
    monkeypatch.delenv("FEDERATION_TOKEN", raising=False)
    return taken


INIT = ("init", "--clusterset", "acme", "--cluster-id", "east", "--exchange", "redis://127.0.0.1:6379")


def test_init_says_what_was_founded_and_what_comes_next(calls: Calls, tmp_path: Path) -> None:
    """The result on standard output, all else on standard error; the trust domain is that of cluster and clusterset."""
    result = invoke(*INIT, "--dir", str(tmp_path), "--region", "us")
    assert (result.exit_code, result.stdout) == (0, "clusterset acme founded, east is its first member\n")
    assert result.stderr.splitlines() == [
        "word of progress",
        f"next: federation controller --dir {tmp_path}",
        f"then, for each other cluster: federation token create --dir {tmp_path} --cluster NAME",
    ]
    ((directory, asked, place),) = calls
    assert (directory, asked.trust_domain, asked.exchange_ca, asked.exchange_admin) == (tmp_path, "east.acme", "", None)
    assert place == Place("us")


def test_in_a_pod_what_comes_next_is_run_from_outside(calls: Calls, tmp_path: Path) -> None:
    """Where the controller is at work already, and its directory means nothing to the operator."""
    (tmp_path / "base.yaml").write_text("region: us\nkubernetes: {namespace: mesh}\n")
    founded = invoke(*INIT, "--dir", str(tmp_path))
    joined = invoke("join", "--token", LINE, "--dir", str(tmp_path))

    create = "federation token create --context CONTEXT -n mesh --cluster NAME"
    assert founded.stderr.splitlines()[1:] == [
        f"its controller goes on as a member; next, for each other cluster: {create}"
    ]
    assert joined.stderr.splitlines()[1:] == [
        "its controller goes on as a member: federation status --context CONTEXT -n mesh"
    ]
    assert str(tmp_path) not in founded.output + joined.output


def test_init_without_a_region_makes_no_settings(calls: Calls, tmp_path: Path) -> None:
    """They must be there then."""
    invoke(*INIT, "--dir", str(tmp_path))
    assert calls[0][2] is None


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--clusterset", "No"), "clusterset 'No' is no DNS label"),
        (("--cluster-id", "a.b"), "cluster id 'a.b' is no DNS label"),
        (("--trust-domain", "A"), "'A' is no SPIFFE trust domain"),
        (("--exchange", "http://h"), "--exchange "),
        (("--exchange-ca", "nowhere.pem"), "nowhere.pem can't be read: No such file"),
        (("--exchange-admin", "nowhere"), "credentials file nowhere can't be read"),
    ],
)
def test_what_init_cannot_use_is_named(calls: Calls, words: tuple[str, ...], told: str) -> None:
    """Before anything is made, with exit code 2."""
    error = fault(*INIT, *words)
    assert (told in str(error), error.exit_code, calls) == (True, 2, [])


@pytest.mark.parametrize("source", ["option", "environment", "file", "input"])
def test_a_token_comes_from_where_it_is_said(
    calls: Calls, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str
) -> None:
    """And its secret is not repeated anywhere."""
    (tmp_path / "token").write_text(f"{LINE}\n")
    words = ["join", "--dir", str(tmp_path / "west"), "--region", "us"]
    words += {
        "option": ["--token", LINE],
        "environment": [],
        "file": ["--token-file", str(tmp_path / "token")],
        "input": ["--token-file", "-"],
    }[source]
    if source == "environment":
        monkeypatch.setenv("FEDERATION_TOKEN", LINE)
    result = invoke(*words, given=LINE)
    assert (result.exit_code, result.stdout) == (0, "west is a member of clusterset acme\n")
    assert calls == [(tmp_path / "west", TOKEN, "west.acme", Place("us"), 60.0)]
    assert LINE not in result.output


def test_one_token_is_wanted(calls: Calls, tmp_path: Path) -> None:
    """Neither none nor two."""
    for words in ((), ("--token", LINE, "--token-file", "-")):
        error = fault("join", "--dir", str(tmp_path), *words)
        assert (type(error), "only one of them" in str(error)) == (ConfigError, True)
    assert calls == []


def test_a_token_that_is_not_whole_is_refused_unread(calls: Calls) -> None:
    """As TokenAltered; the error does not quote it."""
    error = fault("join", "--token", LINE[:-1])
    assert isinstance(error, TrustError)
    assert (error.reason, error.exit_code, LINE[8:20] in str(error), calls) == ("TokenAltered", 1, False, [])


def test_an_id_that_is_not_the_tokens_is_refused(calls: Calls) -> None:
    """With the command that makes the right one."""
    error = fault("join", "--token", LINE, "--cluster-id", "wets")
    assert str(error) == "the token is for cluster west, not for wets"
    assert ("--cluster wets" in error.hint, calls) == (True, [])


def test_the_trust_domain_of_settings_that_are_there_counts(calls: Calls, tmp_path: Path) -> None:
    """Unless another one is given, which then shows as a disagreement."""
    settings(tmp_path, "west", "west.of-old")
    invoke("join", "--dir", str(tmp_path), "--token", LINE)
    invoke("join", "--dir", str(tmp_path), "--token", LINE, "--trust-domain", "other")
    assert [call[2] for call in calls] == ["west.of-old", "other"]


def test_leave_says_who_left(calls: Calls, tmp_path: Path) -> None:
    """Once it is done."""
    settings(tmp_path, "west", "west.acme")
    result = invoke("leave", "--dir", str(tmp_path), "--timeout", "3")
    assert (result.stdout, result.stderr) == ("west has left clusterset acme\n", "word of progress\n")
    assert calls[0][1] == 3.0


def test_evict_takes_names_alone(tmp_path: Path) -> None:
    """What is no cluster id is told before the authority is looked for."""
    settings(tmp_path, "east", "east.acme")
    assert "is no DNS label" in str(fault("evict", "fg:*", "--dir", str(tmp_path)))
    error = fault("evict", "west", "--dir", str(tmp_path))
    assert isinstance(error, TrustError)
    assert (error.reason, "federation init" in error.hint) == ("NoAuthority", True)


def test_an_eviction_that_the_exchange_did_not_hear_is_told_the_next_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is decided all the same; done again, the roster goes up, though there is no member to evict any more."""
    room = open_room(monkeypatch, users=False)
    store = found_clusterset(
        "acme", [Admitted(tmp_path / name, name, f"{name}.acme", key(name)) for name in ("east", "west")]
    )
    settings(tmp_path / "east", "east", "east.acme")
    room.fail["publish_roster"] = 1
    error = fault("evict", "west", "--dir", str(tmp_path / "east"))
    assert str(error).startswith("west is no member any more, which the others do not know yet: ")
    assert [member.cluster for member in store.read().roster.members] == ["east"]
    assert asyncio.run(room.board.read_roster()) is None
    assert str(fault("evict", "west", "--dir", str(tmp_path / "east"))) == "west is no member of clusterset acme"
    blob = asyncio.run(room.board.read_roster())
    assert blob is not None
    assert open_roster(blob, "acme", store.read().authority_key).roster == store.read().roster


def test_members_are_listed_from_the_disk(tmp_path: Path) -> None:
    """For people with the beginning of each key, wide and for programs with all of it."""
    keys = {name: Ed25519PrivateKey.from_private_bytes(bytes([number] * 32)) for number, name in enumerate("ab")}
    found_clusterset(
        "acme", [Admitted(tmp_path / name, name, f"{name}.acme", private) for name, private in keys.items()]
    )
    settings(tmp_path / "b", "b", "b.acme")
    public = {name: private.public_key().public_bytes_raw().hex() for name, private in keys.items()}
    plain, wide, data = (
        invoke("members", "--dir", str(tmp_path / "b"), "-o", form).stdout for form in ("table", "wide", "json")
    )
    lines = plain.splitlines()
    assert lines[0].split() == ["CLUSTER", "TRUST", "DOMAIN", "ADMITTED", "MEMBER", "KEY", "ROLE"]
    assert [(line.split()[0], line.split()[1], line.split()[-1]) for line in lines[1:]] == [
        ("a", "a.acme", "authority"),
        ("b", "b.acme", public["b"][:16]),
    ]
    assert public["b"] in wide
    assert public["b"] not in plain
    read = json.loads(data)
    assert (read["clusterset"], read["serial"], [m["authority"] for m in read["members"]]) == ("acme", 1, [True, False])
    assert [member["memberKey"] for member in read["members"]] == list(public.values())
    assert abs(datetime.now(UTC) - datetime.fromisoformat(read["members"][0]["admittedAt"])) < timedelta(minutes=5)


def test_who_is_no_member_has_no_list(tmp_path: Path) -> None:
    """And is told how to become one."""
    settings(tmp_path, "west", "west.acme")
    error = fault("members", "--dir", str(tmp_path))
    assert (str(error), "federation join" in error.hint) == ("cluster west is no member of a clusterset yet", True)


def settings(directory: Path, cluster: str, trust_domain: str) -> None:
    directory.mkdir(exist_ok=True)
    (directory / "cluster.yaml").write_text(
        f"{{clusterset: acme, cluster: {cluster}, region: r, trustDomain: {trust_domain}, "
        "exchange: {url: 'redis://127.0.0.1:1'}}"
    )
