"""Judgements of the exchange: each level of each line, with its fix."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from controllers.checks import Check, Level
from federation.app.exchange_checks import (
    ClockSample,
    Denial,
    Sight,
    Stage,
    Way,
    judge_admission,
    judge_authority,
    judge_clock,
    judge_clusterset,
    judge_login,
    judge_rights,
    judge_server,
    judge_token,
    judge_way,
)
from federation.membership.join_token import JoinToken
from federation.membership.roster import KnownRoster, open_roster, sign_roster
from support.membership_values import CLUSTERSET, EAST, NORTH, NOW, WEST, key, ledger_of, public

TLS = Way(tls=True, pinned=True, local=False)
PLAIN = Way(tls=False, pinned=False, local=False)
THERE = Sight("redis:6379", Stage.THERE, tls_version="TLSv1.3", certificate_ends=NOW + timedelta(days=90))
TOKEN = JoinToken(CLUSTERSET, NORTH, NOW + timedelta(minutes=15), "redis://h", public("authority"), EAST, b"s" * 32)


def lost(stage: Stage) -> Sight:
    return Sight("other:6379", stage, "exchange at other:6379 is lost", "find it")


def summary(checks: list[Check]) -> list[tuple[str, str]]:
    assert all(check.fix for check in checks if check.level is Level.FAILED)
    return [(check.name, check.level) for check in checks]


def roster(*clusters: str, serial: int = 1) -> bytes:
    ledger = ledger_of(*clusters)  # type: ignore[arg-type]
    return sign_roster(replace(ledger.roster, serial=serial), key("authority"))


def known(*clusters: str) -> KnownRoster:
    return open_roster(roster(*clusters), CLUSTERSET, public("authority"))


def sample(offset: float, round_trip: float = 0.002) -> ClockSample:
    trip = timedelta(seconds=round_trip)
    return ClockSample(NOW, trip, NOW + trip / 2 + timedelta(seconds=offset))


def test_a_way_that_is_open_has_a_line_for_each_step() -> None:
    """Name, connection, and TLS with version, CA and end."""
    checks = list(judge_way([THERE], TLS, NOW))
    assert summary(checks) == [("exchange name", "ok"), ("exchange connection", "ok"), ("exchange TLS", "ok")]
    assert checks[-1].message == "TLSv1.3, certificate by the CA of exchange.caFile, until 2026-04-01 12:00:00Z"


@pytest.mark.parametrize(
    ("stage", "lines"),
    [
        (Stage.NAME, ["exchange name"]),
        (Stage.CONNECTION, ["exchange name", "exchange connection"]),
        (Stage.TLS, ["exchange name", "exchange connection", "exchange TLS"]),
    ],
)
def test_the_step_that_fails_is_the_last_line(stage: Stage, lines: list[str]) -> None:
    """In the words of what went wrong; with another server that is reached it is a note, and the way goes on."""
    alone = list(judge_way([lost(stage)], TLS, NOW))
    beside = list(judge_way([THERE, lost(stage)], TLS, NOW))
    assert [check.name for check in alone] == lines
    assert (alone[-1].level, alone[-1].message, alone[-1].fix) == (
        "failed",
        "exchange at other:6379 is lost",
        "find it",
    )
    assert [check.name for check in beside if check.level is Level.NOTE] == lines[-1:]
    assert len(beside) == 3


@pytest.mark.parametrize("stage", [Stage.NAME, Stage.CONNECTION, Stage.TLS])
def test_an_error_without_a_next_step_gets_the_one_of_its_step(stage: Stage) -> None:
    """No line fails without a fix."""
    assert list(judge_way([replace(lost(stage), fix="")], TLS, NOW))[-1].fix


def test_servers_that_are_lost_at_different_steps_end_the_way() -> None:
    """Where the last of them is lost, with what was lost before as a note."""
    checks = list(judge_way([lost(Stage.NAME), lost(Stage.TLS)], TLS, NOW))
    assert summary(checks) == [("exchange name", "note"), ("exchange connection", "ok"), ("exchange TLS", "failed")]


@pytest.mark.parametrize(("days", "level"), [(15, "ok"), (13, "note")])
def test_a_certificate_that_ends_soon_is_a_note(days: int, level: str) -> None:
    """Two weeks before."""
    sight = replace(THERE, certificate_ends=NOW + timedelta(days=days))
    assert summary(list(judge_way([sight], TLS, NOW)))[-1] == ("exchange TLS", level)


@pytest.mark.parametrize(("way", "level"), [(PLAIN, "note"), (replace(PLAIN, local=True), "ok")])
def test_no_tls_is_a_note_unless_it_stays_on_this_host(way: Way, level: str) -> None:
    """Whoever is on the way could read passwords."""
    assert summary(list(judge_way([Sight("h:1", Stage.THERE)], way, NOW)))[-1] == ("exchange TLS", level)


@pytest.mark.parametrize(
    ("user", "local", "level"), [("fg.demo.east", False, "ok"), ("", True, "ok"), ("", False, "note")]
)
def test_an_exchange_without_users_is_a_note(user: str, local: bool, level: str) -> None:
    """Unless it is on this host."""
    assert judge_login(user, local=local).level == level


@pytest.mark.parametrize(
    ("version", "member_user", "level"),
    [
        ("redis 6.0.16", False, "failed"),
        ("redis 6.2.0", False, "ok"),
        ("redis 6.2.0", True, "failed"),
        ("redis 7.0.15", True, "ok"),
        ("redis 10.0.0", True, "ok"),
        ("valkey 8.1.1", True, "ok"),
    ],
)
def test_a_server_must_be_new_enough(version: str, member_user: bool, level: str) -> None:
    """6.2, and 7 where members have users of their own."""
    assert judge_server(version, [sample(0)], member_user=member_user).level == level


def test_a_server_that_is_slow_is_a_note() -> None:
    """By its fastest answer."""
    fast, slow = sample(0, 0.0012), sample(0, 0.3)
    assert judge_server("redis 7.0.15", [slow, fast], member_user=True).message == "redis 7.0.15 answers in 1.2 ms"
    assert judge_server("redis 7.0.15", [slow], member_user=True).level == "note"


def test_all_that_is_denied_is_named() -> None:
    """With the first answer and its fix."""
    denials = [Denial("write", "no permission", "set the rules"), Denial("hear others", "none either", "again")]
    assert judge_rights(denials) == Check(
        "exchange rights", Level.FAILED, "may not write, nor hear others: no permission", "set the rules"
    )
    assert judge_rights([]).level == "ok"


@pytest.mark.parametrize(
    ("offset", "level"),
    [
        (0, "ok"),
        (4.9, "ok"),
        (-4.9, "ok"),
        (5.1, "note"),
        (-5.1, "note"),
        (60, "note"),
        (60.1, "failed"),
        (-61, "failed"),
    ],
)
def test_clocks_may_differ_a_little(offset: float, level: str) -> None:
    """By 5 s without a word, by the minute that the authority allows with one."""
    assert judge_clock([sample(offset)]).level == level


def test_what_the_way_takes_is_no_skew() -> None:
    """Half of the round trip is doubt; the fastest answer counts."""
    assert judge_clock([sample(61, round_trip=4)]).level == "note"
    assert judge_clock([sample(61, round_trip=4), sample(61)]).level == "failed"
    assert "61.000 s behind the exchange's (give or take 0.001 s)" in judge_clock([sample(61)]).message
    assert "61.000 s ahead of the exchange's" in judge_clock([sample(-61)]).message


@pytest.mark.parametrize(
    ("blob", "level", "words"),
    [
        (roster(EAST, WEST), "ok", "roster 1 has 2 members, the authority is at east"),
        (roster(EAST, WEST, NORTH, serial=2), "ok", "roster 2 has 3 members"),
        (None, "note", "holds no roster"),
        (roster(EAST, serial=2), "failed", "west was evicted or has left: roster 2"),
        (roster(EAST, WEST, serial=0), "failed", "is refused: roster has serial 0"),
        (b"junk", "failed", "is refused"),
    ],
)
def test_the_roster_in_the_exchange_is_held_against_ours(blob: bytes | None, level: str, words: str) -> None:
    """A newer one counts, an older or another authority's does not."""
    check = judge_clusterset(blob, known(EAST, WEST), WEST)
    assert (check.level, words in check.message, bool(check.fix)) == (level, True, level != "ok")


