"""The disk keeps what was signed, whole or not at all."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from federation.exchange.base import StoredSnapshot
from federation.exchange.disk import ReplicaDisk
from federation.model.names import ClusterId
from federation.model.records import Version

EAST = ClusterId("east")
SNAPSHOT = StoredSnapshot(b"manifest", {3: b"three"})


@pytest.fixture
def disk(tmp_path: Path) -> ReplicaDisk:
    return ReplicaDisk(tmp_path / "state")


def saved(disk: ReplicaDisk) -> tuple[StoredSnapshot, tuple[bytes, ...]] | None:
    found = disk.load(EAST)
    return None if found is None else (found.snapshot, found.batches)


def test_what_was_saved_is_loaded(disk: ReplicaDisk) -> None:
    """A snapshot and the batches after it come back in order."""
    assert saved(disk) is None
    disk.save(EAST, Version(1, 5), SNAPSHOT)
    disk.append(EAST, {Version(1, 6): b"six", Version(1, 7): b"seven"})
    assert saved(disk) == (SNAPSHOT, (b"six", b"seven"))


def test_batches_need_a_snapshot_under_them(disk: ReplicaDisk) -> None:
    """Nothing is appended where no snapshot was saved."""
    assert disk.append(EAST, {Version(1, 6): b"six"}) == 0
    assert saved(disk) is None


def test_a_newer_snapshot_keeps_the_batches_after_it(disk: ReplicaDisk) -> None:
    """The base moves up; older batches, and those of other epochs, go."""
    disk.save(EAST, Version(1, 5), SNAPSHOT)
    disk.append(EAST, {Version(1, 6): b"six", Version(1, 7): b"seven"})
    newer = StoredSnapshot(b"newer", {})
    disk.rebase(EAST, Version(1, 6), newer)
    assert saved(disk) == (newer, (b"seven",))
    disk.rebase(EAST, Version(2, 0), SNAPSHOT)
    assert saved(disk) == (SNAPSHOT, ())


def test_a_torn_entry_is_left_out_for_good(disk: ReplicaDisk, tmp_path: Path) -> None:
    """A crash within an append costs that entry only, and later ones are read."""
    disk.save(EAST, Version(1, 5), SNAPSHOT)
    disk.append(EAST, {Version(1, 6): b"six", Version(1, 7): b"seven"})
    path = tmp_path / "state" / "east.replica"
    path.write_bytes(path.read_bytes()[:-2])
    assert saved(disk) == (SNAPSHOT, (b"six",))
    disk.append(EAST, {Version(1, 7): b"again"})
    assert saved(disk) == (SNAPSHOT, (b"six", b"again"))


def test_refused_batches_make_room_for_the_true_ones(disk: ReplicaDisk) -> None:
    """What was saved after a batch that is refused goes with it, and what comes next stands where it stood."""
    disk.save(EAST, Version(1, 5), SNAPSHOT)
    disk.append(EAST, {Version(1, 6): b"six", Version(1, 7): b"damaged", Version(1, 8): b"eight"})
    disk.confirm(EAST, datetime(2026, 1, 1, tzinfo=UTC))
    disk.keep(EAST, 1)
    found = disk.load(EAST)
    assert found is not None
    assert found.saved_at == datetime(2026, 1, 1, tzinfo=UTC)
    disk.append(EAST, {Version(1, 7): b"seven"})
    assert saved(disk) == (SNAPSHOT, (b"six", b"seven"))


@pytest.mark.parametrize("data", [b"", b"junk", b"federation-replica-1\n", b"federation-replica-1\n\0\0\0\xff"])
def test_an_unreadable_file_is_as_good_as_none(disk: ReplicaDisk, tmp_path: Path, data: bytes) -> None:
    """What is not our file, or not whole, is not loaded, and can be replaced."""
    (tmp_path / "state" / "east.replica").write_bytes(data)
    assert saved(disk) is None
    disk.save(EAST, Version(1, 5), SNAPSHOT)
    assert saved(disk) == (SNAPSHOT, ())


def test_nobody_else_may_read(disk: ReplicaDisk, tmp_path: Path) -> None:
    """The directory is 0700, each file 0600, and nothing unfinished stays behind."""
    disk.save(EAST, Version(1, 5), SNAPSHOT)
    disk.save_lease(EAST, b"lease")
    disk.save_epoch(7)
    directory = tmp_path / "state"
    assert directory.stat().st_mode & 0o777 == 0o700
    modes = {path.name: path.stat().st_mode & 0o777 for path in directory.iterdir()}
    assert modes == {"east.lease": 0o600, "east.replica": 0o600, "epoch": 0o600}


def test_the_last_lease_is_kept(disk: ReplicaDisk) -> None:
    """A newer lease takes the place of the one before, whether or not anything else was saved of the member."""
    assert disk.load_lease(EAST) is None
    disk.save_lease(EAST, b"a longer one")
    disk.save_lease(EAST, b"newer")
    assert disk.load_lease(EAST) == b"newer"
    assert disk.load(EAST) is None
    assert disk.clusters() == {EAST}


def test_the_age_is_that_of_the_last_confirmation(disk: ReplicaDisk, tmp_path: Path) -> None:
    """A confirmed file is as old as its confirmation, also after a torn entry was cut off."""
    disk.save(EAST, Version(1, 5), SNAPSHOT)
    at = datetime(2026, 5, 6, 7, 8, tzinfo=UTC)
    disk.confirm(ClusterId("nobody"), at)
    path = tmp_path / "state" / "east.replica"
    path.write_bytes(path.read_bytes() + b"torn")
    disk.confirm(EAST, at)
    for _ in range(2):
        found = disk.load(EAST)
        assert found is not None
        assert found.saved_at == at


def test_the_epoch_is_remembered(disk: ReplicaDisk, tmp_path: Path) -> None:
    """The last epoch comes back; an unreadable one counts as none."""
    assert disk.load_epoch() == 0
    disk.save_epoch(1_700_000_000_000)
    assert disk.load_epoch() == 1_700_000_000_000
    (tmp_path / "state" / "epoch").write_text("junk")
    assert disk.load_epoch() == 0


def test_a_failed_write_leaves_the_old_file(disk: ReplicaDisk, monkeypatch: pytest.MonkeyPatch) -> None:
    """What can't be written whole replaces nothing."""
    disk.save(EAST, Version(1, 5), SNAPSHOT)

    def full(_: int) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="no space"):
        disk.save(EAST, Version(1, 6), StoredSnapshot(b"newer", {}))
    assert saved(disk) == (SNAPSHOT, ())


def test_nothing_is_left_of_a_member_that_is_forgotten(disk: ReplicaDisk, tmp_path: Path) -> None:
    """Its files are gone, the others and the epoch stay; to forget it again is no error."""
    west = ClusterId("west")
    disk.save_epoch(7)
    for cluster in (EAST, west):
        disk.save(cluster, Version(1, 5), SNAPSHOT)
        disk.save_lease(cluster, b"lease")
    assert disk.clusters() == {EAST, west}
    disk.forget(EAST)
    disk.forget(EAST)
    assert (disk.clusters(), saved(disk), disk.load_epoch()) == ({west}, None, 7)
    assert sorted(path.name for path in (tmp_path / "state").iterdir()) == ["epoch", "west.lease", "west.replica"]
