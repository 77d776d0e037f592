"""The names that the rest of the package takes from Envoy's generated messages."""

from __future__ import annotations

import pytest

from gateway.xds import protos as pb


@pytest.mark.parametrize("type_url", sorted(pb.MESSAGES))
def test_type_urls_name_their_messages(type_url: str) -> None:
    """Each type URL is that of the message class beside it."""
    assert type_url == f"type.googleapis.com/{pb.MESSAGES[type_url].DESCRIPTOR.full_name}"


def test_every_exported_name_exists() -> None:
    """`__all__` has no leftovers."""
    assert [name for name in pb.__all__ if not hasattr(pb, name)] == []


def test_packing_is_deterministic() -> None:
    """Maps in another order give the same bytes: versions are hashes of them."""

    def options(*keys: str) -> pb.Message:
        cluster = pb.Cluster(name="a")
        for key in keys:
            cluster.typed_extension_protocol_options[key].CopyFrom(pb.pack(pb.Router()))
        return pb.pack(cluster)

    assert options("x", "y", "z").value == options("z", "y", "x").value


def test_unpacking_another_type_gives_nothing() -> None:
    """None, rather than an empty message."""
    packed = pb.pack(pb.Cluster(name="a"))

    assert pb.unpack(packed, pb.Listener) is None
    assert pb.unpack(packed, pb.Cluster).name == "a"
