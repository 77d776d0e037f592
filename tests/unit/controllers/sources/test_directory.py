"""Reading a directory: which files are manifests, which are read again, and what can't be read."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from controllers.sources import directory as module
from controllers.sources.directory import DirectoryReader
from controllers.sources.manifest_store import Reading


def reader_of(directory: Path) -> DirectoryReader:
    return DirectoryReader(directory, excluded=(directory / "state", directory / "tokens"))


def write(directory: Path, *names: str, text: str = "x") -> None:
    for name in names:
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def test_manifests_are_yaml_and_json_anywhere_below(tmp_path: Path) -> None:
    """Settings at the top, sidecars, what the controller writes and what is hidden are no manifests."""
    manifests = {"a.yaml", "b.yml", "c.json", "d/e.yaml", "d/cluster.yaml", "d/state/f.yaml", "sidecars/g.json"}
    others = {
        "cluster.yaml", "sidecar.yaml", "d/sidecar-echo.yaml", "state/a.yaml", "state/deep/a.yaml", "tokens/b.json",
        ".hidden/a.yaml", ".a.yaml", "README.md", "a.yaml.bak", "d/.a.yaml.swp", "yaml",
    }  # fmt: skip
    write(tmp_path, *manifests, *others)

    reading = reader_of(tmp_path).read()

    assert reading.present == manifests
    assert set(reading.texts) == manifests


def test_only_what_changed_is_given_again(tmp_path: Path) -> None:
    """The second reading has the new and the changed file; that one is gone shows in what is present."""
    write(tmp_path, "a.yaml", "b.yaml", "c.yaml")
    reader = reader_of(tmp_path)
    reader.read()

    write(tmp_path, "b.yaml", text="longer")
    write(tmp_path, "d.yaml", text="new")
    (tmp_path / "c.yaml").unlink()

    assert reader.read() == Reading({"b.yaml": b"longer", "d.yaml": b"new"}, frozenset({"a.yaml", "b.yaml", "d.yaml"}))
    assert reader.read().texts == {}


def keep_stamp(path: Path, text: str) -> None:
    """Change a file in place without a trace in its stamp, as two writes within one tick of the file system do."""
    before = path.stat()
    path.write_text(text)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def test_a_second_write_within_one_tick_is_seen(tmp_path: Path) -> None:
    """A stamp is trusted only after two readings with the same content."""
    write(tmp_path, "a.yaml", text="1")
    reader = reader_of(tmp_path)
    reader.read()
    keep_stamp(tmp_path / "a.yaml", "2")

    assert reader.read().texts == {"a.yaml": b"2"}


def test_a_trusted_stamp_saves_reading_but_a_hint_overrules_it(tmp_path: Path) -> None:
    """A file that the watch saw being touched is read whatever its stamp says."""
    write(tmp_path, "a.yaml", text="1")
    reader = reader_of(tmp_path)
    reader.read()
    reader.read()
    keep_stamp(tmp_path / "a.yaml", "2")

    assert reader.read().texts == {}
    assert reader.read({"a.yaml"}).texts == {"a.yaml": b"2"}


def test_a_file_that_comes_back_is_given_again(tmp_path: Path) -> None:
    """However equal it is: who took the reading has dropped it meanwhile."""
    write(tmp_path, "a.yaml")
    reader = reader_of(tmp_path)
    reader.read()
    (tmp_path / "a.yaml").rename(tmp_path / "a.gone")
    reader.read()
    (tmp_path / "a.gone").rename(tmp_path / "a.yaml")

    assert reader.read().texts == {"a.yaml": b"x"}


def test_a_missing_directory_is_unknown_not_empty(tmp_path: Path) -> None:
    """That nothing can be seen says nothing about what there is."""
    reading = reader_of(tmp_path / "none").read()

    assert reading.unreadable_directories == {".": "no such file or directory"}
    assert not reading.is_absent("a.yaml")


def test_special_and_huge_files_are_not_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pipe would block for ever, a huge file fill the memory: both are present and unreadable."""
    monkeypatch.setattr(module, "MAX_FILE_BYTES", 3)
    os.mkfifo(tmp_path / "pipe.yaml")
    write(tmp_path, "huge.yaml", text="1234")
    write(tmp_path, "fits.yaml", text="123")

    reading = reader_of(tmp_path).read()

    assert set(reading.texts) == {"fits.yaml"}
    assert reading.present == {"fits.yaml", "huge.yaml", "pipe.yaml"}
    assert reading.unreadable_files == {"huge.yaml": "larger than 32 MiB", "pipe.yaml": "not a regular file"}


