"""The file source on real directories: edits while running, swaps, races, and waiting for what isn't there yet."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from pathlib import Path

import pytest

from controllers.sources import directory_watch, files
from controllers.sources.base import SourceUpdate
from controllers.sources.files import FileSource, load_directory
from federation.model.errors import ConfigError
from federation.model.names import ServiceKey
from support.cluster_directory import export, next_update, service, settings_of, stream, update_where

ECHO = ServiceKey("demo", "echo")

Updates = AsyncGenerator[SourceUpdate, None]


@contextlib.asynccontextmanager
async def running(directory: Path) -> AsyncIterator[Updates]:
    async with contextlib.aclosing(FileSource(directory, settings_of(directory)).updates()) as updates:
        yield updates


def has_port(port: int, key: ServiceKey = ECHO) -> Callable[[SourceUpdate], bool]:
    def holds(update: SourceUpdate) -> bool:
        state = update.state.services.get(key)
        return state is not None and state.service is not None and state.service.ports[0].port == port

    return holds


def has_problem(reason: str) -> Callable[[SourceUpdate], bool]:
    return lambda update: any(problem.reason == reason for problem in update.problems)


async def test_edits_take_effect_while_running(tmp_path: Path) -> None:
    """Creating, editing and deleting files, also in directories that are new."""
    (tmp_path / "a.yaml").write_text(service())
    async with running(tmp_path) as updates:
        assert has_port(8080)(await next_update(updates))

        (tmp_path / "a.yaml").write_text(service(port=81))
        assert await update_where(updates, has_port(81))

        (tmp_path / "new" / "deep").mkdir(parents=True)
        (tmp_path / "new" / "deep" / "b.yaml").write_text(service("other"))
        assert await update_where(updates, has_port(8080, ServiceKey("demo", "other")))

        (tmp_path / "a.yaml").unlink()
        assert await update_where(updates, lambda update: ECHO not in update.state.services)

        (tmp_path / "new").rename(tmp_path / "moved")
        shutil.rmtree(tmp_path / "moved")
        assert await update_where(updates, lambda update: not update.state.services)


async def test_one_edit_among_thousands_of_services(tmp_path: Path) -> None:
    """With 5,000 services in one file, one edit changes one key."""
    names = [f"s{index}" for index in range(5000)]
    (tmp_path / "all.yaml").write_text(stream(*map(service, names)))
    async with running(tmp_path) as updates:
        first = await next_update(updates)
        aside = tmp_path / ".all.yaml"
        aside.write_text(stream(*(service(name, port=81 if name == "s7" else 8080) for name in names)))
        aside.rename(tmp_path / "all.yaml")
        second = await next_update(updates)

    assert len(first.changed) == 5000
    assert second.changed == {ServiceKey("demo", "s7")}
    assert len(second.state.services) == 5000


async def test_a_broken_file_shows_and_heals(tmp_path: Path) -> None:
    """The last good version serves meanwhile, and the problem goes with its cause."""
    (tmp_path / "a.yaml").write_text(service())
    async with running(tmp_path) as updates:
        await next_update(updates)

        (tmp_path / "a.yaml").write_text(service(port="[81"))
        assert has_port(8080)(await update_where(updates, has_problem("BrokenDocument")))

        (tmp_path / "a.yaml").write_text(service(port=81))
        healed = await update_where(updates, has_port(81))
        assert healed.problems == ()


async def test_a_mounted_config_map_is_swapped(tmp_path: Path) -> None:
    """All files change at once by one link."""
    for version, port in (("..1", 8080), ("..2", 81)):
        (tmp_path / version).mkdir()
        (tmp_path / version / "a.yaml").write_text(service(port=port))
    (tmp_path / "..data").symlink_to("..1")
    (tmp_path / "a.yaml").symlink_to("..data/a.yaml")
    async with running(tmp_path) as updates:
        assert has_port(8080)(await next_update(updates))

        (tmp_path / "..data_tmp").symlink_to("..2")
        (tmp_path / "..data_tmp").rename(tmp_path / "..data")

        assert await update_where(updates, has_port(81))


@pytest.fixture
def no_repair(monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock is as good as stopped: what is found was notified."""
    monkeypatch.setattr(directory_watch, "REPAIR_SECONDS", 3600.0)


@pytest.mark.usefixtures("no_repair")
async def test_files_made_at_once_with_their_directories_are_found(tmp_path: Path) -> None:
    """Whatever was made before a new directory could be watched is found by listing it."""
    async with running(tmp_path) as updates:
        await next_update(updates)
        for index in range(30):
            deep = tmp_path / f"d{index}" / "e" / "f"
            deep.mkdir(parents=True)
            (deep / "a.yaml").write_text(service(f"s{index}"))

        assert await update_where(updates, lambda update: len(update.state.services) == 30)

        (tmp_path / "d7/e/f/a.yaml").write_text(service("s7", port=81))
        assert await update_where(updates, has_port(81, ServiceKey("demo", "s7")))


