"""The files that a cluster's controllers share: two directories over one Secret of a stand-in API server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path

import pytest

from controllers.kube.client import KubeAccess, KubeError, open_client
from federation.app.kube import shared_state
from federation.app.kube.shared_state import SECRET, SharedState
from support.exchange import until
from support.kube.faults import Failure
from support.kube.objects import Key
from support.kube.server import StandIn, running

SECRETS = ("", "secrets")
NAMESPACE = "federation-system"


@pytest.fixture
async def server() -> AsyncIterator[StandIn]:
    async with running() as started:
        started.put(("", "namespaces"), {"metadata": {"name": NAMESPACE}})
        yield started


def shared(server: StandIn, directory: Path) -> SharedState:
    directory.mkdir(exist_ok=True)
    access = KubeAccess(server.write_kubeconfig(directory.parent / f"{directory.name}.kubeconfig"))
    return SharedState(partial(open_client, access), NAMESPACE, directory)


def write(directory: Path, name: str, content: str) -> None:
    path = directory / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)


def files(directory: Path) -> dict[str, str]:
    return {
        str(path.relative_to(directory)): path.read_text() for path in sorted(directory.rglob("*")) if path.is_file()
    }


async def test_what_one_has_saved_another_begins_with(server: StandIn, tmp_path: Path) -> None:
    """Lasting files alone, private ones, and the same bytes; what is gone is gone there too."""
    one, other = shared(server, tmp_path / "one"), shared(server, tmp_path / "other")
    lasting = {"member.key": "key", "state/ca/1a.key.pem": "ca", "state/roster": "roster", "authority/ledger": "all"}
    passing = {"state/replicas/east": "copy", "state/controller.lock": "1", "state/ca/.journal.json.new": "half"}
    for name, content in {**lasting, **passing}.items():
        write(tmp_path / "one", name, content)
    nothing = await other.restore()
    saved = [await one.save(seconds_left=9), await one.save(seconds_left=9)]
    taken = await other.restore()
    first = files(tmp_path / "other")
    (tmp_path / "one" / "state/ca/1a.key.pem").unlink()
    await one.save(seconds_left=9)
    gone = await other.restore()

    assert (nothing, saved, taken, first) == (frozenset(), [True, False], frozenset(lasting), lasting)
    assert (gone, "state/ca/1a.key.pem" in files(tmp_path / "other")) == ({"state/ca/1a.key.pem"}, False)
    assert (tmp_path / "other" / "member.key").stat().st_mode & 0o777 == 0o600


async def test_of_two_that_believe_they_lead_one_is_refused(server: StandIn, tmp_path: Path) -> None:
    """The one that has not read what the other wrote."""
    one, other = shared(server, tmp_path / "one"), shared(server, tmp_path / "other")
    for name, state in (("one", one), ("other", other)):
        await state.restore()
        write(tmp_path / name, "member.key", name)
    await one.save(seconds_left=9)
    with pytest.raises(KubeError) as caught:
        await other.save(seconds_left=9)

    assert caught.value.status == 409
    assert await other.restore() == {"member.key"}
    assert files(tmp_path / "other") == {"member.key": "one"}


async def test_whoever_must_wait_hears_that_all_is_saved(server: StandIn, tmp_path: Path) -> None:
    """And not before, while the API server refuses."""
    one = shared(server, tmp_path / "one")
    task = asyncio.create_task(one.run(lambda: True, lambda: 9.0, lambda _: None))
    try:
        await until(lambda: one.taken_over)
        await server.vanish()
        write(tmp_path / "one", "member.key.next", "next")
        waiting = asyncio.create_task(one.saved())
        await until(lambda: one.problems != ())
        early = waiting.done()
        await server.come_back()
        await asyncio.wait_for(waiting, 20)
    finally:
        task.cancel()
        await asyncio.wait([task])
    assert not early
    assert "member.key.next" in server.objects(SECRETS)[Key(NAMESPACE, SECRET)]["data"]


async def test_whoever_waits_asks_an_api_server_that_refuses_no_more_often(
    server: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was refused is written again in its time, or once something has changed."""
    monkeypatch.setattr(shared_state, "_FOLLOW_SECONDS", 3600.0)
    one, other = shared(server, tmp_path / "one"), shared(server, tmp_path / "other")
    task = asyncio.create_task(one.run(lambda: True, lambda: 9.0, lambda _: None))
    try:
        await until(lambda: one.taken_over)
        server.faults.fail(Failure(500, 1, verbs=("create",), plural="secrets"))
        write(tmp_path / "one", "member.key.next", "next")
        waiting = asyncio.create_task(one.saved())
        await until(lambda: one.problems != ())
        for _ in range(20):
            await other.restore()
        again = waiting.done()
        one.hurry()
        await asyncio.wait_for(waiting, 20)
    finally:
        task.cancel()
        await asyncio.wait([task])
    assert not again