def refuse(monkeypatch: pytest.MonkeyPatch, method: str, *paths: Path) -> None:
    """Make an operation fail on some paths as for lack of permission: file modes don't stop root."""
    real = getattr(module.os if method == "scandir" else Path, method)

    def failing(path: Path, *arguments: object, **options: object) -> object:
        if Path(path) in paths:
            raise PermissionError(13, "Permission denied")
        return real(path, *arguments, **options)

    monkeypatch.setattr(module.os if method == "scandir" else Path, method, failing)


def test_what_can_not_be_opened_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file or directory without permission is unreadable, its neighbours are read; permission brings it back."""
    write(tmp_path, "a.yaml", "b.yaml", "d/c.yaml")
    reader = reader_of(tmp_path)
    with monkeypatch.context() as patch:
        refuse(patch, "open", tmp_path / "a.yaml")
        refuse(patch, "scandir", tmp_path / "d")

        assert reader.read() == Reading(
            {"b.yaml": b"x"},
            frozenset({"a.yaml", "b.yaml"}),
            {"a.yaml": "permission denied"},
            {"d": "permission denied"},
        )

    assert set(reader.read().texts) == {"a.yaml", "d/c.yaml"}


def test_a_file_deleted_beside_an_unreadable_directory_comes_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is unknown elsewhere doesn't keep what is known to be absent."""
    write(tmp_path, "a.yaml", "d/c.yaml")
    reader = reader_of(tmp_path)
    reader.read()
    (tmp_path / "a.yaml").unlink()
    with monkeypatch.context() as patch:
        refuse(patch, "scandir", tmp_path / "d")
        reader.read()
    write(tmp_path, "a.yaml")

    assert reader.read().texts == {"a.yaml": b"x"}


