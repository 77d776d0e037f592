"""What other controllers of the cluster have written, taken over by one that runs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from federation.app.kube import shared_changes
from federation.app.kube.shared_changes import BeginAnewError, SharedChanges
from federation.membership.keys import save_signing_key
from federation.membership.roster import open_roster, sign_roster
from federation.membership.roster_file import RosterFile
from federation.model.errors import ConfigError
from federation.model.names import ClusterId
from support.certificates import MemoryKeystore
from support.control import settings, started_authority
from support.membership_values import CLUSTERSET, EAST, WEST, key, ledger_of, public


class Part:
    """Stands for all that hears of a change, and counts it."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.broken = False
        self.lost = False
        self.looked = 0
        self.own_key = public("east")
        self.listeners: list[Callable[[frozenset[str]], None]] = []

    def listen(self, listener: Callable[[frozenset[str]], None]) -> Callable[[], None]:
        self.listeners.append(listener)
        return lambda: self.listeners.remove(listener)

    def reload(self) -> None:
        if self.broken:
            raise ConfigError("journal can't be read")
        self.calls.append("reload")

    def on_journal(self) -> None:
        self.calls.append("on_journal")

    def hurry(self) -> None:
        self.calls.append("hurry")

    def look_again(self) -> None:
        self.looked += 1

    def wake(self) -> None:
        self.calls.append("wake")


class Running:
    def __init__(self, directory: Path) -> None:
        self.part: Any = Part()
        self.store = MemoryKeystore()
        self.authority = started_authority(self.store)
        self.cleared: list[float] = []
        self.roster = directory / "roster"
        self.roster.write_text("")
        self.settings = replace(settings(directory), clusterset=CLUSTERSET, cluster=EAST)
        self.settings = replace(
            self.settings,
            exchange=replace(self.settings.exchange, credentials_file=directory / "exchange.credentials"),
        )
        self.save_key("east")
        self.changes = SharedChanges(
            self.settings,
            self.part,
            built_in=self.authority,
            journal=self.part,
            controller=self.part,
            keeper=self.part,
            session=self.part,
            seat=self.part,
            mark=lambda: self.part.calls.append("mark"),
        )

    def save_key(self, name: str) -> None:
        self.settings.member_key_file.unlink(missing_ok=True)
        save_signing_key(self.settings.member_key_file, key(name))

    def save_roster(self, *members: ClusterId) -> None:
        blob = sign_roster(ledger_of(*members).roster, key("authority"))
        RosterFile(self.settings.state_directory).save(open_roster(blob, CLUSTERSET, public("authority")))

    async def clear_away(self, *, patience_seconds: float) -> None:
        self.cleared.append(patience_seconds)

    def tell(self, *files: str) -> list[str]:
        self.part.calls.clear()
        for listener in self.part.listeners:
            listener(frozenset(files))
        return [*self.part.calls]


@pytest.fixture
def one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Running:
    monkeypatch.setattr(shared_changes, "_LOOK_SECONDS", 0.01)
    return Running(tmp_path)


async def test_journal_and_ca_are_taken_over_as_they_are_written(one: Running) -> None:
    """And what can't be read is told, and the old stays."""
    task = asyncio.create_task(one.changes.run(one.clear_away))
    await asyncio.sleep(0)
    other = started_authority()
    one.store.keys, one.store.state = {}, None
    for slot in other.state.slots:
        one.store.keys[slot.id] = other._keystore.load_key(slot.id)
    one.store.state = other.state
    heard = one.tell("state/journal.json"), one.tell("state/ca/journal.json"), one.tell()
    taken = one.authority.bundle() == other.bundle()
    one.part.broken = True
    broken = one.tell("state/journal.json")
    task.cancel()
    await asyncio.wait([task])

    assert one.part.looked == 4
    assert heard == (["reload", "on_journal", "hurry", "wake", "mark"], *([["hurry", "wake", "mark"]] * 2))
    assert broken == ["hurry", "wake", "mark"]
    assert taken
    assert one.part.listeners == []


async def test_another_key_is_begun_anew_with(one: Running) -> None:
    """It is what a controller is built of."""
    task = asyncio.create_task(one.changes.run(one.clear_away))
    await asyncio.sleep(0)
    one.tell("member.key")
    with pytest.raises(BeginAnewError, match="changed its keys"):
        await task
    assert one.cleared == []


@pytest.mark.parametrize("change", ["key", "credentials", "the same key"])
async def test_a_command_that_makes_it_a_member_again_is_noticed(change: str, one: Running) -> None:
    """It is run on this process's own directory: no other controller tells of it."""
    task = asyncio.create_task(one.changes.run(one.clear_away))
    await asyncio.sleep(0)
    if change == "key":
        one.save_key("other")
    elif change == "credentials":
        (one.roster.parent / "exchange.credentials").write_text("east:secret")
    else:
        one.part.lost = True
        one.save_roster(EAST, WEST)
    with pytest.raises(BeginAnewError, match="a member again"):
        async with asyncio.timeout(5):
            await task
    assert one.cleared == []


async def test_its_own_changes_are_none_of_another(one: Running) -> None:
    """The member key that it replaces, and the roster that tells it that it was evicted."""
    task = asyncio.create_task(one.changes.run(one.clear_away))
    await asyncio.sleep(0)
    one.part.own_key = public("next")
    one.save_key("next")
    await asyncio.sleep(0.03)
    one.part.lost = True
    one.save_roster(WEST)
    await asyncio.sleep(0.03)
    running = not task.done()
    task.cancel()
    await asyncio.wait([task])
    assert running


async def test_a_membership_that_is_over_leaves_nothing_behind(one: Running) -> None:
    """The cluster is cleared first."""
    task = asyncio.create_task(one.changes.run(one.clear_away))
    await asyncio.sleep(0)
    one.roster.unlink()
    with pytest.raises(BeginAnewError, match="membership is over"):
        await task
    assert len(one.cleared) == 1