async def test_the_others_follow_whoever_leads(server: StandIn, tmp_path: Path) -> None:
    """And hear which files changed."""
    one, other = shared(server, tmp_path / "one"), shared(server, tmp_path / "other")
    heard: list[frozenset[str]] = []
    tasks = [
        asyncio.create_task(one.run(lambda: True, lambda: 9.0, lambda _: None)),
        asyncio.create_task(other.run(lambda: False, lambda: 0.0, heard.append)),
    ]
    try:
        await until(lambda: one.taken_over)
        write(tmp_path / "one", "state/journal.json", "{}")
        await until(lambda: heard == [{"state/journal.json"}])
        write(tmp_path / "one", "state/journal.json", "{1}")
        await until(lambda: files(tmp_path / "other") == {"state/journal.json": "{1}"})
        await until(lambda: one.problems == ())
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


async def test_a_secret_that_somebody_deletes_is_made_again(
    server: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though nothing in the directory changes: it is looked at once in a while."""
    monkeypatch.setattr(shared_state, "CHECK_SECONDS", 0.1)
    state = shared(server, tmp_path / "one")
    write(tmp_path / "one", "member.key", "key")
    task = asyncio.create_task(state.run(lambda: True, lambda: 9.0, lambda _: None))
    try:
        await until(lambda: bool(server.objects(SECRETS)))
        kind = next(one for one in server.registry.catalog.all() if one.resource == SECRETS)
        server.registry.delete(kind, Key(NAMESPACE, SECRET), {})
        await until(lambda: bool(server.objects(SECRETS)))
    finally:
        task.cancel()
        await asyncio.wait([task])


async def test_an_api_server_that_is_away_is_told_and_waited_for(server: StandIn, tmp_path: Path) -> None:
    """What changed meanwhile is written when it is back."""
    state = shared(server, tmp_path / "one")
    await server.vanish()
    task = asyncio.create_task(state.run(lambda: True, lambda: 9.0, lambda _: None))
    try:
        write(tmp_path / "one", "member.key", "key")
        await until(lambda: [problem.reason for problem in state.problems] == ["NotShared"])
        await server.come_back()
        await until(lambda: list(server.objects(SECRETS)) == [Key(NAMESPACE, SECRET)] and state.problems == ())
    finally:
        task.cancel()
        await asyncio.wait([task])


async def test_names_that_lead_elsewhere_are_not_written(server: StandIn, tmp_path: Path) -> None:
    """Whoever may edit the Secret writes no other file by it."""
    names = ("..__evil", "authority__..__evil", "other__state__roster", "state__replicas__east", "member.key")
    data = dict.fromkeys(names, "eA==")
    server.put(SECRETS, {"metadata": {"namespace": NAMESPACE, "name": SECRET}, "data": data})
    await shared(server, tmp_path / "one").restore()

    assert files(tmp_path / "one") == {"member.key": "x"}
    assert not (tmp_path / "evil").exists()


async def test_whoever_comes_to_lead_first_takes_all_that_was_there(server: StandIn, tmp_path: Path) -> None:
    """What it has itself, from an earlier time, is not carried over it; and it hears when it may begin."""
    one, other = shared(server, tmp_path / "one"), shared(server, tmp_path / "other")
    write(tmp_path / "one", "member.key", "new")
    write(tmp_path / "other", "member.key", "old")
    await one.save(seconds_left=9)
    leads = [False]
    heard: list[frozenset[str]] = []
    task = asyncio.create_task(other.run(lambda: leads[0], lambda: 9.0, heard.append))
    try:
        await until(lambda: heard == [{"member.key"}])
        write(tmp_path / "one", "member.key", "newer")
        await one.save(seconds_left=9)
        leads[0] = True
        other.hurry()
        await until(lambda: other.taken_over)
    finally:
        task.cancel()
        await asyncio.wait([task])

    assert (files(tmp_path / "other"), heard[1:]) == ({"member.key": "newer"}, [{"member.key"}])


async def test_where_there_is_no_secret_nothing_is_taken_away(server: StandIn, tmp_path: Path) -> None:
    """What is in the directory may be all that is left of it."""
    state = shared(server, tmp_path / "one")
    write(tmp_path / "one", "member.key", "key")

    assert await state.restore() == frozenset()
    assert files(tmp_path / "one") == {"member.key": "key"}


@pytest.mark.parametrize("lacks", [(), ("member.key",), ("member.key", "files")])
async def test_a_secret_that_was_edited_takes_nothing_away(
    lacks: tuple[str, ...], server: StandIn, tmp_path: Path
) -> None:
    """With nothing, or less than whoever wrote it had: what a directory still has is kept, and written again."""
    one, other = shared(server, tmp_path / "one"), shared(server, tmp_path / "other")
    lasting = {"cluster.yaml": "a", "member.key": "key", "authority/ledger": "all"}
    for name, content in lasting.items():
        write(tmp_path / "one", name, content)
    await one.save(seconds_left=9)
    await other.restore()
    edit(server, lambda data: {name: data[name] for name in data if lacks and name not in lacks})
    changed = await other.restore()
    told = [problem.reason for problem in other.problems]
    kept = files(tmp_path / "other")
    await other.save(seconds_left=9)
    third = shared(server, tmp_path / "third")
    await third.restore()

    assert (changed, told, kept) == (frozenset(), ["NotShared"], lasting)
    assert files(tmp_path / "third") == lasting


async def test_nobody_leads_with_less_than_there_was(server: StandIn, tmp_path: Path) -> None:
    """A pod that is new finds no more than a part, and must not make it all there is."""
    one, fresh = shared(server, tmp_path / "one"), shared(server, tmp_path / "fresh")
    for name in ("member.key", "authority/ledger"):
        write(tmp_path / "one", name, name)
    await one.save(seconds_left=9)
    edit(server, lambda data: {name: data[name] for name in data if name != "authority__ledger"})
    with pytest.raises(KubeError, match="lacks authority/ledger"):
        await fresh.restore()


async def test_whoever_was_overtaken_takes_over_and_does_not_overwrite(
    server: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A write that was refused is not repeated over what the other one has written."""
    one, other = shared(server, tmp_path / "one"), shared(server, tmp_path / "other")
    heard: list[frozenset[str]] = []
    task = asyncio.create_task(one.run(lambda: True, lambda: 9.0, heard.append))
    try:
        await until(lambda: one.taken_over)
        write(tmp_path / "one", "member.key", "first")
        await until(one.in_secret)
        await other.restore()
        write(tmp_path / "other", "member.key", "second")
        await other.save(seconds_left=9)
        write(tmp_path / "one", "state/journal.json", "{}")
        await until(lambda: files(tmp_path / "one").get("member.key") == "second")
    finally:
        task.cancel()
        await asyncio.wait([task])
    assert "member.key" in heard[-1]


async def test_a_restore_that_fails_half_way_tells_of_all_in_the_end(server: StandIn, tmp_path: Path) -> None:
    """Also of what it had changed by then."""
    one, other = shared(server, tmp_path / "one"), shared(server, tmp_path / "other")
    for name in ("member.key", "state/roster"):
        write(tmp_path / "one", name, name)
    await one.save(seconds_left=9)
    write(tmp_path / "other", "state", "in the way")
    with pytest.raises(FileExistsError):
        await other.restore()
    (tmp_path / "other" / "state").unlink()

    assert await other.restore() == {"member.key", "state/roster"}


def edit(server: StandIn, change: Callable[[dict[str, str]], dict[str, str]]) -> None:
    """What somebody makes of the Secret."""
    secret = server.objects(SECRETS)[Key(NAMESPACE, SECRET)]
    kind = next(one for one in server.registry.catalog.all() if one.resource == SECRETS)
    server.registry.delete(kind, Key(NAMESPACE, SECRET), {})
    server.put(SECRETS, {"metadata": {"namespace": NAMESPACE, "name": SECRET}, "data": change(secret["data"])})
