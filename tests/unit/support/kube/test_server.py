"""The stand-in's faults, and what only it does: several clusters, a look from behind, a process of its own."""

from __future__ import annotations

import asyncio
import signal
import ssl
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import aiohttp
import pytest
import yaml

from support.clock import ManualClock
from support.kube.caller import Caller, Events
from support.kube.objects import Key
from support.kube.plane import plane_of
from support.kube.server import StandIn, running
from support.kube.site import CORE, MCS, config_map, export, imported, version

ROOT = Path(__file__).parents[4]
EXPORTS, MAPS = f"{MCS}/namespaces/default/serviceexports", f"{CORE}/namespaces/default/configmaps"
GONE = (aiohttp.ClientError, ConnectionError)
WAIT_SECONDS = 20.0


@pytest.fixture
async def admin(api_server: StandIn) -> AsyncIterator[Caller]:
    async with plane_of(api_server).caller() as caller:
        yield caller


async def latest(caller: Caller, path: str = EXPORTS) -> str:
    """The resource version to watch from."""
    return version((await caller.get(path)).body)


async def until_watched(server: StandIn, count: int) -> None:
    async with asyncio.timeout(WAIT_SECONDS):
        while server.watches.count != count:
            await asyncio.sleep(0)


async def test_a_server_that_vanished_comes_back_as_it_was(api_server: StandIn, admin: Caller) -> None:
    """Connections are cut and refused; then all is there on the same port, and a watch resumes without loss."""
    url = api_server.url
    await admin.post(EXPORTS, export("a"))
    since = await latest(admin)
    async with admin.watch(EXPORTS, resourceVersion=since) as events:
        await api_server.vanish()
        with pytest.raises(GONE):
            await events.next()
    with pytest.raises(GONE):
        await admin.get(EXPORTS)
    await api_server.come_back()
    await admin.post(EXPORTS, export("b"))

    assert api_server.url == url
    async with admin.watch(EXPORTS, resourceVersion=since) as events:
        assert await events.told(1) == [("ADDED", "b")]


async def test_a_server_that_hangs_answers_when_it_wakes(api_server: StandIn, admin: Caller) -> None:
    """Requests are taken and not answered, watches are silent; afterwards both go on."""
    async with admin.watch(EXPORTS, resourceVersion=await latest(admin)) as events:
        await api_server.vanish(hang=True)
        asked = asyncio.ensure_future(admin.post(EXPORTS, export("a")))
        await asyncio.sleep(0.05)
        assert (asked.done(), len(api_server.objects(("multicluster.x-k8s.io", "serviceexports")))) == (False, 0)
        await api_server.come_back()

        assert (await asked).code == 201
        assert await events.told(1) == [("ADDED", "a")]


async def refusal(events: Events) -> tuple[str, int, str]:
    event = await events.next()
    assert event is not None
    return event["type"], event["object"]["code"], event["object"]["reason"]


async def test_compaction_ends_what_was_to_go_on(api_server: StandIn, admin: Caller) -> None:
    """A watch from before gets 410, in its first event or as HTTP status; so does the next page of a list."""
    since = await latest(admin)
    for name in ("a", "b"):
        await admin.post(EXPORTS, export(name))
    page = await admin.get(EXPORTS, limit="1")
    token = {"continue": page.body["metadata"]["continue"]}
    api_server.compact()
    async with admin.watch(EXPORTS, resourceVersion=since) as events:
        assert await refusal(events) == ("ERROR", 410, "Expired")
        assert await events.next() is None
    assert (await admin.get(EXPORTS, **token)).reason == (410, "Expired")
    api_server.compact(as_status=True)
    assert (await admin.get(EXPORTS, watch="1", resourceVersion=since)).reason == (410, "Expired")


async def test_a_watch_under_way_survives_compaction(api_server: StandIn, admin: Caller) -> None:
    """Only who comes back with an old version is refused."""
    async with admin.watch(EXPORTS, resourceVersion=await latest(admin)) as events:
        await until_watched(api_server, 1)
        api_server.compact()
        await admin.post(EXPORTS, export("a"))
        assert await events.told(1) == [("ADDED", "a")]


async def test_watches_break_off_or_end(api_server: StandIn, admin: Caller) -> None:
    """Dropped, the connection is cut in the middle; ended, the answer is complete."""
    async with admin.watch(EXPORTS) as events:
        await until_watched(api_server, 1)
        api_server.drop_watches()
        with pytest.raises(GONE):
            await events.next()
    async with admin.watch(EXPORTS) as events:
        await until_watched(api_server, 1)
        api_server.watches.end()
        assert await events.next() is None


async def test_a_client_that_left_is_watched_for_no_longer(api_server: StandIn, admin: Caller) -> None:
    """A watch ends with its connection, also where nothing happens."""
    async with admin.watch(EXPORTS):
        await until_watched(api_server, 1)
        assert api_server.watches.resources() == [("multicluster.x-k8s.io", "serviceexports")]
    await until_watched(api_server, 0)


