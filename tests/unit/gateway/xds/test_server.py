"""What the server is by construction; what it does is in tests/feature."""

from __future__ import annotations

import inspect

from gateway.xds.server import Node, NodeIdentity, XdsServer


def test_there_is_no_way_to_listen_in_the_clear_on_tcp() -> None:
    """A Unix socket, or TLS: the stream carries private keys."""
    ways = [name for name, _ in inspect.getmembers(XdsServer) if name.startswith("listen")]

    assert ways == ["listen_tls", "listen_unix"]
    assert "certificate" in inspect.signature(XdsServer.listen_tls).parameters


def test_identities_and_nodes_are_values() -> None:
    """Equal by content, so that an app can key its tables by them."""
    assert NodeIdentity("spiffe://a.mesh/x") == NodeIdentity("spiffe://a.mesh/x")
    assert Node("n", "c", {}) == Node("n", "c", {})
