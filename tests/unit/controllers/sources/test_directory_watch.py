"""The watch: what wakes it, what doesn't, and that the clock takes over where there are no notifications."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pytest

from controllers.sources import directory_watch as module
from controllers.sources.directory import DirectoryReader
from controllers.sources.directory_watch import DirectoryWatch, Notice
from controllers.sources.notifications import Notifications

DEADLINE_SECONDS = 20
EVERYTHING = Notice(everything=True)


def look(watch: DirectoryWatch, directory: Path) -> None:
    """A round, as the file source makes it."""
    with watch.round() as enter:
        DirectoryReader(directory, excluded=(directory / "state",)).read((), enter)


def watch_of(directory: Path) -> DirectoryWatch:
    watch = DirectoryWatch(directory, excluded=(directory / "state",))
    look(watch, directory)
    return watch


async def woken(watch: DirectoryWatch) -> Notice:
    async with asyncio.timeout(DEADLINE_SECONDS):
        return await watch.wait()


def files(*names: str) -> Notice:
    return Notice(frozenset(names))


@pytest.fixture
def no_repair(monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock is as good as stopped: what returns was notified."""
    monkeypatch.setattr(module, "REPAIR_SECONDS", 3600.0)


@pytest.mark.usefixtures("no_repair")
async def test_a_change_before_the_first_wait_is_not_missed(tmp_path: Path) -> None:
    """The watch stands from before the listing, so that nothing falls between it and the first reading."""
    with watch_of(tmp_path) as watch:
        (tmp_path / "a.yaml").write_text("x")

        assert await woken(watch) == files("a.yaml")


def write(path: Path) -> None:
    path.write_text("x")


def replace(path: Path) -> None:
    write(path.with_name(".aside"))
    path.with_name(".aside").rename(path)


def link(path: Path) -> None:
    write(path.with_name(".target"))
    path.symlink_to(".target")


def hard_link(path: Path) -> None:
    write(path.with_name(".target"))
    path.hardlink_to(path.with_name(".target"))


@pytest.mark.usefixtures("no_repair")
@pytest.mark.parametrize("change", [write, replace, link, hard_link])
@pytest.mark.parametrize("name", ["a.yaml", "b.yml", "c.json", "d/a.yaml"])
async def test_a_file_that_is_whole_wakes_with_its_name(
    tmp_path: Path, name: str, change: Callable[[Path], None]
) -> None:
    """Manifests at any depth, written, put in place, or linked."""
    (tmp_path / "d").mkdir()
    with watch_of(tmp_path) as watch:
        change(tmp_path / name)

        assert await woken(watch) == files(name)


def unlink(path: Path) -> None:
    path.unlink()


def move_away(path: Path) -> None:
    path.rename(path.with_suffix(".old"))


@pytest.mark.usefixtures("no_repair")
@pytest.mark.parametrize("change", [unlink, move_away])
async def test_a_file_that_went_wakes_with_its_name(tmp_path: Path, change: Callable[[Path], None]) -> None:
    """After it has been gone for long enough."""
    write(tmp_path / "a.yaml")
    with watch_of(tmp_path) as watch:
        change(tmp_path / "a.yaml")

        assert await woken(watch) == files("a.yaml")


@pytest.mark.usefixtures("no_repair")
async def test_a_file_that_comes_back_was_not_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the moment at which it is written again its writer is waited for."""
    monkeypatch.setattr(module, "GONE_SECONDS", 0.0)
    write(tmp_path / "a.yaml")
    with watch_of(tmp_path) as watch:
        move_away(tmp_path / "a.yaml")
        with (tmp_path / "a.yaml").open("w"):
            write(tmp_path / "b.yaml")
            assert await woken(watch) == files("b.yaml")

        assert await woken(watch) == files("a.yaml")


@pytest.mark.usefixtures("no_repair")
async def test_a_renamed_file_wakes_with_both_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At once: where it went is known."""
    monkeypatch.setattr(module, "GONE_SECONDS", 3600.0)
    write(tmp_path / "a.yaml")
    with watch_of(tmp_path) as watch:
        (tmp_path / "a.yaml").rename(tmp_path / "b.yaml")

        assert await woken(watch) == files("a.yaml", "b.yaml")


def make(top: Path) -> None:
    (top / "new").mkdir()


def rename(top: Path) -> None:
    (top / "d").rename(top / "e")


def move_out(top: Path) -> None:
    (top / "d").rename(top.with_name("out"))


def remove(top: Path) -> None:
    shutil.rmtree(top / "d")


def swap_config_map(top: Path) -> None:
    (top / "..new").symlink_to("d")
    (top / "..new").rename(top / "..data")


def link_directory(top: Path) -> None:
    (top / "link.d").symlink_to("d")


def move_linked(top: Path) -> None:
    top.with_name("elsewhere").rename(top.with_name("out"))


def unlink_directory(top: Path) -> None:
    (top / "linked").unlink()


@pytest.mark.usefixtures("no_repair")
@pytest.mark.parametrize(
    "change",
    [make, rename, move_out, remove, swap_config_map, link_directory, move_linked, unlink_directory, shutil.rmtree],
)
async def test_what_concerns_a_directory_wakes_for_everything(tmp_path: Path, change: Callable[[Path], None]) -> None:
    """Directories that come, go or move, and links to them: what is below can't be told by names."""
    top = tmp_path / "top"
    (top / "d").mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    (top / "linked").symlink_to(tmp_path / "elsewhere")
    with watch_of(top) as watch:
        change(top)

        assert await woken(watch) == EVERYTHING