async def test_events_come_late_or_twice(api_server: StandIn, admin: Caller) -> None:
    """A slow watch is behind what a get shows; a duplicated event is the same one again."""
    async with admin.watch(EXPORTS, resourceVersion=await latest(admin)) as events:
        await until_watched(api_server, 1)
        api_server.slow_watches(30)
        waiting = asyncio.ensure_future(events.next())
        await admin.post(EXPORTS, export("a"))
        assert (await admin.get(f"{EXPORTS}/a")).code == 200
        assert not waiting.done()
        waiting.cancel()
    api_server.heal()
    api_server.duplicate_events()
    async with admin.watch(EXPORTS) as events:
        assert await events.told(2) == [("ADDED", "a")] * 2


async def test_bookmarks_come_on_demand_to_who_asked(api_server: StandIn, admin: Caller) -> None:
    """A bookmark carries the newest version, though nothing of the resource changed."""
    since = await latest(admin)
    async with admin.watch(EXPORTS, resourceVersion=since, allowWatchBookmarks="true") as events:
        await until_watched(api_server, 1)
        made = await admin.post(MAPS, config_map())
        api_server.bookmark_now()
        event = await events.next()

    assert event is not None
    assert (event["type"], version(event["object"])) == ("BOOKMARK", version(made.body))


async def test_an_expired_token_is_worth_nothing(api_server: StandIn) -> None:
    """A token ends by hand, and with the account that it is of."""
    by_hand, of_account = api_server.token_for("jane"), api_server.account_token("default", "worker")
    async with plane_of(api_server).caller(by_hand) as jane, plane_of(api_server).caller(of_account) as worker:
        before = [(await one.get(EXPORTS)).code for one in (jane, worker)]
        api_server.expire_token(by_hand)
        async with plane_of(api_server).caller() as admin:
            await admin.delete(f"{CORE}/namespaces/default/serviceaccounts/worker")
        after = [(await one.get(EXPORTS)).reason for one in (jane, worker)]

    assert before == [403, 403]
    assert after == [(401, "Unauthorized")] * 2


async def test_time_is_the_tests_own() -> None:
    """Objects are stamped and tokens expire by the clock that the test gave."""
    clock = ManualClock(datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC))
    async with running(clock=clock) as server:
        token = server.account_token("default", "worker", lifetime=timedelta(hours=1))
        async with plane_of(server).caller() as admin, plane_of(server).caller(token) as worker:
            made = await admin.post(EXPORTS, export())
            before = (await worker.get(EXPORTS)).code
            clock.advance(timedelta(hours=1))
            after = (await worker.get(EXPORTS)).code

    assert made.body["metadata"]["creationTimestamp"] == "2026-01-02T03:04:05Z"
    assert (before, after) == (403, 401)


async def test_requests_fail_as_often_as_they_are_told_to(api_server: StandIn, admin: Caller) -> None:
    """429 comes with Retry-After; failures are counted, and meet only the verbs and the resource that are named."""
    api_server.fail(429, retry_after_seconds=3, plural="serviceexports")
    api_server.fail(500, times=2, verbs=["create"])
    spared = await admin.get(MAPS)
    busy = await admin.get(EXPORTS)
    broken = [(await admin.post(MAPS, config_map())).code for _ in range(3)]

    assert spared.code == 200
    assert (busy.reason, busy.headers["Retry-After"]) == ((429, "TooManyRequests"), "3")
    assert busy.body["details"]["retryAfterSeconds"] == 3
    assert broken == [500, 500, 201]


