"""The report on trust: whose authorities are in force, who has ours, and where the life of the own CA stands."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from controllers.trust import Acknowledgement
from controllers.trust_report import (
    RotationReport,
    Trust,
    own_seconds_left,
    peers_acknowledged,
    peers_seconds_left,
    trust_report,
)
from federation.model.records import TrustRecord
from support.builders import (
    ECHO,
    NORTH,
    WEST,
    endpoint,
    endpoint_slice,
    endpoints_record,
    export_record,
    exported_state,
    gateway_record,
    member,
    spiffe_id,
)
from support.clock import ManualClock
from support.control import ControlLoop, bundle, ca_of
from trustbundle.rotation import CaState, Reach, authority_id

HOUR = timedelta(hours=1)


@pytest.fixture
def loop(tmp_path: Path) -> ControlLoop:
    """East, where west exports echo, and north has said nothing."""
    loop = ControlLoop(tmp_path, clock=ManualClock())
    loop.own({})
    loop.say(
        WEST,
        export_record(identities=[spiffe_id(WEST)]),
        endpoints_record(),
        gateway_record("192.0.2.1"),
        bundle(WEST, sequence=5),
        TrustRecord((("east.test", 3),)),
    )
    loop.step()
    return loop


def picture(loop: ControlLoop) -> Trust:
    return Trust(
        cluster=loop.settings.cluster,
        own=loop.authority.bundle(),
        source="built-in CA",
        state=loop.authority.state,
        view=loop.controller.trust,
        members=[member(WEST), member(NORTH)],
        peers=loop.peers.snapshot(),
        verdicts=loop.controller.verdicts,
        trusted=loop.controller.trusted,
        problems=loop.controller.trust_problems,
        services=loop.controller.projection.results,
        awaited=Acknowledgement(),
        lagging=(),
        published=None,
        published_at=None,
        soonest_leaf=None,
        now=loop.clock.now(),
    )


def test_every_trust_domain_is_told_the_own_one_first(loop: ControlLoop) -> None:
    """A peer with its bundle and what it says of ours, one that said nothing, in the order of their names."""
    own, north, west = trust_report(picture(loop)).domains
    assert (own.trust_domain, own.own, own.source, own.trusted) == ("east.test", True, "built-in CA", True)
    assert [(one.id, one.state) for one in own.authorities] == [(loop.authority.state.slots[0].short_id, "signing")]
    assert (north.cluster, north.trusted, north.sequence, north.authorities, north.acknowledged) == (
        NORTH,
        False,
        None,
        (),
        None,
    )
    assert (west.cluster, west.trusted, west.sequence, west.acknowledged, west.state) == (WEST, True, 5, 3, "Live")
    assert [one.id for one in west.authorities] == [authority_id(ca_of(WEST).der)]


def test_services_that_would_be_lost_are_named(loop: ControlLoop) -> None:
    """Those that a peer backs, and those of them that nobody else does."""
    west = trust_report(picture(loop)).domains[2]
    assert (west.services, west.sole) == (("demo/echo",), ("demo/echo",))
    loop.own({ECHO: exported_state(endpoint_slice(endpoint()))})
    loop.step()
    west = trust_report(picture(loop)).domains[2]
    assert (west.services, west.sole) == (("demo/echo",), ())


def test_a_refused_bundle_comes_with_its_reason(loop: ControlLoop) -> None:
    """The last good stays in force, and why the newest is not is told at its trust domain."""
    loop.say(WEST, bundle(WEST, sequence=4))
    loop.step()
    west = trust_report(picture(loop)).domains[2]
    assert (west.sequence, west.trusted, "SequenceWentBack" in west.problem) == (5, True, True)


def test_a_ca_elsewhere_has_authorities_and_no_rotation(loop: ControlLoop) -> None:
    """Then all that is known of the own CA is its bundle."""
    report = trust_report(replace(picture(loop), state=None, source="a file"))
    assert ([one.state for one in report.domains[0].authorities], report.rotation.step) == (["accepted"], "none")


def test_the_life_of_the_ca_is_told_step_by_step(loop: ControlLoop) -> None:
    """From a taint on: made, published, acknowledged, re-issued, gone."""
    authority, now = loop.authority, loop.clock.now()
    told: list[tuple[RotationReport, list[str]]] = []

    def tell(**known: object) -> None:
        report = trust_report(replace(picture(loop), **known))
        told.append((report.rotation, [one.state for one in report.domains[0].authorities]))

    tell()
    authority.taint(None, now)
    tell()
    authority.tick(now)
    tell()
    authority.mark_published(authority.bundle().sequence, now)
    tell(awaited=Acknowledgement(lacking=(WEST,), unknown=(NORTH,)), lagging=("node",))
    tell()
    old: CaState = authority.state
    authority.tick(now, Reach(unknown=False))
    tell(lagging=("node",))
    assert old.current is not None
    authority.tick(now, Reach(reissued=frozenset({old.current.id})))
    tell()
    assert told == [
        (RotationReport("none"), ["signing"]),
        (RotationReport("prepare"), ["tainted"]),
        (RotationReport("publish"), ["tainted", "next"]),
        (RotationReport("acknowledge", (WEST, NORTH, "node")), ["tainted", "next"]),
        (RotationReport("wait"), ["tainted", "next"]),
        (RotationReport("reissue", ("node",)), ["signing", "tainted"]),
        (RotationReport("none"), ["signing"]),
    ]


def test_a_rotation_that_is_not_urgent_names_only_whom_it_waits_for(loop: ControlLoop) -> None:
    """Peers that don't say have their time, which passes by itself."""
    loop.authority.request_rotation(loop.clock.now())
    loop.authority.tick(loop.clock.now())
    loop.authority.mark_published(loop.authority.bundle().sequence, loop.clock.now())
    report = trust_report(replace(picture(loop), awaited=Acknowledgement(unknown=(NORTH,))))
    assert report.rotation == RotationReport("wait")


def test_numbers_are_read_from_it(loop: ControlLoop) -> None:
    """Life left of the own CA by state and of each peer's bundle, and what peers acknowledge."""
    loop.clock.advance(HOUR)
    report = trust_report(picture(loop))
    assert own_seconds_left(report) == {"signing": 23 * 3600.0}
    assert peers_seconds_left(report) == {WEST: 23 * 3600.0}
    assert peers_acknowledged(report) == {WEST: 3}
