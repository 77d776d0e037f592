"""What `federation trust check` finds, on a cluster where one thing at a time is wrong."""

from __future__ import annotations

from datetime import timedelta

import msgspec
import pytest

from controllers.checks import Level
from controllers.trust_checks import trust_checks
from controllers.trust_report import AuthorityReport, DomainReport, RotationReport, TrustReport
from support.clock import START
from support.trust_reports import DAY, OWN, PEER, SIGNING, THEIRS, own, peer, trust_report

LATE = START - 29 * DAY


def found(report: TrustReport, level: Level = Level.FAILED) -> list[tuple[str, str]]:
    """Name and message of every check that ended so."""
    return [(check.name, check.message) for check in trust_checks(report) if check.level is level]


def test_nothing_fails_where_nothing_is_wrong() -> None:
    """Every part is looked at, and what would break is told as a note."""
    report = trust_report()
    assert found(report) == []
    assert [check.name for check in trust_checks(report)] == [
        "own CA",
        "own bundle",
        "node certificates",
        "peer eu-west",
        "peer eu-west",
        "if the CA was tainted now",
        "if the CA of eu-west ended",
    ]


def old_signing() -> AuthorityReport:
    return msgspec.structs.replace(SIGNING, not_before=LATE, not_after=START + DAY)


def old_theirs() -> AuthorityReport:
    return msgspec.structs.replace(THEIRS, not_before=LATE, not_after=START + DAY)


@pytest.mark.parametrize(
    ("domains", "changes", "name", "words"),
    [
        ((own(authorities=()), PEER), {}, "own CA", "no CA is in force"),
        ((own(authorities=(old_signing(),)), PEER), {}, "own CA", "nothing follows it"),
        ((own(sequence=8), PEER), {}, "own bundle", "sequence 8 is not in the exchange yet"),
        ((OWN, PEER), {"soonest_leaf": START - DAY}, "node certificates", "one ended at"),
        ((OWN, peer(trusted=False, sequence=None, authorities=())), {}, "peer eu-west", "has published no bundle"),
        ((OWN, peer(trusted=False, authorities=())), {}, "peer eu-west", "all of its authorities have ended"),
        ((OWN, peer(problem="bad (WeakKey)")), {}, "peer eu-west", "refused: bad (WeakKey); the one before stays"),
        ((OWN, peer(authorities=(old_theirs(),))), {}, "peer eu-west", "demo/echo would lose one of several"),
        ((OWN, peer(authorities=(old_theirs(),), sole=("demo/echo",))), {}, "peer eu-west", "would have no backend"),
        ((OWN, peer(acknowledged=6)), {}, "peer eu-west", "has bundle 6, 7 is published since"),
        ((OWN, peer(acknowledged=-1)), {}, "peer eu-west", "has none of our bundles"),
    ],
)
def test_what_is_wrong_fails_with_a_fix(
    domains: tuple[DomainReport, ...], changes: dict[str, object], name: str, words: str
) -> None:
    """One check fails, names the cause in words, and says what to do."""
    report = trust_report(domains=domains, **changes)
    ((failed, message),) = found(report)
    assert (failed, words in message) == (name, True), message
    assert all(check.fix for check in trust_checks(report) if check.level is Level.FAILED)


def test_a_next_ca_is_what_follows() -> None:
    """The one that signs may be in its last sixth while the next one is there."""
    upcoming = AuthorityReport("bbbbbbbbbbbb", "next", START, START + 30 * DAY)
    report = trust_report(domains=(own(authorities=(old_signing(), upcoming)), PEER), rotation=RotationReport("wait"))
    assert (found(report), ("next CA", "bbbbbbbbbbbb is made (wait)") in found(report, Level.OK)) == ([], True)


def test_a_tainted_ca_fails_until_it_is_gone() -> None:
    """With the nodes that are waited for."""
    tainted = AuthorityReport("cccccccccccc", "tainted", START - DAY, START + DAY)
    report = trust_report(
        domains=(own(authorities=(SIGNING, tainted)), PEER), rotation=RotationReport("reissue", ("node",))
    )
    assert found(report) == [("tainted CA", "cccccccccccc is still in the bundle, waits for node")]


@pytest.mark.parametrize("state", ["Dead", "Blind", "Unheard"])
def test_a_peer_that_is_not_heard_fails_nothing_and_is_noted(state: str) -> None:
    """It could not know of another CA: that is what would break, not what is wrong here."""
    report = trust_report(domains=(OWN, peer(acknowledged=6, state=state)))
    notes = dict(found(report, Level.NOTE))
    assert found(report) == []
    assert notes["if the CA was tainted now"] == "eu-west could not verify this cluster until heard again"
    assert f"it is not heard ({state})" in notes["peer eu-west"]


def test_a_peer_with_an_older_program_is_noted() -> None:
    """It does not say what it has, which is no fault."""
    report = trust_report(domains=(OWN, peer(acknowledged=None)))
    assert (found(report), "does not say" in dict(found(report, Level.NOTE))["peer eu-west"]) == ([], True)


def test_an_expiry_before_its_last_sixth_is_well() -> None:
    """Five sixths of the life are the line, for own and foreign authorities."""
    before = msgspec.structs.replace(THEIRS, not_before=START - 5 * DAY, not_after=START + DAY + timedelta(seconds=1))
    assert found(trust_report(domains=(OWN, peer(authorities=(before,))))) == []
