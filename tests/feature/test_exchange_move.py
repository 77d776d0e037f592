"""Members of an installation move from one exchange to another, one after the other."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from federation.exchange.server import EmbeddedRedis, find_redis_server
from support.exchange import until
from support.kube_members import SECONDS, KubeMember, exported, kube_clusters

pytestmark = pytest.mark.timeout(180)


def deletions(member: KubeMember) -> list[tuple[str, str, str, int]]:
    return [write for write in member.writes() if write[1] == "delete"]


def move(member: KubeMember, url: str) -> None:
    """As an upgrade does: the former pod ends, and the next begins with an empty disk and the other settings."""
    member.replicas[-1].child.end()
    member.settings["exchange"] = {"url": url}
    member.start(len(member.replicas))


async def test_an_installation_moves_members_and_nothing_is_emptied_meanwhile(tmp_path: Path) -> None:
    """Who has moved keeps what it imports until the others come; then each hears of what the other exports there."""
    async with kube_clusters(tmp_path) as clusters:
        east, west = await clusters.add("east", "eu"), await clusters.add("west", "us")
        await clusters.found(east, west)
        for member in (east, west):
            member.namespace()
        for document in exported():
            east.create(document)
        await until(lambda: "echo" in west.objects("ServiceImport"), seconds=SECONDS)
        other = EmbeddedRedis(0, directory=tmp_path / "other", program=find_redis_server(os.environ))
        other.start()
        try:
            move(west, other.url)
            for document in exported("late", "10.0.0.9"):
                west.create(document)
            await until(lambda: "late" in west.objects("ServiceImport"), seconds=SECONDS)
            apart = sorted(west.objects("ServiceImport")), sorted(east.objects("ServiceImport"))
            move(east, other.url)
            await until(lambda: "late" in east.objects("ServiceImport"), seconds=SECONDS)
            clusters.redis.kill()
            for document in exported("last", "10.0.0.8"):
                east.create(document)
            for member in (east, west):
                await until(lambda member=member: "last" in member.objects("ServiceImport"), seconds=SECONDS)
            together = [sorted(member.objects("ServiceImport")) for member in (east, west)]
            deleted = [deletions(member) for member in (east, west)]
        finally:
            other.kill()

    assert apart == (["echo", "late"], ["echo"])
    assert together == [["echo", "last", "late"]] * 2
    assert deleted == [[], []]