@pytest.mark.usefixtures("no_repair")
@pytest.mark.parametrize(
    "name",
    ["state/a.yaml", ".hidden/a.yaml", ".a.yaml.swp", "envoy.log", "cluster.yaml", "sidecar-x.yaml", "tokens"],
)
async def test_what_concerns_no_manifest_does_not_wake(tmp_path: Path, name: str) -> None:
    """Our own writing to the state directory least of all."""
    (tmp_path / "state").mkdir()
    (tmp_path / ".hidden").mkdir()
    with watch_of(tmp_path) as watch:
        (tmp_path / name).write_text("x")
        (tmp_path / "b.yaml").write_text("x")

        assert await woken(watch) == files("b.yaml")


@pytest.mark.usefixtures("no_repair")
async def test_the_state_directory_itself_does_not_wake(tmp_path: Path) -> None:
    """It may be made while we watch."""
    with watch_of(tmp_path) as watch:
        (tmp_path / "state").mkdir()
        (tmp_path / "b.yaml").write_text("x")

        assert await woken(watch) == files("b.yaml")


@pytest.mark.usefixtures("no_repair")
async def test_a_round_mends_the_watches(tmp_path: Path) -> None:
    """A new directory is watched, one that was moved out is not, one that was renamed has its new name."""
    top = tmp_path / "top"
    for name in ("moved", "renamed"):
        (top / name).mkdir(parents=True)
    with watch_of(top) as watch:
        (top / "new").mkdir()
        (top / "moved").rename(tmp_path / "out")
        (top / "renamed").rename(top / "name")
        assert await woken(watch) == EVERYTHING
        look(watch, top)

        for directory in (tmp_path / "out", top / "name", top / "new"):
            write(directory / "a.yaml")

        assert await woken(watch) == files("name/a.yaml", "new/a.yaml")


async def test_the_clock_wakes_where_nothing_is_notified(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a network file system another host's changes come without notice."""
    monkeypatch.setattr(module, "REPAIR_SECONDS", 0.01)
    with watch_of(tmp_path) as watch:
        assert await woken(watch) == EVERYTHING


async def test_the_clock_wakes_however_much_is_notified(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that is written all the time doesn't put the repair off."""
    monkeypatch.setattr(module, "REPAIR_SECONDS", 0.05)
    with watch_of(tmp_path) as watch:
        async with asyncio.timeout(DEADLINE_SECONDS):
            notice = Notice()
            while not notice.everything:
                write(tmp_path / "a.yaml")
                notice = await watch.wait()


async def test_the_clock_starts_anew_with_each_look(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a look at everything the next one is as far away as ever, and files alone wake until then."""
    monkeypatch.setattr(module, "REPAIR_SECONDS", 0.01)
    with watch_of(tmp_path) as watch:
        assert await woken(watch) == EVERYTHING
        monkeypatch.setattr(module, "REPAIR_SECONDS", 3600.0)
        write(tmp_path / "a.yaml")

        assert await woken(watch) == files("a.yaml")


@pytest.mark.parametrize("error", [OSError(24, "too many open files"), OSError(38, "function not implemented")])
async def test_without_notifications_the_clock_drives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: OSError
) -> None:
    """Where the limit of instances is reached it polls."""

    def refused(*_: object) -> NoReturn:
        raise error

    monkeypatch.setattr(module, "Notifications", refused)
    monkeypatch.setattr(module, "POLL_SECONDS", 0.01)
    with watch_of(tmp_path) as watch:
        assert await woken(watch) == EVERYTHING


async def test_a_directory_that_is_not_there_is_polled_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """There is nothing that could be watched."""
    monkeypatch.setattr(module, "POLL_SECONDS", 0.01)
    with watch_of(tmp_path / "none") as watch:
        assert await woken(watch) == EVERYTHING


async def test_a_watch_that_fails_later_becomes_a_clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A new directory may be the one that is over the limit."""
    real = Notifications.watch

    def limited(notifications: Notifications, name: str) -> None:
        if name:
            raise OSError(28, os.strerror(28))
        real(notifications, name)

    monkeypatch.setattr(Notifications, "watch", limited)
    monkeypatch.setattr(module, "POLL_SECONDS", 0.01)
    with watch_of(tmp_path) as watch:
        (tmp_path / "new").mkdir()
        assert await woken(watch) == EVERYTHING
        look(watch, tmp_path)

        assert await woken(watch) == EVERYTHING


async def test_a_round_may_outlive_the_watch(tmp_path: Path) -> None:
    """Its thread goes on when the task that waited for it was cancelled."""
    (tmp_path / "d").mkdir()
    with watch_of(tmp_path) as watch, watch.round() as enter:
        watch.__exit__(None, None, None)

        enter("d")


@pytest.mark.usefixtures("no_repair")
async def test_a_cancelled_wait_loses_nothing(tmp_path: Path) -> None:
    """What comes in the very moment of the cancellation is there for the next wait."""
    with watch_of(tmp_path) as watch:
        waiting = asyncio.ensure_future(watch.wait())
        await asyncio.sleep(0)
        write(tmp_path / "a.yaml")
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting

        assert await woken(watch) == files("a.yaml")
