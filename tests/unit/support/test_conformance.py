"""The eyes of the conformance mirror: what they wait for, and that they see what does not hold."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from support import conformance
from support.conformance import NotConformantError, Site, Trial, conducted
from support.conformance_objects import Pod, hello_service, native_slices
from support.kube.plane import plane_of
from support.kube.server import StandIn


@pytest.fixture
async def sites(api_server: StandIn, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[list[Site]]:
    """Two names of one API server that no controller looks after, with windows that end soon."""
    for window in ("WAIT_SECONDS", "STAYS_SECONDS", "SLICE_SECONDS", "LOOK_SECONDS"):
        monkeypatch.setattr(conformance, window, 0.02)
    async with plane_of(api_server).caller() as one, plane_of(api_server).caller() as other:
        yield [Site("east", one, ("127.0.0.1", 1), 0), Site("west", other, ("127.0.0.1", 1), 1)]


async def test_a_spec_that_does_not_hold_fails_alone(sites: list[Site]) -> None:
    """Each with its reason; what can't be made is an error too, and the others go on."""

    async def waits(trial: Trial) -> None:
        await trial.first.until("anything", lambda _: None, 0.02)

    async def stays(trial: Trial) -> None:
        await trial.first.stays("an import", lambda look: trial.namespace in look.imports)

    async def holds(trial: Trial) -> None:
        await trial.first.stays("no import", lambda look: trial.namespace not in look.imports)
        await trial.not_imported(trial.first)

    async def asks(trial: Trial) -> None:
        await trial.answers(trial.first, trial.host, "A", bool)

    with pytest.MonkeyPatch.context() as patched:
        # Both sites are one cluster, which would have the namespace already.
        patched.setattr(Trial, "begin", _nothing)
        outcomes = await conducted({"waits": waits, "stays": stays, "holds": holds, "asks": asks}, sites)

    assert outcomes["holds"] is None
    assert all(isinstance(outcomes[name], NotConformantError) for name in ("waits", "stays", "asks"))


async def test_a_look_begins_after_what_was_done_before_it(sites: list[Site]) -> None:
    """What a spec has just made is in the next look, and is gone in the one after it was taken away."""
    (site, _) = sites
    watching = asyncio.create_task(site.run())
    try:
        trial = Trial([site, site])
        await site.caller.post("/api/v1/namespaces", {"metadata": {"name": trial.namespace}})
        stored = await trial.deploy(site, replicas=2)
        await trial.export(site)
        made = await site.look()
        await trial.unexport(site)
        left = await site.look()
    finally:
        watching.cancel()

    assert trial.namespace in made.exports
    assert [len(one["endpoints"]) for one in made.slices[trial.namespace]] == [2]
    assert stored["spec"]["ipFamilies"] == ["IPv4"]
    assert trial.namespace not in left.exports
    assert trial.federated(made) == []


def test_a_service_has_a_native_slice_for_each_of_its_families() -> None:
    """With the port that pods listen on and the name of each pod of a StatefulSet; an ExternalName has none."""
    service = hello_service(
        ipFamilies=["IPv4", "IPv6"], ports=[{"name": "tcp", "port": 4242, "targetPort": 42, "protocol": "TCP"}]
    )
    first, second = native_slices(service, [Pod((("IPv4", "10.244.0.1"), ("IPv6", "fd00:244::1")), "hello-ss-0")])

    assert (first["addressType"], second["addressType"]) == ("IPv4", "IPv6")
    assert second["endpoints"] == [
        {"addresses": ["fd00:244::1"], "conditions": {"ready": True}, "hostname": "hello-ss-0"}
    ]
    assert first["ports"] == [{"name": "tcp", "port": 42, "protocol": "TCP"}]
    assert native_slices(hello_service(type="ExternalName"), []) == []


async def _nothing(_: Trial) -> None:
    pass
