"""What tests may ask of an API server beside its API: users, a record of requests, and going away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from controllers.kube.client import KubeAccess, KubeError, open_client
from support.exchange import until
from support.kube.caller import Events
from support.kube.cluster import cluster_of, emptied, grant, requests
from support.kube.plane import Plane
from support.kube.site import MCS, Site, export, names, version

RULE = {"apiGroups": ["multicluster.x-k8s.io"], "resources": ["serviceexports"], "verbs": ["list", "watch"]}
LIST_SECONDS = 5.0


@pytest.fixture
async def alone(kube_plane: Plane) -> AsyncIterator[Plane]:
    """A server with nothing in it that others left, or that this test leaves."""
    async with emptied(kube_plane.server):
        yield kube_plane


async def listed(plane: Plane, kubeconfig: Path) -> list[str]:
    async with open_client(KubeAccess(kubeconfig)) as client:
        answer = await client.get(f"{MCS}/serviceexports", {}, timeout_seconds=LIST_SECONDS)
    items = answer["items"]
    assert isinstance(items, list)
    return [item["metadata"]["name"] for item in items]


async def test_a_kubeconfig_is_of_any_user(alone: Plane, tmp_path: Path) -> None:
    """Of a user and groups that exist nowhere else; what they may do is up to RBAC."""
    path = alone.server.write_kubeconfig(tmp_path / "kubeconfig", user="jane", groups=["developers"])
    with pytest.raises(KubeError, match='User "jane" cannot list') as refused:
        await listed(alone, path)
    grant(cluster_of(alone.server), "contract-jane", "jane", [RULE])

    async def allowed() -> list[str]:
        while True:
            try:
                return await listed(alone, path)
            except KubeError:
                # A binding takes a moment to come into force.
                await asyncio.sleep(0.02)

    assert refused.value.status == 403
    assert await asyncio.wait_for(allowed(), 20.0) == []
    assert path.stat().st_mode & 0o777 == 0o600


async def test_a_kubeconfig_is_of_a_service_account(site: Site, tmp_path: Path) -> None:
    """By a token of its own; the account is made if it is missing."""
    token = site.plane.server.account_token(site.namespace, "worker")
    path = site.plane.server.write_kubeconfig(tmp_path / "kubeconfig", token)
    name = f"system:serviceaccount:{site.namespace}:worker"
    with pytest.raises(KubeError, match=f'User "{name}" cannot list'):
        await listed(site.plane, path)


async def test_requests_are_recorded(site: Site) -> None:
    """User, verb, resource, name and status of each, a watch when it begins; who is impersonated counts as the user."""
    user = f"recorded-{site.namespace}"
    path = site.path("serviceexports")
    headers = {"Impersonate-User": user, "Impersonate-Group": "system:masters"}
    async with site.plane.caller(headers=headers) as caller, caller.watch(path, timeoutSeconds="30") as events:
        await caller.post(path, export())
        assert await events.told(1) == [("ADDED", "echo")]
        await caller.get(f"{path}/none")
        await caller.apply(f"{path}/echo/status", {**export(), "status": {}}, "us")
    async with site.plane.caller(headers={"Impersonate-User": user}) as nobody:
        await nobody.delete(path)
    cluster = cluster_of(site.plane.server)
    await until(lambda: len(requests(cluster, user)) == 5)
    told = [
        (one.asked.verb, one.asked.group, one.asked.plural, one.asked.subresource, one.asked.namespace, one.code)
        for one in requests(cluster, user)
    ]
    of = ("multicluster.x-k8s.io", "serviceexports")

    assert sorted(told) == sorted(
        [
            ("watch", *of, "", site.namespace, 200),
            ("create", *of, "", site.namespace, 201),
            ("get", *of, "", site.namespace, 404),
            ("patch", *of, "status", site.namespace, 200),
            ("deletecollection", *of, "", site.namespace, 403),
        ]
    )
    assert {one.asked.name for one in requests(cluster, user) if one.asked.verb in {"get", "patch"}} == {"none", "echo"}


async def test_a_server_that_was_killed_has_what_it_had(site: Site) -> None:
    """It comes back on the same address with all that was stored."""
    cluster = cluster_of(site.plane.server)
    await site.made(site.path("serviceexports"), export())
    await cluster.vanish()
    async with site.plane.caller() as caller:
        with pytest.raises(OSError):  # noqa: PT011 - refused or cut, as it happens
            await caller.get(site.path("serviceexports"))
    await cluster.come_back()
    async with site.plane.caller() as caller:
        async with asyncio.timeout(20.0):
            # The storage of custom resources may be a moment behind: 429 until then.
            while (reply := await caller.get(site.path("serviceexports"))).code != 200:
                await asyncio.sleep(0.02)

    assert names(reply) == ["echo"]


async def test_a_server_that_hangs_answers_later(site: Site) -> None:
    """Nothing comes while it does, and all of it afterwards."""
    cluster = cluster_of(site.plane.server)
    await cluster.vanish(hang=True)
    try:
        asked = asyncio.ensure_future(site.admin.get(site.path("serviceexports")))
        done, _ = await asyncio.wait([asked], timeout=0.3)
    finally:
        await cluster.come_back()

    assert not done
    assert (await asked).code == 200


async def test_what_is_forgotten_must_be_listed(site: Site) -> None:
    """A watch from before is told that it is too late: 410."""
    cluster = cluster_of(site.plane.server)
    path = site.path("serviceexports")
    await site.made(path, export("a"))
    before = version((await site.admin.get(path)).body)
    await site.made(path, export("b"))
    await cluster.forget()
    async with site.plane.caller() as caller, asyncio.timeout(20.0):
        while (reply := await caller.get(path)).code != 200:
            await asyncio.sleep(0.02)
        async with caller.watch(path, resourceVersion=before) as events:
            event = await first(events)

    assert names(reply) == ["a", "b"]
    assert (event["type"], event["object"]["code"]) == ("ERROR", 410)


async def first(events: Events) -> dict[str, dict[str, object]]:
    found = await events.next()
    assert found is not None
    return found