@pytest.mark.parametrize(
    ("blob", "level", "words"),
    [
        (roster(EAST), "ok", "north is free"),
        (None, "failed", "holds no roster of clusterset demo"),
        (b"junk", "failed", "can't be believed"),
        (roster(EAST, NORTH), "ok", "is a member already, with the key that is here"),
    ],
)
def test_a_token_needs_a_place_in_the_roster(blob: bytes | None, level: str, words: str) -> None:
    """Of the authority that the token names."""
    check = judge_admission(blob, TOKEN, "north.demo", public("north"))
    assert (check.level, words in check.message) == (level, True)


def test_a_name_or_a_trust_domain_that_is_taken_is_told() -> None:
    """With whose it is."""
    taken = judge_admission(roster(EAST, NORTH), TOKEN, "north.demo", None)
    domain = judge_admission(roster(EAST, WEST), TOKEN, "west.example", None)
    assert (taken.level, taken.message) == ("failed", "north is a member already, with another key")
    assert (domain.level, domain.message) == ("failed", "trust domain west.example is that of west")


def test_who_admits_must_be_heard() -> None:
    """Else a request waits for nothing."""
    assert [judge_authority(EAST, heard=heard).level for heard in (True, False)] == ["ok", "failed"]


def test_a_token_ends() -> None:
    """At the time that it says."""
    levels = [judge_token(TOKEN, NOW + timedelta(minutes=minutes)).level for minutes in (14, 15)]
    assert levels == ["ok", "failed"]
