"""Notifications: what only their own interface shows; which events say what is told by the tests of the watch."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace

import pytest
from asyncinotify import Mask

from controllers.sources import notifications as module
from controllers.sources.notifications import Advice, Notifications


@pytest.fixture
def notifications(tmp_path: Path) -> Notifications:
    made = Notifications(str(tmp_path), frozenset())
    made.watch("")
    return made


def touch(path: Path) -> None:
    path.write_text("x")


async def test_an_overflow_is_advice_to_look_everywhere(
    notifications: Notifications, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The queue's overflow belongs to no watch."""
    overflow = SimpleNamespace(watch=None, mask=Mask.Q_OVERFLOW, name=None, cookie=0)
    monkeypatch.setattr(notifications, "_inotify", [overflow])

    assert list(notifications.take()) == [("", Advice.LOOK_EVERYWHERE)]


async def test_many_events_are_taken_in_portions(
    notifications: Notifications, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Others get the event loop in between, and what was read ahead is not waited for."""
    monkeypatch.setattr(module, "_EVENTS_AT_ONCE", 4)
    for index in range(4):
        touch(tmp_path / f"{index}.yaml")
    told = []
    async with asyncio.timeout(20):
        while len(told) < 8:
            await notifications.wait()
            portion = list(notifications.take())
            assert len(portion) <= 4
            told += portion
    notifications.close()

    assert [name for name, advice in told if advice is Advice.LOOK] == [f"{index}.yaml" for index in range(4)]


async def test_taking_never_waits(notifications: Notifications) -> None:
    """Nothing told is nothing taken."""
    assert list(notifications.take()) == []


async def test_a_watch_that_is_gone_is_known_to_be(notifications: Notifications, tmp_path: Path) -> None:
    """With the last directory there is nothing that could notify."""
    assert notifications.watches_anything()

    tmp_path.rmdir()

    assert list(notifications.take()) == [("", Advice.LOOK_EVERYWHERE)]
    assert not notifications.watches_anything()
