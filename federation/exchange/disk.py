"""ReplicaDisk: the last good word of every peer on disk, so that a restart without the exchange still serves.

One file per peer: the signed snapshot as it was accepted, then the signed batches applied since, appended as
they come. What is kept is what the member signed, and it is verified again when it is loaded: a changed file
is refused like a changed message, a torn last entry is left out. The file's time says when it was last known
to be current. Beside it lies the newest lease that was accepted. The publisher's last epoch is kept here too.
No decisions: replica and publisher take them.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from federation.exchange.base import StoredSnapshot
from federation.model.names import ClusterId
from federation.model.records import Version
from federation.model.wire import UNREADABLE
from federation.storage.private_file import replace_private

_MAGIC = b"federation-replica-1\n"
_SUFFIX = ".replica"
_LEASE_SUFFIX = ".lease"
_LENGTH = struct.Struct(">I")
_HEAD = struct.Struct(">QQ")


@dataclass(frozen=True, slots=True)
class SavedReplica:
    """What the disk holds of one peer, unverified."""

    snapshot: StoredSnapshot
    batches: tuple[bytes, ...]
    """In the order they were applied."""
    saved_at: datetime
    """When this was last known to be current, UTC."""


class _Base(msgspec.Struct, array_like=True):
    manifest: bytes
    shards: dict[int, bytes]


class ReplicaDisk:
    """The files of one controller in ``directory`` (created; 0700, files 0600). OSError is the caller's."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._directory = directory

    def load(self, cluster: ClusterId) -> SavedReplica | None:
        """What was saved of ``cluster``; None where there is nothing, or nothing readable."""
        path = self._path(cluster)
        try:
            data = path.read_bytes()
            saved_at = datetime.fromtimestamp(path.stat().st_mtime, UTC)
        except FileNotFoundError:
            return None
        entries, length = _parse(data)
        try:
            base = msgspec.msgpack.decode(entries[0][1] if entries else b"", type=_Base)
        except UNREADABLE:
            return None
        if length < len(data):
            # What is appended next must not follow a torn entry.
            os.truncate(path, length)
            os.utime(path, (saved_at.timestamp(), saved_at.timestamp()))
        batches = tuple(blob for _, blob in entries[1:])
        return SavedReplica(StoredSnapshot(base.manifest, base.shards), batches, saved_at)

    def save(self, cluster: ClusterId, version: Version, snapshot: StoredSnapshot) -> None:
        """Make ``snapshot``, accepted as ``version``, all that is saved."""
        self._write(cluster, version, snapshot, ())

    def rebase(self, cluster: ClusterId, version: Version, snapshot: StoredSnapshot) -> None:
        """Put ``snapshot``, verified as ``version``, under the saved batches that are later."""
        path = self._path(cluster)
        entries, _ = _parse(path.read_bytes() if path.exists() else b"")
        tail = [(at, blob) for at, blob in entries[1:] if at.epoch == version.epoch and at > version]
        self._write(cluster, version, snapshot, tail)

    def append(self, cluster: ClusterId, batches: Mapping[Version, bytes]) -> int:
        """Add applied batches; returns the size of the file in bytes, 0 where no snapshot was saved yet.

        Not forced to the platter: a loss of power may cost the last seconds, which the exchange still has.
        """
        path = self._path(cluster)
        if not path.exists():
            return 0
        data = b"".join(_frame(at, blob) for at, blob in batches.items())
        with path.open("ab", buffering=0) as file:
            end = file.tell()
            if file.write(data) < len(data):
                # What is appended next must not follow a torn entry.
                file.truncate(end)
                raise OSError(f"{path.name} has no room for {len(data)} bytes")
            return end + len(data)

    def keep(self, cluster: ClusterId, batches: int) -> None:
        """Forget all saved batches but the first ``batches``: what is appended next must not follow a refused one."""
        path = self._path(cluster)
        entries, _ = _parse(path.read_bytes())
        saved = path.stat()
        replace_private(path, _MAGIC + b"".join(_frame(at, blob) for at, blob in entries[: 1 + batches]))
        os.utime(path, ns=(saved.st_atime_ns, saved.st_mtime_ns))

    def confirm(self, cluster: ClusterId, now: datetime) -> None:
        """What is saved of ``cluster`` is what it says ``now``."""
        path = self._path(cluster)
        if path.exists():
            os.utime(path, (now.timestamp(), now.timestamp()))

    def load_lease(self, cluster: ClusterId) -> bytes | None:
        """The lease that was saved of ``cluster``, unverified; None where there is none."""
        try:
            return self._lease_path(cluster).read_bytes()
        except FileNotFoundError:
            return None

    def save_lease(self, cluster: ClusterId, blob: bytes) -> None:
        """Remember the newest lease accepted of ``cluster``.

        Not forced to the platter: a loss of power is no worse than a crash just before.
        """
        path = self._lease_path(cluster)
        fresh = path.with_name(f".{path.name}.new")
        fresh.touch(mode=0o600)
        fresh.write_bytes(blob)
        fresh.replace(path)

    def clusters(self) -> frozenset[ClusterId]:
        """The peers of whom something is saved."""
        suffixes = (_SUFFIX, _LEASE_SUFFIX)
        return frozenset(ClusterId(path.stem) for suffix in suffixes for path in self._directory.glob(f"[!.]*{suffix}"))

    def forget(self, cluster: ClusterId) -> None:
        """Delete what was saved of ``cluster``, so that a restart does not bring it back."""
        self._path(cluster).unlink(missing_ok=True)
        self._lease_path(cluster).unlink(missing_ok=True)

    def load_epoch(self) -> int:
        """The last epoch that this member published under; 0 where none is known."""
        try:
            return int((self._directory / "epoch").read_text())
        except (FileNotFoundError, ValueError):
            return 0

    def save_epoch(self, epoch: int) -> None:
        """Remember ``epoch``, before anything is published under it."""
        replace_private(self._directory / "epoch", f"{epoch}\n".encode())

    def _write(
        self, cluster: ClusterId, version: Version, snapshot: StoredSnapshot, tail: Sequence[tuple[Version, bytes]]
    ) -> None:
        base = msgspec.msgpack.encode(_Base(snapshot.manifest, dict(snapshot.shards)))
        content = _MAGIC + b"".join(_frame(at, blob) for at, blob in [(version, base), *tail])
        replace_private(self._path(cluster), content)

    def _path(self, cluster: ClusterId) -> Path:
        return self._directory / f"{cluster}{_SUFFIX}"

    def _lease_path(self, cluster: ClusterId) -> Path:
        return self._directory / f"{cluster}{_LEASE_SUFFIX}"


def _frame(version: Version, blob: bytes) -> bytes:
    return _LENGTH.pack(_HEAD.size + len(blob)) + _HEAD.pack(version.epoch, version.seq) + blob


def _parse(data: bytes) -> tuple[list[tuple[Version, bytes]], int]:
    """The whole entries, base first, and where they end."""
    entries: list[tuple[Version, bytes]] = []
    if not data.startswith(_MAGIC):
        return entries, len(data)
    end = len(_MAGIC)
    while end + _LENGTH.size <= len(data):
        (length,) = _LENGTH.unpack_from(data, end)
        start = end + _LENGTH.size
        if length < _HEAD.size or start + length > len(data):
            break
        end = start + length
        entries.append((Version(*_HEAD.unpack_from(data, start)), data[start + _HEAD.size : end]))
    return entries, end