def test_a_file_that_vanishes_before_it_is_read_was_never_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between listing and reading there is always time for a deletion."""
    write(tmp_path, "a.yaml", "b.yaml")
    real = Path.open

    def vanishing(path: Path, *arguments: object, **options: object) -> object:
        if path.name == "a.yaml":
            path.unlink()
        return real(path, *arguments, **options)  # type: ignore[call-overload]

    monkeypatch.setattr(Path, "open", vanishing)

    assert reader_of(tmp_path).read() == Reading({"b.yaml": b"x"}, frozenset({"b.yaml"}))


def test_links_are_followed_once(tmp_path: Path) -> None:
    """Linked files and directories are read; a dangling link is no file; a circle of links ends."""
    write(tmp_path / "elsewhere", "a.yaml", "d/b.yaml")
    top = tmp_path / "top"
    top.mkdir()
    (top / "a.yaml").symlink_to(tmp_path / "elsewhere/a.yaml")
    (top / "dangling.yaml").symlink_to(tmp_path / "nothing")
    (top / "d").symlink_to(tmp_path / "elsewhere/d")
    (top / "twice").symlink_to(tmp_path / "elsewhere/d")
    (tmp_path / "elsewhere/d/circle").symlink_to(top)
    (top / "self.yaml").symlink_to(top / "self.yaml")

    reading = reader_of(top).read()

    assert set(reading.texts) == {"a.yaml", "d/b.yaml"}
    assert set(reading.unreadable_files) == {"self.yaml"}


def test_a_swapped_link_is_seen(tmp_path: Path) -> None:
    """A mounted ConfigMap changes by one link, which stamps of the files behind it show."""
    for version in ("1", "2"):
        write(tmp_path, f"..{version}/a.yaml", text=version)
    (tmp_path / "..data").symlink_to("..1")
    (tmp_path / "a.yaml").symlink_to("..data/a.yaml")
    reader = reader_of(tmp_path)
    first = reader.read()

    (tmp_path / "..new").symlink_to("..2")
    (tmp_path / "..new").rename(tmp_path / "..data")

    assert first.texts == {"a.yaml": b"1"}
    assert reader.read().texts == {"a.yaml": b"2"}


def test_some_files_are_looked_at_alone(tmp_path: Path) -> None:
    """Whatever their stamps say; those that are no manifests count as absent, all others are unknown."""
    write(tmp_path, "a.yaml", "b.yaml", "c.yaml", "cluster.yaml", "d.yaml/e.yaml")
    reader = reader_of(tmp_path)
    reader.read()
    reader.read()
    keep_stamp(tmp_path / "a.yaml", "y")
    (tmp_path / "b.yaml").unlink()
    write(tmp_path, "c.yaml", text="longer")
    names = {"a.yaml", "b.yaml", "cluster.yaml", "d.yaml"}

    reading = reader.read_files(names)

    assert reading == Reading({"a.yaml": b"y"}, frozenset({"a.yaml"}), looked_at=frozenset(names))
    assert [name for name in ("a.yaml", "b.yaml", "c.yaml", "d.yaml/e.yaml") if reading.is_absent(name)] == ["b.yaml"]
    assert set(reader.read().texts) == {"c.yaml"}


def test_a_single_file_that_comes_back_is_given_again(tmp_path: Path) -> None:
    """However equal it is."""
    write(tmp_path, "a.yaml")
    reader = reader_of(tmp_path)
    reader.read()
    (tmp_path / "a.yaml").unlink()
    reader.read_files({"a.yaml"})
    write(tmp_path, "a.yaml")

    assert reader.read_files({"a.yaml"}).texts == {"a.yaml": b"x"}


def test_a_single_file_that_is_special_is_unreadable(tmp_path: Path) -> None:
    """As in a look at the whole."""
    os.mkfifo(tmp_path / "pipe.yaml")

    assert reader_of(tmp_path).read_files({"pipe.yaml"}).unreadable_files == {"pipe.yaml": "not a regular file"}


def test_files_that_went_with_the_whole_directory_are_unknown(tmp_path: Path) -> None:
    """They are not taken for deleted."""
    write(tmp_path, "top/a.yaml")
    reader = reader_of(tmp_path / "top")
    reader.read()
    (tmp_path / "top").rename(tmp_path / "away")

    assert reader.read_files({"a.yaml"}) == Reading({}, frozenset(), looked_at=frozenset())


def test_directories_are_entered_before_they_are_listed(tmp_path: Path) -> None:
    """So that a watch set meanwhile misses nothing; what is excluded or hidden is never entered."""
    write(tmp_path, "d/e/a.yaml", "state/a.yaml", ".hidden/a.yaml")

    def enter(name: str) -> None:
        entered.append(name)
        write(tmp_path / name, "late.yaml")

    entered: list[str] = []
    reading = reader_of(tmp_path).read((), enter)

    assert entered == ["", "d", "d/e"]
    assert reading.present == {"late.yaml", "d/late.yaml", "d/e/late.yaml", "d/e/a.yaml"}


def test_sizes_are_those_of_the_moment(tmp_path: Path) -> None:
    """A file that isn't there has none."""
    write(tmp_path, "a.yaml", "b.yaml", text="123")

    assert reader_of(tmp_path).size_of({"a.yaml", "b.yaml", "none.yaml"}) == 6
