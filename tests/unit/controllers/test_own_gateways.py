"""What the others are told of the own gateways, and by which revision."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from controllers.drains import Drains
from controllers.journal import Journal
from controllers.own_gateways import OwnGateways
from federation.model.addresses import HostPort
from support.clock import ManualClock
from support.control import settings

ONE = HostPort("127.0.0.1", 15443)


def test_only_what_concerns_a_drain_has_a_revision(tmp_path: Path) -> None:
    """It grows with every step, also one that undoes it; what was never drained has none."""
    clock, journal = ManualClock(), Journal(tmp_path)
    gateways = OwnGateways(settings(tmp_path), journal, clock)
    assert (gateways.tell().revision, gateways.changed) == (0, False)
    journal.drain(Drains(leaving=frozenset({ONE})))
    assert gateways.changed
    drained = gateways.tell()
    assert (drained.is_drained, drained.revision) == (True, int(clock.now().timestamp() * 1000))
    assert gateways.tell() == drained
    journal.drain(Drains())
    back = gateways.tell()
    assert (back.drained, back.revision) == ((), drained.revision + 1)


def test_a_drain_lasts_over_a_restart(tmp_path: Path) -> None:
    """It goes on where time has brought it, under a revision of its own."""
    clock, journal = ManualClock(), Journal(tmp_path)
    gateways = OwnGateways(settings(tmp_path), journal, clock)
    journal.drain(Drains().order(None, 0, clock.now(), timedelta(minutes=9)))
    before = gateways.tell()
    journal.save()
    clock.advance(timedelta(minutes=4))
    again = Journal(tmp_path)
    assert again.drains == journal.drains
    after = OwnGateways(settings(tmp_path), again, clock).tell()
    assert (before.share, after.share, after.revision > before.revision) == (90, 50, True)


def test_a_gateways_own_order_and_its_absence_are_kept(tmp_path: Path) -> None:
    """Both come back from the journal as they were."""
    clock, journal = ManualClock(), Journal(tmp_path)
    drains = replace(Drains().order(ONE, 0, clock.now(), timedelta(seconds=90)), leaving=frozenset({ONE}))
    journal.drain(drains)
    journal.save()
    other = Journal(tmp_path)
    assert other.drains == drains
    journal.drain(Drains())
    journal.save()
    other.reload()
    assert other.drains == Drains()