async def test_a_definition_is_deleted_and_comes_back_empty(api_server: StandIn, admin: Caller) -> None:
    """Its watches end, its path is 404; recreated, it is another one, without objects."""
    name = "serviceexports.multicluster.x-k8s.io"
    before = (await admin.post(EXPORTS, export())).body
    async with admin.watch(EXPORTS, resourceVersion=version(before)) as events:
        await until_watched(api_server, 1)
        definition = await api_server.delete_definition(name)
        assert await events.told(1) == [("DELETED", "echo")]
        assert await events.next() is None
    missing = await admin.get(EXPORTS)
    await api_server.restore_definition(definition)
    empty = await admin.get(EXPORTS)
    new = await admin.get(f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{name}")

    assert (missing.code, empty.code, empty.body["items"]) == (404, 200, [])
    assert new.body["metadata"]["uid"] != definition["metadata"]["uid"]


async def test_a_definition_that_changes_ends_its_watches(api_server: StandIn, admin: Caller) -> None:
    """Whoever watched has to come again, and finds the new schema."""
    where = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/serviceimports.multicluster.x-k8s.io"
    imports = f"{MCS}/namespaces/default/serviceimports"
    definition = (await admin.get(where)).body
    for one in definition["spec"]["versions"]:
        schema = one["schema"]["openAPIV3Schema"]["properties"]["status"]
        schema["properties"]["endpointSliceObjects"] = {"type": "string", "enum": ["Absent", "Present"]}
    await admin.post(imports, imported())
    async with admin.watch(imports, resourceVersion=await latest(admin)) as events:
        await until_watched(api_server, 1)
        assert (await admin.put(where, definition)).code == 200
        assert await events.next() is None
    body = {**imported(), "status": {"endpointSliceObjects": "Present"}}
    told = await admin.apply(f"{imports}/echo/status", body, "us")

    assert told.body["status"] == {"endpointSliceObjects": "Present"}


async def test_a_secret_holds_base64(api_server: StandIn, admin: Caller) -> None:
    """What is given as text is encoded; what is no base64 is 400."""
    path = f"{CORE}/namespaces/default/secrets"
    made = await admin.post(path, {"metadata": {"name": "a"}, "stringData": {"key": "value"}})
    refused = await admin.post(path, {"metadata": {"name": "b"}, "data": {"key": "no base64!"}})

    assert (made.body["data"], made.body["type"]) == ({"key": "dmFsdWU="}, "Opaque")
    assert refused.reason == (400, "BadRequest")


async def test_a_version_of_the_future_is_refused(api_server: StandIn, admin: Caller) -> None:
    """As after a restore from an old backup: list and watch are 504, and say what the server has."""
    future = str(int(await latest(admin)) + 1000)
    for query in ({}, {"watch": "1"}):
        reply = await admin.get(EXPORTS, resourceVersion=future, **query)
        assert reply.reason == (504, "Timeout")
        assert reply.body["details"]["causes"][0]["reason"] == "ResourceVersionTooLarge"


async def test_every_server_is_a_cluster_of_its_own(api_server: StandIn, tmp_path: Path) -> None:
    """Ports, objects, tokens and CAs are apart, and a kubeconfig is for its owner's eyes."""
    async with running("west", service_ranges=("10.97.0.0/16", "fd00:97::/112")) as west:
        async with plane_of(west).caller() as admin:
            await admin.post(EXPORTS, export())
            spec = {"ports": [{"port": 80}], "ipFamilyPolicy": "PreferDualStack"}
            dual = await admin.post(f"{CORE}/namespaces/default/services", {"metadata": {"name": "echo"}, "spec": spec})
        async with Caller(api_server.url, api_server.ca_pem, west.admin_token) as stranger:
            assert (await stranger.get(EXPORTS)).code == 401
        async with Caller(api_server.url, west.ca_pem, api_server.admin_token) as deceived:
            with pytest.raises(aiohttp.ClientConnectorCertificateError):
                await deceived.get(EXPORTS)
        written = west.write_kubeconfig(tmp_path / "west")
        told = yaml.safe_load(written.read_text())

        assert api_server.objects(("multicluster.x-k8s.io", "serviceexports")) == {}
        assert list(west.objects(("multicluster.x-k8s.io", "serviceexports"))) == [Key("default", "echo")]
        assert dual.body["spec"]["ipFamilies"] == ["IPv4", "IPv6"]
        assert dual.body["spec"]["clusterIPs"][1].startswith("fd00:97::")
        assert told["clusters"][0]["cluster"]["server"] == west.url
        assert written.stat().st_mode & 0o777 == 0o600


async def test_the_audit_tells_who_did_what(api_server: StandIn, admin: Caller) -> None:
    """A test can count writes, find what was forbidden, and see which rules were used."""
    await admin.post(EXPORTS, export())
    async with plane_of(api_server).caller(api_server.token_for("jane")) as jane:
        await jane.get(f"{EXPORTS}/echo")
    told = [(one.user, one.asked.verb, one.asked.resource, one.asked.name, one.code) for one in api_server.audit]

    assert told == [
        ("kubernetes-admin", "create", "serviceexports", "", 201),
        ("jane", "get", "serviceexports", "echo", 403),
    ]


async def test_it_runs_as_a_process(tmp_path: Path) -> None:
    """It writes a kubeconfig, says where it serves, and ends at SIGTERM."""
    kubeconfig = tmp_path / "kubeconfig"
    command = [sys.executable, "-m", "support.kube", "--kubeconfig", str(kubeconfig)]
    process = await asyncio.create_subprocess_exec(*command, cwd=ROOT / "tests", stdout=asyncio.subprocess.PIPE)
    try:
        assert process.stdout is not None
        async with asyncio.timeout(WAIT_SECONDS):
            line = (await process.stdout.readline()).decode()
        context = yaml.safe_load(kubeconfig.read_text())
        server = context["clusters"][0]["cluster"]["server"]
        unverified = ssl.create_default_context()
        unverified.check_hostname, unverified.verify_mode = False, ssl.CERT_NONE
        headers = {"Authorization": f"Bearer {context['users'][0]['user']['token']}"}
        url = f"{server}{EXPORTS}"
        async with aiohttp.ClientSession() as session, session.get(url, ssl=unverified, headers=headers) as response:
            assert response.status == 200
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(WAIT_SECONDS):
            assert (line, await process.wait()) == (f"serving {server}\n", 0)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
