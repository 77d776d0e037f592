"""Key spelling: a promise to every member, and one slot of a Redis Cluster per member."""

from __future__ import annotations

from federation.exchange.base import Keys
from federation.model.names import ClusterId


def test_keys_carry_clusterset_and_cluster() -> None:
    """The names of a member's keys are fixed; the cluster id is the hash tag."""
    keys = Keys("prod", ClusterId("east"))
    assert (keys.log, keys.manifest, keys.lease, keys.channel, keys.shard(7)) == (
        "fg:prod:{east}:log",
        "fg:prod:{east}:man",
        "fg:prod:{east}:lease",
        "fg:prod:{east}:n",
        "fg:prod:{east}:snap:7",
    )
