"""Private files: created for the owner alone, refused when wider."""

from __future__ import annotations

import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from federation.storage.private_file import WideModeError, create_private, read_private, replace_private


def test_created_for_the_owner_alone(tmp_path: Path) -> None:
    """A new private file has mode 0600 whatever the umask, and reads back."""
    before = os.umask(0)
    try:
        create_private(tmp_path / "key", b"content")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "key").stat().st_mode) == 0o600
    assert read_private(tmp_path / "key") == b"content"


def test_never_overwritten(tmp_path: Path) -> None:
    """An existing file is left as it is."""
    create_private(tmp_path / "key", b"first")
    with pytest.raises(FileExistsError):
        create_private(tmp_path / "key", b"second")
    assert read_private(tmp_path / "key") == b"first"


def test_no_more_is_read_than_asked_for(tmp_path: Path) -> None:
    """A file of another size than a key's is read as far as its reader says, its mode checked all the same."""
    create_private(tmp_path / "ledger", bytes(100_000))
    lengths = [len(read_private(tmp_path / "ledger")), *(len(read_private(tmp_path / "ledger", n)) for n in (7, 10**6))]
    assert lengths == [64 * 1024, 7, 100_000]
    (tmp_path / "ledger").chmod(0o640)
    with pytest.raises(WideModeError):
        read_private(tmp_path / "ledger", 7)


@pytest.mark.parametrize("mode", [0o640, 0o620, 0o604, 0o602])
def test_wide_mode(tmp_path: Path, mode: int) -> None:
    """A file that a group or the world can read or write is refused, also through a link."""
    create_private(tmp_path / "key", b"content")
    (tmp_path / "key").chmod(mode)
    (tmp_path / "link").symlink_to("key")
    for name in ("key", "link"):
        with pytest.raises(WideModeError, match="must not be wider than 0600"):
            read_private(tmp_path / name)


def test_replaced_whole_for_the_owner_alone(tmp_path: Path) -> None:
    """What replaces a file has mode 0600, whatever the old one had and a crash left behind."""
    (tmp_path / "key").write_bytes(b"first")
    (tmp_path / "key").chmod(0o644)
    (tmp_path / ".key.new").write_bytes(b"torn")
    replace_private(tmp_path / "key", b"second")
    assert read_private(tmp_path / "key") == b"second"
    assert [path.name for path in tmp_path.iterdir()] == ["key"]


def test_two_who_write_one_file_write_one_after_the_other(tmp_path: Path) -> None:
    """Neither takes away what the other is writing, and what is there at the end is one of the two, whole."""
    path = tmp_path / "file"
    contents = [bytes([number]) * 50_000 for number in range(4)]
    with ThreadPoolExecutor(len(contents)) as pool:
        for done in [pool.submit(replace_private, path, content) for _ in range(10) for content in contents]:
            done.result()

    assert path.read_bytes() in contents
    assert [one.name for one in tmp_path.iterdir()] == ["file"]