@pytest.mark.usefixtures("no_repair")
async def test_a_directory_is_replaced(tmp_path: Path) -> None:
    """What is in its place counts, and edits there are notified; those in the old one, now elsewhere, are not."""
    site, old, new = (tmp_path / name for name in ("site", "old", "new"))
    for directory, port in ((site / "d", 8080), (new, 81)):
        directory.mkdir(parents=True)
        (directory / "a.yaml").write_text(service(port=port))
    async with running(site) as updates:
        assert has_port(8080)(await next_update(updates))

        (site / "d").rename(old)
        new.rename(site / "d")
        assert await update_where(updates, has_port(81))

        (old / "a.yaml").write_text(service(port=82))
        (site / "d" / "a.yaml").write_text(service(port=83))
        assert has_port(83)(await next_update(updates))


@pytest.mark.usefixtures("no_repair")
async def test_a_directory_is_renamed(tmp_path: Path) -> None:
    """It goes on being watched, by its new name."""
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "a.yaml").write_text(service(port=0))
    async with running(tmp_path) as updates:
        await next_update(updates)

        (tmp_path / "d").rename(tmp_path / "e")
        assert await update_where(updates, lambda update: update.problems[0].subject.startswith("e/a.yaml"))

        (tmp_path / "e" / "a.yaml").write_text(service())
        assert await update_where(updates, has_port(8080))


@pytest.mark.usefixtures("no_repair")
async def test_a_link_to_a_directory_is_swapped(tmp_path: Path) -> None:
    """The directory that it leads to is read and watched, as if it were in its place."""
    site = tmp_path / "site"
    site.mkdir()
    for version, port in (("1", 8080), ("2", 81)):
        (tmp_path / version).mkdir()
        (tmp_path / version / "a.yaml").write_text(service(port=port))
    (site / "d").symlink_to("../1")
    async with running(site) as updates:
        assert has_port(8080)(await next_update(updates))

        (site / ".next").symlink_to("../2")
        (site / ".next").rename(site / "d")
        assert await update_where(updates, has_port(81))

        (tmp_path / "2" / "a.yaml").write_text(service(port=82))
        assert await update_where(updates, has_port(82))

        (site / "d").unlink()
        assert await update_where(updates, lambda update: not update.state.services)


@pytest.mark.usefixtures("no_repair")
async def test_a_file_moves_aside_for_a_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An editor that moves the file aside before it writes it anew makes no service go away."""
    monkeypatch.setattr(directory_watch, "GONE_SECONDS", 3600.0)
    (tmp_path / "a.yaml").write_text(service())
    async with running(tmp_path) as updates:
        await next_update(updates)

        (tmp_path / "a.yaml").rename(tmp_path / "a.yaml~")
        (tmp_path / "b.yaml").write_text(service("other"))
        assert ECHO in (await next_update(updates)).state.services

        (tmp_path / "a.yaml").write_text(service(port=81))
        assert has_port(81)(await next_update(updates))


@pytest.mark.usefixtures("no_repair")
async def test_a_renamed_file_is_one_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its objects are neither gone nor doubled for a moment; the change next to it is the only one."""
    monkeypatch.setattr(directory_watch, "GONE_SECONDS", 3600.0)
    (tmp_path / "a.yaml").write_text(stream(service(), service(port=81)))
    async with running(tmp_path) as updates:
        await next_update(updates)

        (tmp_path / "a.yaml").rename(tmp_path / "b.yaml")
        renamed = await next_update(updates)

    assert has_port(8080)(renamed)
    assert renamed.changed == frozenset()
    assert [problem.subject for problem in renamed.problems] == ["b.yaml document 2 (Service demo/echo)"]


