"""What a report on trust says to a person."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest

from controllers.trust_report import RotationReport, TrustReport
from federation.cli.trust_text import progress, span, trust_lines
from support.trust_reports import OWN, peer, trust_report


def lines(report: TrustReport, *, wide: bool = False) -> list[str]:
    """The lines without their colours."""
    return [re.sub("\x1b\\[[0-9;]*m", "", line) for line in trust_lines(report, wide=wide)]


def test_trust_fits_on_a_screen() -> None:
    """The trust domains with who has ours, then every authority with the time it has left."""
    assert lines(trust_report()) == [
        "TRUST DOMAIN   CLUSTER   BUNDLE   TRUSTED   HAS OURS",
        "us-east.acme   us-east   7        own       published: 7",
        "eu-west.acme   eu-west   3        yes       7",
        "",
        "AUTHORITY      TRUST DOMAIN   STATE      ENDS IN",
        "aaaaaaaaaaaa   us-east.acme   signing    29d 0h",
        "eeeeeeeeeeee   eu-west.acme   accepted   20d 0h",
    ]


def test_wide_adds_source_services_and_times() -> None:
    """What does not fit on a narrow screen comes with -o wide."""
    shown = lines(trust_report(), wide=True)
    assert (shown[0].split()[-2:], "demo/echo" in shown[2], "exchange" in shown[2]) == (
        ["SOURCE", "SERVICES"],
        True,
        True,
    )
    assert shown[4].split()[-2:] == ["FROM", "UNTIL"]


def test_what_is_missing_is_told_in_words() -> None:
    """A peer without a bundle, one that has none of ours, one that doesn't say, and a refused bundle."""
    domains = (
        OWN,
        peer(trusted=False, sequence=None, authorities=(), acknowledged=None),
        peer(acknowledged=-1, problem="bundle of eu-west: bad \x1b (WeakKey)"),
    )
    shown = lines(trust_report(domains=domains, published=None))
    assert [line.split()[2:] for line in shown[1:4]] == [
        ["7", "own", "not", "published"],
        ["none", "no", "not", "known"],
        ["3", "yes", "none"],
    ]
    assert shown[-1] == "refused: bundle of eu-west: bad \\x1b (WeakKey)"


def test_a_rotation_under_way_is_told() -> None:
    """Below the tables, with whom it waits for."""
    report = trust_report(rotation=RotationReport("acknowledge", ("eu-west",)))
    assert lines(report)[-1] == (
        "Own CA: the bundle with the next CA is published; waiting for eu-west to verify by it"
    )


@pytest.mark.parametrize(
    ("step", "words"),
    [
        (RotationReport("none"), "nothing is under way"),
        (RotationReport("prepare"), "the next CA is being made"),
        (RotationReport("publish"), "the exchange has to take the bundle"),
        (RotationReport("wait"), "it signs when its time has come"),
        (RotationReport("reissue"), "nodes are getting new certificates"),
        (RotationReport("reissue", ("one", "two")), "nodes have to accept new certificates: one, two"),
    ],
)
def test_every_step_has_its_words(step: RotationReport, words: str) -> None:
    """What happens now, and who is waited for."""
    assert words in progress(step)


@pytest.mark.parametrize(
    ("left", "words"),
    [
        (timedelta(days=3, hours=5, minutes=59), "3d 5h"),
        (timedelta(hours=5, minutes=7, seconds=8), "5h 7m"),
        (timedelta(minutes=7, seconds=8), "7m 8s"),
        (timedelta(0), "0m 0s"),
        (timedelta(seconds=-1), "ended"),
    ],
)
def test_a_time_to_come_has_two_units(left: timedelta, words: str) -> None:
    """The two largest that are not zero in front."""
    assert span(left) == words
