"""What this project relies on in an API server's tokens of service accounts: requested, reviewed, and worth nothing."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from support.kube.objects import Json
from support.kube.site import AUTHENTICATION, CORE, WAIT_SECONDS, Site

POD = {
    "metadata": {"name": "echo-1"},
    "spec": {"serviceAccountName": "echo", "containers": [{"name": "echo", "image": "echo"}]},
}


@pytest.fixture
async def accounts(site: Site) -> str:
    """Where the site's service accounts are; one is named echo and has a pod, another is named other."""
    path = site.path("serviceaccounts", api=CORE)
    for name in ("echo", "other"):
        await site.made(path, {"metadata": {"name": name}})
    await site.made(site.path("pods", api=CORE), POD)
    return path


def request(*audiences: str, seconds: int = 600, **pod: str) -> Json:
    spec: Json = {"audiences": list(audiences) or ["federation"], "expirationSeconds": seconds}
    return {"spec": {**spec, **({"boundObjectRef": {"apiVersion": "v1", "kind": "Pod", **pod}} if pod else {})}}


async def reviewed(site: Site, token: str, audience: str = "federation") -> Any:
    body = {"spec": {"token": token, "audiences": [audience]}}
    return (await site.admin.post(f"{AUTHENTICATION}/tokenreviews", body)).body["status"]


async def refused_soon(site: Site, token: str) -> bool:
    """True once the token proves nothing; a real server remembers a good one for some seconds."""
    async with asyncio.timeout(WAIT_SECONDS):
        while (await reviewed(site, token)).get("authenticated"):
            await asyncio.sleep(0.1)
    return True


async def test_a_token_of_a_pod_names_it(site: Site, accounts: str) -> None:
    """The review tells the pod by name and uid, the uid also where the request did not say it."""
    pod = (await site.admin.get(site.path("pods", "echo-1", api=CORE))).body
    reply = await site.admin.post(f"{accounts}/echo/token", request(name="echo-1"))
    status = await reviewed(site, reply.body["status"]["token"])

    assert (status["authenticated"], status["audiences"]) == (True, ["federation"])
    extra = status["user"]["extra"]
    found = [extra[f"authentication.kubernetes.io/pod-{part}"] for part in ("name", "uid")]
    assert found == [["echo-1"], [pod["metadata"]["uid"]]]


async def test_a_token_goes_with_its_pod(site: Site, accounts: str) -> None:
    """When the pod is deleted its token proves nothing, the account's other tokens go on."""
    bound = (await site.admin.post(f"{accounts}/echo/token", request(name="echo-1"))).body["status"]["token"]
    free = (await site.admin.post(f"{accounts}/echo/token", request())).body["status"]["token"]
    await site.admin.delete(site.path("pods", "echo-1", api=CORE), {"gracePeriodSeconds": 0})

    assert await refused_soon(site, bound)
    assert (await reviewed(site, free))["authenticated"]


async def test_a_token_goes_with_its_account(site: Site, accounts: str) -> None:
    """An account of the same name that is made again is another one."""
    token = (await site.admin.post(f"{accounts}/echo/token", request())).body["status"]["token"]
    await site.admin.delete(f"{accounts}/echo")
    await site.made(accounts, {"metadata": {"name": "echo"}})

    assert await refused_soon(site, token)


@pytest.mark.parametrize(
    ("account", "asked", "refusal"),
    [
        ("echo", request(seconds=599), (422, "Invalid")),
        ("echo", request(name="nobody"), (404, "NotFound")),
        ("echo", request(name="echo-1", uid="another"), (409, "Conflict")),
        ("other", request(name="echo-1"), (400, "BadRequest")),
        ("nobody", request(), (404, "NotFound")),
    ],
    ids=["too short", "no such pod", "another pod", "a pod of another account", "no such account"],
)
async def test_what_no_token_is_given_for(
    site: Site, accounts: str, account: str, asked: Json, refusal: tuple[int, str]
) -> None:
    """Ten minutes are the least; a pod must be there and run as the account."""
    reply = await site.admin.post(f"{accounts}/{account}/token", asked)

    assert reply.reason == refusal


async def test_a_token_that_is_none_is_not_authenticated(site: Site) -> None:
    """No error of the request, and nobody is named."""
    status = await reviewed(site, "no.such.token")

    assert not status.get("authenticated")
    assert not status["user"].get("username")
