"""What this project relies on in an API server whose Services may have two families."""

from __future__ import annotations

from typing import Any

from support.kube.caller import Reply
from support.kube.objects import Json
from support.kube.plane import Plane
from support.kube.site import CORE, service

SERVICES = f"{CORE}/namespaces/default/services"
FOUR, SIX = "10.96.201.1", "fd00:10:96::201"
BOTH = {"ipFamilies": ["IPv4", "IPv6"], "ipFamilyPolicy": "PreferDualStack"}


async def test_a_service_has_the_families_that_it_asks_for(dual_stack_plane: Plane) -> None:
    """One unless it says otherwise, two with a policy for it; the second comes and goes, the first stays."""
    async with dual_stack_plane.caller() as admin:

        async def applied(name: str, **spec: Any) -> Reply:
            return await admin.apply(f"{SERVICES}/{name}", service(name, **spec), "us")

        async def families(name: str, **spec: Any) -> list[str]:
            reply = await applied(name, **spec)
            assert reply.code in {200, 201}, reply
            assert len(reply.body["spec"]["clusterIPs"]) == len(reply.body["spec"]["ipFamilies"])
            found: list[str] = reply.body["spec"]["ipFamilies"]
            return found

        async def fields(name: str, **spec: Any) -> list[str]:
            reply = await applied(name, **spec)
            assert reply.reason == (422, "Invalid"), reply
            return [cause["field"] for cause in reply.body["details"]["causes"]]

        had = [
            await families("plain"),
            await families("six", ipFamilies=["IPv6"]),
            await families("both", **BOTH),
            await families("plain", **BOTH),
            await families("plain", ipFamilies=["IPv4"], ipFamilyPolicy="SingleStack"),
            await families("asked", clusterIP=FOUR, clusterIPs=[FOUR, SIX], **BOTH),
        ]
        refused = [
            await fields("new", ipFamilies=["IPv4", "IPv6"]),
            await fields("new", ipFamilies=["IPv4", "IPv4"], ipFamilyPolicy="PreferDualStack"),
            await fields("new", clusterIP=SIX[:-1], clusterIPs=[SIX[:-1]], ipFamilies=["IPv4"]),
            await fields("new", clusterIP="10.96.201.2", clusterIPs=["10.96.201.2", SIX], **BOTH),
            await fields("six", ipFamilies=["IPv4"]),
        ]
    assert had == [["IPv4"], ["IPv6"], ["IPv4", "IPv6"], ["IPv4", "IPv6"], ["IPv4"], ["IPv4", "IPv6"]]
    assert refused == [
        ["spec.ipFamilyPolicy"],
        ["spec.ipFamilies[1]"],
        ["spec.clusterIPs[0]"],
        ["spec.clusterIPs"],
        ["spec.clusterIPs[0]"],
    ]


async def test_a_dry_run_shows_the_families_of_the_cluster(dual_stack_plane: Plane) -> None:
    """A Service that prefers two gets what there is, and nothing is made."""
    body: Json = service("probe", ipFamilyPolicy="PreferDualStack")
    async with dual_stack_plane.caller() as admin:
        shown = await admin.post(SERVICES, body, dryRun="All")
        missing = await admin.get(f"{SERVICES}/probe")

    assert (shown.code, shown.body["spec"]["ipFamilies"]) == (201, ["IPv4", "IPv6"])
    assert missing.code == 404
