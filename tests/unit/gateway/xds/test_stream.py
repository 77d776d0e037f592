"""What a stream tells of itself; its behaviour as a protocol is in tests/stream."""

from __future__ import annotations

from gateway.xds import protos as pb
from gateway.xds.stream import TypeStatus
from support.playbook import Playbook
from support.xds import endpoints, secret


def test_status_tells_each_type() -> None:
    """How much is subscribed, had, accepted and refused."""
    play = Playbook(endpoints("a"), endpoints("b"), secret("bad"))
    play.request("EDS")
    play.ack("EDS#1")
    play.request("EDS", "a")
    play.request("SDS", "bad", "absent")
    play.nack("SDS#3")
    play.nack("SDS#4", "no key")
    play.ack("SDS#5")

    eds, sds = play.stream.status()

    assert eds == TypeStatus(pb.ENDPOINT, wildcard=True, names=1, resources=2, acked=1, nacks=(), busy=True)
    assert (sds.wildcard, sds.names, sds.resources, sds.acked) == (False, 2, 1, 1)
    assert [(nack.type_url, nack.name, nack.message) for nack in sds.nacks] == [(pb.SECRET, "bad", "no key")]


def test_nonces_are_one_sequence_per_stream() -> None:
    """Every response has its own, whatever its type; a new stream begins anew."""
    play = Playbook(endpoints("a"), secret("key"))
    assert play.request("EDS") + play.request("SDS") == ["EDS#1 a", "SDS#2 key"]

    play.reconnect()
    assert play.request("SDS") == ["SDS#1 key"]


def test_unknown_types_are_answered_like_any_other() -> None:
    """Envoy may ask for what we do not have; it is told so and goes on."""
    play = Playbook()
    play.cache.update_node("node", [secret("key")])
    play.deliver()

    assert play.request("SDS", "other") == ["SDS#1 -other"]
