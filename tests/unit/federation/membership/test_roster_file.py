"""The roster on a member's disk: what was believed is believed again, what was damaged is not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from federation.membership.roster import Roster, hand_over, open_roster, sign_roster
from federation.membership.roster_file import RosterFile
from federation.model.errors import TrustError
from federation.model.names import ClusterId
from support.membership_values import CLUSTERSET, EAST, key, public, roster_member

ROSTER = Roster(CLUSTERSET, 1, EAST, (roster_member(EAST),))
KNOWN = open_roster(sign_roster(ROSTER, key("a")), CLUSTERSET, public("a"))


def refusal(file: RosterFile) -> TrustError:
    with pytest.raises(TrustError) as caught:
        file.load()
    return caught.value


def test_nothing_was_saved(tmp_path: Path) -> None:
    """A cluster that never joined has no roster."""
    assert RosterFile(tmp_path / "state").load() is None


def test_what_was_saved_is_loaded(tmp_path: Path) -> None:
    """The roster comes back with the key that signs now, in a file that only its owner reads."""
    file = RosterFile(tmp_path / "state")
    for roster, signer in (
        (ROSTER, "a"),
        (replace(ROSTER, serial=2, handovers=(hand_over(CLUSTERSET, key("a"), key("b")),)), "b"),
    ):
        known = open_roster(sign_roster(roster, key(signer)), CLUSTERSET, public("a"))
        file.save(known)
        assert file.load() == known
        assert file.path.stat().st_mode & 0o777 == 0o600
    assert [file.path] == list(file.path.parent.iterdir())


def test_a_large_roster(tmp_path: Path) -> None:
    """A roster of two thousand members fits."""
    members = tuple(roster_member(ClusterId(f"c{number:04}")) for number in range(2000))
    known = open_roster(sign_roster(replace(ROSTER, members=members), key("a")), CLUSTERSET, public("a"))
    file = RosterFile(tmp_path)
    file.save(known)
    assert file.path.stat().st_size > 64 * 1024
    assert file.load() == known


def test_every_cut_is_noticed(tmp_path: Path) -> None:
    """A file that is not whole is refused with what to do, wherever it was cut."""
    file = RosterFile(tmp_path)
    file.save(KNOWN)
    content = file.path.read_bytes()
    for length in range(len(content)):
        file.path.write_bytes(content[:length])
        error = refusal(file)
        assert error.reason == "RosterCorrupt"
        assert error.hint == "restore it from a backup, or let the cluster join again"


def test_every_change_is_noticed(tmp_path: Path) -> None:
    """No byte of the file may differ, also none of the key that it names."""
    file = RosterFile(tmp_path)
    file.save(KNOWN)
    content = file.path.read_bytes()
    for at in range(len(content)):
        file.path.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
        assert refusal(file).reason == "RosterCorrupt"


def test_a_file_that_others_can_write(tmp_path: Path) -> None:
    """Who can write the file could name another authority: such a file is not believed."""
    file = RosterFile(tmp_path)
    file.save(KNOWN)
    file.path.chmod(0o660)
    error = refusal(file)
    assert error.reason == "WideMode"
    assert f"chmod 600 {file.path}" in error.hint


def test_a_file_that_is_none(tmp_path: Path) -> None:
    """What can't be read is told as such."""
    (tmp_path / "roster").mkdir()
    assert refusal(RosterFile(tmp_path)).reason == "Unusable"


def test_a_crash_while_saving(tmp_path: Path) -> None:
    """What a crash left beside the file disturbs neither loading nor saving."""
    file = RosterFile(tmp_path)
    file.save(KNOWN)
    (tmp_path / ".roster.new").write_bytes(b"half")
    assert file.load() == KNOWN
    file.save(KNOWN)
    assert file.load() == KNOWN
