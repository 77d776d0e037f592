"""The watch: what wakes it, what doesn't, and that the clock takes over where there are no notifications."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import NoReturn

import pytest
from watchfiles._rust_notify import WatchfilesRustInternalError

from controllers.sources import directory_watch as module
from controllers.sources.directory_watch import DirectoryWatch

DEADLINE_SECONDS = 20


def watch_of(directory: Path) -> DirectoryWatch:
    return DirectoryWatch(directory, excluded=(directory / "state",))


async def woken(watch: DirectoryWatch) -> frozenset[str]:
    async with asyncio.timeout(DEADLINE_SECONDS):
        return await watch.wait()


@pytest.fixture
def no_repair(monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock is as good as stopped: what returns was notified."""
    monkeypatch.setattr(module, "REPAIR_SECONDS", 3600.0)
    monkeypatch.setattr(module, "SETTLE_SECONDS", 3600.0)


@pytest.mark.usefixtures("no_repair")
async def test_a_change_before_the_first_wait_is_not_missed(tmp_path: Path) -> None:
    """The watch stands from its construction, so that nothing falls between it and the first reading."""
    with watch_of(tmp_path) as watch:
        (tmp_path / "a.yaml").write_text("x")

        assert await woken(watch) == {"a.yaml"}


@pytest.mark.usefixtures("no_repair")
@pytest.mark.parametrize("name", ["a.yaml", "b.yml", "c.json", "d/a.yaml", "directory", "..data"])
async def test_what_may_concern_a_manifest_wakes(tmp_path: Path, name: str) -> None:
    """Manifests at any depth, things without a suffix (directories moved here), and the link of a ConfigMap."""
    (tmp_path / "d").mkdir()
    with watch_of(tmp_path) as watch:
        (tmp_path / name).write_text("x")

        assert name in await woken(watch)


@pytest.mark.usefixtures("no_repair")
@pytest.mark.parametrize("name", ["state/a.yaml", ".hidden/a.yaml", ".a.yaml.swp", "envoy.log"])
async def test_what_concerns_no_manifest_does_not_wake(tmp_path: Path, name: str) -> None:
    """Our own writing to the state directory least of all."""
    (tmp_path / "state").mkdir()
    (tmp_path / ".hidden").mkdir()
    with watch_of(tmp_path) as watch:
        (tmp_path / name).write_text("x")
        (tmp_path / "b.yaml").write_text("x")

        assert await woken(watch) == {"b.yaml"}


async def test_the_clock_wakes_where_nothing_is_notified(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a network file system another host's changes come without notice."""
    monkeypatch.setattr(module, "REPAIR_SECONDS", 0.01)
    with watch_of(tmp_path) as watch:
        assert await woken(watch) == frozenset()


@pytest.mark.usefixtures("no_repair")
@pytest.mark.parametrize("name", ["a.yaml", ".aside"])
async def test_after_the_last_notification_comes_one_more_look(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """A change that was lost next to one that was notified is found soon, also next to one that concerns nothing."""
    with watch_of(tmp_path) as watch:
        (tmp_path / name).write_text("x")
        monkeypatch.setattr(module, "SETTLE_SECONDS", 0.01)
        looks = [await woken(watch)]
        while looks[-1]:
            looks.append(await woken(watch))

        assert looks[-1] == frozenset()


@pytest.mark.parametrize("error", [OSError(28, "no space left on device"), FileNotFoundError()])
async def test_without_notifications_the_clock_drives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: OSError
) -> None:
    """Where the limit of watches is reached, or there is no such directory yet, it polls."""

    def refused(*_: object) -> NoReturn:
        raise error

    monkeypatch.setattr(module, "RustNotify", refused)
    monkeypatch.setattr(module, "POLL_SECONDS", 0.01)
    with watch_of(tmp_path) as watch:
        assert await woken(watch) == frozenset()


async def test_a_watch_that_fails_later_becomes_a_clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A new directory may be the one that is over the limit."""

    class Failing:
        def watch(self, *_: object) -> NoReturn:
            raise WatchfilesRustInternalError("error in underlying watcher")

        def close(self) -> None:
            closed.append(True)

    closed: list[bool] = []
    monkeypatch.setattr(module, "RustNotify", lambda *_: Failing())
    monkeypatch.setattr(module, "POLL_SECONDS", 0.01)
    with watch_of(tmp_path) as watch:
        assert await woken(watch) == frozenset()
        assert closed == [True]
        assert await woken(watch) == frozenset()


@pytest.mark.usefixtures("no_repair")
async def test_a_cancelled_wait_leaves_no_thread_behind(tmp_path: Path) -> None:
    """The thread has ended when the wait has, so that the watch can be closed."""
    with watch_of(tmp_path) as watch:
        waiting = asyncio.ensure_future(watch.wait())
        await asyncio.sleep(0)  # the thread is under way
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
