"""The own bundle in a file, as volumes of Kubernetes are mounted."""

from __future__ import annotations

from pathlib import Path

import pytest

from federation.model.errors import TrustError
from trustbundle.bundle_file import read_bundle_file
from trustbundle.external import MAX_CONTENT_BYTES


def test_a_swap_of_the_mounted_data_is_seen(tmp_path: Path) -> None:
    """The file is a link into ..data, which is a link that is replaced: what is read is what it leads to now."""
    for version in ("one", "two"):
        (tmp_path / f"..{version}").mkdir()
        (tmp_path / f"..{version}" / "root.pem").write_text(version)
    (tmp_path / "..data").symlink_to("..one")
    (tmp_path / "root.pem").symlink_to("..data/root.pem")

    before = read_bundle_file(tmp_path / "root.pem")
    (tmp_path / "..data_tmp").symlink_to("..two")
    (tmp_path / "..data_tmp").replace(tmp_path / "..data")

    assert (before, read_bundle_file(tmp_path / "root.pem")) == (b"one", b"two")


def test_a_file_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    """No file is not an empty bundle."""
    with pytest.raises(TrustError) as caught:
        read_bundle_file(tmp_path / "root.pem")

    assert caught.value.reason == "Unreadable"


def test_no_more_is_read_than_shows_that_it_is_too_much(tmp_path: Path) -> None:
    """A file of any size costs no more memory than the largest bundle."""
    path = tmp_path / "root.pem"
    path.write_bytes(bytes(3 * MAX_CONTENT_BYTES))

    assert len(read_bundle_file(path)) == MAX_CONTENT_BYTES + 1
