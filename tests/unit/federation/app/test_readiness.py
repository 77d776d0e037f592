"""What a controller that is not ready says it waits for."""

from __future__ import annotations

from federation.app.readiness import waited_for, waited_for_place


def test_the_manifests_come_first() -> None:
    """While the own manifests are not read, nothing else matters."""
    found = waited_for(source_synced=False, exchange_connected=False, unknown_peers=["eu-west"])
    assert found == "the first whole read of the manifests"


def test_peers_are_named() -> None:
    """Peers of whom nothing whole was read are named."""
    found = waited_for(source_synced=True, exchange_connected=True, unknown_peers=["eu-west", "us-west"])
    assert found == "the first whole read of eu-west, us-west from the exchange"


def test_an_unreachable_exchange_is_said() -> None:
    """Where the exchange is not heard, that is why."""
    found = waited_for(source_synced=True, exchange_connected=False, unknown_peers=["eu-west"])
    assert found == "the first whole read of eu-west from the exchange, which can't be reached"


def test_many_peers_are_counted() -> None:
    """A sentence stays a sentence with 250 peers."""
    peers = [f"peer-{number:03}" for number in range(250)]
    found = waited_for(source_synced=True, exchange_connected=True, unknown_peers=peers)
    assert found == (
        "the first whole read of peer-000, peer-001, peer-002, peer-003, peer-004 and 245 more from the exchange"
    )


def test_a_pass_that_does_not_come_points_at_the_log() -> None:
    """With all known and still not ready, the control loop's own errors are the place to look."""
    found = waited_for(source_synced=True, exchange_connected=True, unknown_peers=[])
    assert "the controller's log" in found


def test_a_lost_place_is_said() -> None:
    """A cluster that is no member any more waits for a place, and for nothing else."""
    assert waited_for_place("acme") == (
        "a place in clusterset acme, which it has left, was evicted from, or holds with another key"
    )
