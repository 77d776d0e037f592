"""Judgements of what is on the host."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest

from controllers.status import StatusReport
from federation.app.site_checks import (
    judge_controller,
    judge_envoy,
    judge_manifests,
    judge_member_key,
    judge_membership,
    judge_modes,
    judge_peer_versions,
    judge_python,
    judge_state_directory,
)
from federation.membership.roster import KnownRoster
from federation.model.names import ClusterId
from federation.model.problems import Problem
from federation.model.wire import SCHEMA_MAJOR, SCHEMA_MINOR
from support.cluster_directory import settings_of
from support.membership_values import EAST, NOW, WEST, ledger_of, public, roster_member
from support.reports import status_report

HERE = Path("/etc/federation")
SETTINGS = replace(settings_of(HERE), clusterset="demo", cluster=WEST, trust_domain="west.example")
KNOWN = KnownRoster(public("authority"), ledger_of(EAST, WEST).roster, b"")
OWN = (SCHEMA_MAJOR, SCHEMA_MINOR)


def test_files_that_others_may_open_are_named_with_the_command_that_closes_them() -> None:
    """All of them in one line."""
    key, token, other = HERE / "member.key", HERE / "tokens" / "a.token", HERE / "ca.key"
    check = judge_modes({key: 0o640, token: 0o602, other: 0o600})
    assert check.level == "failed"
    assert check.message.startswith(f"{key} has mode 0640, {token} has mode 0602: ")
    assert check.fix.startswith(f"chmod 600 {key} {token};")
    assert judge_modes({other: 0o400}).level == "ok"


def test_a_state_directory_must_take_files() -> None:
    """In the system's words where it does not."""
    assert [judge_state_directory(HERE, cause).level for cause in ("", "Read-only file system")] == ["ok", "failed"]


@pytest.mark.parametrize(
    ("known", "settings", "words"),
    [
        (None, SETTINGS, "is no member of a clusterset yet"),
        (KNOWN, replace(SETTINGS, clusterset="acme"), "the roster is of clusterset demo, the settings say acme"),
        (KNOWN, replace(SETTINGS, cluster=ClusterId("north")), "north has left clusterset demo or was evicted"),
        (
            KNOWN,
            replace(SETTINGS, trust_domain="x.example"),
            "has trust domain west.example, the settings say x.example",
        ),
    ],
)
def test_a_place_in_the_roster_is_as_the_settings_say(known: KnownRoster | None, settings: object, words: str) -> None:
    """Clusterset, cluster and trust domain, or a line that fails with its fix."""
    check = judge_membership(known, settings)  # type: ignore[arg-type]
    assert (check.level, words in check.message, bool(check.fix)) == ("failed", True, True)


def test_a_member_is_told_among_how_many() -> None:
    """All is well."""
    assert judge_membership(KNOWN, SETTINGS).message == "west is one of 2 members of demo"


def test_the_key_is_the_rosters_or_the_next_one_is() -> None:
    """A crash between the two is no failure; any other key is."""
    own = roster_member(WEST, "fresh")
    levels = [
        judge_member_key(public(present), prepared and public(prepared), own, NOW).level
        for present, prepared in (("fresh", None), ("former", "fresh"), ("former", None), ("former", "other"))
    ]
    assert levels == ["ok", "ok", "failed", "failed"]


def test_a_key_that_retires_is_told_while_it_is_believed() -> None:
    """Until when."""
    own = replace(roster_member(WEST), retiring_key=public("former"), retiring_until=NOW + timedelta(minutes=5))
    told = [judge_member_key(public("west"), None, own, NOW + timedelta(minutes=at)).message for at in (4, 5)]
    assert ["believed until 2026-01-01 12:05:00Z" in message for message in told] == [True, False]


@pytest.mark.parametrize(
    ("changes", "level", "words"),
    [
        ({"version": "1.0"}, "ok", "is ready, "),
        ({"version": "1.0", "ready": False}, "note", "is not ready"),
        ({"version": "0.9"}, "note", "runs version 0.9, this is 1.0"),
        ({"version": "1.0", "problems": ("one", "two"), "warnings": ("three",)}, "note", "problems: 3"),
    ],
)
def test_a_controller_that_runs_says_how_it_is(changes: dict[str, object], level: str, words: str) -> None:
    """What is wrong is a note: `federation status` has the details."""
    report: StatusReport = msgspec.structs.replace(status_report(), **({"problems": (), "warnings": ()} | changes))
    check = judge_controller(report, "1.0", hangs=False)
    assert (check.level, words in check.message, bool(check.fix)) == (level, True, level == "note")


def test_a_controller_that_does_not_run_is_a_note() -> None:
    """The check needs none; one that hangs is no controller for anybody."""
    assert [judge_controller(None, "1.0", hangs=hangs).level for hangs in (False, True)] == ["note", "failed"]


def test_python_must_be_new_enough() -> None:
    """3.11 is."""
    assert [judge_python(version).level for version in ((3, 10, 14), (3, 11, 0), (3, 13, 1))] == ["failed", "ok", "ok"]


@pytest.mark.parametrize(
    ("told", "level", "words"),
    [
        ("\nenvoy  version: 9e5/1.40.0/Clean/RELEASE/BoringSSL\n", "ok", "1.40.0"),
        ("envoy  version: 9e5/1.39.2/Clean/RELEASE/BoringSSL", "note", "1.39.2 was not tested"),
        ("envoy  version: 9e5/1.4.0/Clean/RELEASE/BoringSSL", "note", "1.4.0 was not tested"),
        ("", "failed", "does not tell its version"),
    ],
)
def test_envoy_is_the_one_that_was_tested(told: str, level: str, words: str) -> None:
    """Another version is a note, another program fails."""
    check = judge_envoy(told)
    assert (check.level, words in check.message) == (level, True)


@pytest.mark.parametrize(
    ("schema", "level", "words"),
    [
        (OWN, "ok", "1 peers write schema"),
        ((OWN[0], OWN[1] + 1), "ok", "west writes a newer schema"),
        ((OWN[0] + 1, 0), "failed", "west writes a schema that is not read here"),
        ((OWN[0] - 1, OWN[1] + 5), "ok", "or an earlier one"),
    ],
)
def test_peers_write_what_is_read_here(schema: tuple[int, int], level: str, words: str) -> None:
    """A newer minor is read, a newer major is not."""
    check = judge_peer_versions({WEST: schema})
    assert (check.level, words in check.message) == (level, True)


def test_problems_of_manifests_are_a_note() -> None:
    """The first three, and how many more."""
    problems = [Problem(f"Service demo/{name}", "Bad", "is wrong") for name in "edcba"]
    check = judge_manifests(5, problems)
    assert check.level == "note"
    assert check.message.startswith("Service demo/a: is wrong (Bad); Service demo/b: ")
    assert check.message.endswith("; and 2 more")
    assert judge_manifests(5, ()).level == "ok"