async def test_a_file_that_its_writer_keeps_open_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No notification tells of it before it is closed, so the clock does."""
    (tmp_path / "a.yaml").write_text(service())
    monkeypatch.setattr(directory_watch, "REPAIR_SECONDS", 0.05)
    async with running(tmp_path) as updates:
        await next_update(updates)
        with (tmp_path / "a.yaml").open("w") as file:
            file.write(service(port=81))
            file.flush()

            assert await update_where(updates, has_port(81))


@pytest.mark.usefixtures("no_repair")
async def test_an_overflow_of_notifications_is_made_up_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """More changes than the queue holds: the whole directory is looked at."""
    limit = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
    if limit > 100_000:
        pytest.skip(f"the queue of notifications holds {limit}")
    async with running(tmp_path) as updates:
        await next_update(updates)
        for _ in range(limit // 2 + 1):
            # Two names, since an event equal to the last one in the queue is dropped.
            os.close(os.open(tmp_path / "x.yaml", os.O_WRONLY | os.O_CREAT))
            os.close(os.open(tmp_path / "y.yaml", os.O_WRONLY | os.O_CREAT))
        (tmp_path / "a.yaml").write_text(service())

        assert await update_where(updates, has_port(8080))


async def test_the_directory_itself_is_swapped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A link to a checkout is turned to the next one: the clock finds it, and edits there are notified again."""
    for version, port in (("1", 8080), ("2", 81)):
        (tmp_path / version).mkdir()
        (tmp_path / version / "a.yaml").write_text(service(port=port))
    current = tmp_path / "current"
    current.symlink_to("1")
    monkeypatch.setattr(directory_watch, "REPAIR_SECONDS", 0.05)
    async with running(current) as updates:
        assert has_port(8080)(await next_update(updates))

        (tmp_path / "next").symlink_to("2")
        (tmp_path / "next").rename(current)
        assert await update_where(updates, has_port(81))

        monkeypatch.setattr(directory_watch, "REPAIR_SECONDS", 3600.0)
        (tmp_path / "2" / "a.yaml").write_text(service(port=82))
        assert await update_where(updates, has_port(82))


async def test_a_directory_that_goes_away_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Unknown is not empty; when it comes back, it counts again."""
    monkeypatch.setattr(directory_watch, "REPAIR_SECONDS", 0.05)
    monkeypatch.setattr(directory_watch, "POLL_SECONDS", 0.05)
    top = tmp_path / "top"
    top.mkdir()
    (top / "a.yaml").write_text(service())
    async with running(top) as updates:
        await next_update(updates)

        top.rename(tmp_path / "away")
        gone = await update_where(updates, has_problem("Unreadable"))
        assert has_port(8080)(gone)
        assert [str(problem) for problem in gone.problems] == [
            ".: no such file or directory; what was last read of it stays in use (Unreadable)"
        ]

        top.mkdir()
        back = await update_where(updates, lambda update: not update.problems)
        assert back.state.services == {}


async def test_nothing_is_said_before_the_directory_was_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first update is a complete one, however late the directory comes."""
    monkeypatch.setattr(directory_watch, "POLL_SECONDS", 0.01)
    top = tmp_path / "top"
    looked = 0
    real = files.DirectoryReader.read

    def read(reader: files.DirectoryReader, *arguments: object) -> object:
        nonlocal looked
        looked += 1
        if looked == 3:
            (tmp_path / "aside").mkdir()
            (tmp_path / "aside" / "a.yaml").write_text(service())
            (tmp_path / "aside").rename(top)
        return real(reader, *arguments)

    monkeypatch.setattr(files.DirectoryReader, "read", read)
    async with running(top) as updates:
        first = await next_update(updates)

    assert looked >= 3
    assert has_port(8080)(first)


async def test_looking_without_news_is_no_update(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the clock nor equal content written again says anything: the second update is that of a real change."""
    monkeypatch.setattr(directory_watch, "REPAIR_SECONDS", 0.01)
    (tmp_path / "a.yaml").write_text(service())
    looked = 0
    real = files.DirectoryReader.read

    def read(reader: files.DirectoryReader, *arguments: object) -> object:
        nonlocal looked
        looked += 1
        if looked == 2:
            (tmp_path / "a.yaml").write_text(f"# the same\n{service()}")
        if looked == 5:
            (tmp_path / "b.yaml").write_text(export())
        return real(reader, *arguments)

    monkeypatch.setattr(files.DirectoryReader, "read", read)
    async with running(tmp_path) as updates:
        await next_update(updates)
        second = await next_update(updates)

    assert second.state.services[ECHO].export is not None
    assert second.changed == {ECHO}
    assert looked >= 5


async def test_polling_finds_edits_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without notifications the source is slower, not blind."""

    def refused(*_: object) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(directory_watch, "Notifications", refused)
    monkeypatch.setattr(directory_watch, "POLL_SECONDS", 0.02)
    (tmp_path / "a.yaml").write_text(service())
    async with running(tmp_path) as updates:
        await next_update(updates)
        (tmp_path / "a.yaml").write_text(service(port=81))

        assert await update_where(updates, has_port(81))


def test_a_directory_is_loaded_once_for_offline_use(tmp_path: Path) -> None:
    """What a command prints offline is what a source would say first."""
    (tmp_path / "cluster.yaml").write_text("no: manifest\n")
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "b.yaml").write_text(service("other"))
    (tmp_path / "a.yaml").write_text(service())

    update = load_directory(tmp_path, settings_of(tmp_path))

    assert set(update.state.services) == {ECHO}
    assert update.problems == ()


def test_a_directory_that_is_not_there_can_not_be_loaded(tmp_path: Path) -> None:
    """The error names the directory and the cause."""
    with pytest.raises(ConfigError, match="none can't be read: no such file or directory"):
        load_directory(tmp_path / "none", settings_of(tmp_path))
