"""Revocations: which services' open connections a withdrawal of trust ends."""

from __future__ import annotations

from controllers.revocations import Revocations, Servers, revise
from federation.model.names import ClusterId
from support.builders import ECHO, key
from support.clock import START
from support.control import ca_of
from trustbundle.bundle import TrustBundle, TrustView
from trustbundle.identity import TrustDomain

WEB, TLS = key("demo/web"), key("demo/tls")
SERVERS: Servers = {
    ECHO: ["spiffe://east.test/ns/demo/sa/a", "spiffe://west.test/ns/demo/sa/a"],
    WEB: ["spiffe://north.test/ns/demo/sa/b"],
    TLS: ["spiffe://west.test.north.test/ns/demo/sa/b"],
}


def trusting(before: Revocations, *clusters: str, servers: Servers | None = SERVERS) -> Revocations:
    view = TrustView()
    for cluster in clusters:
        view = view.with_bundle(TrustBundle(TrustDomain(f"{cluster}.test"), 1, (ca_of(ClusterId(cluster)).der,)))
    return revise(before, view, servers, START)


def generations(found: Revocations) -> list[int]:
    """Of all trust, and of each service."""
    return [found.generation, *(found.of(each) for each in (ECHO, WEB, TLS))]


ALL = trusting(Revocations(), "east", "west", "north")


def test_nothing_is_withdrawn_at_first() -> None:
    """The first trust that is ever seen ends nothing."""
    assert generations(ALL) == [0, 0, 0, 0]


def test_a_service_goes_by_the_withdrawals_that_concern_its_servers() -> None:
    """Others keep their generation, and later withdrawals leave it alone."""
    without_west = trusting(ALL, "east", "north")
    assert generations(without_west) == [1, 1, 0, 0]
    assert generations(trusting(without_west, "east")) == [2, 1, 2, 0]


def test_what_a_service_had_to_end_is_forgotten_with_the_service() -> None:
    """A service that is no longer imported has no listener; the table does not grow for ever."""
    without_west = trusting(ALL, "east", "north")
    assert dict(trusting(without_west, "east", servers={WEB: SERVERS[WEB]}).services) == {WEB: 2}


def test_trust_that_was_withdrawn_unseen_concerns_every_service() -> None:
    """Whoever was started anew does not know whose connections are open."""
    unseen = trusting(ALL, "east", "north", servers=None)
    assert (generations(unseen), generations(trusting(unseen, "east"))) == ([1, 1, 1, 1], [2, 1, 2, 1])


def test_a_restart_that_finds_the_same_trust_changes_nothing() -> None:
    """Or every restart would end connections."""
    assert trusting(trusting(ALL, "east", "north"), "east", "north", servers=None) == trusting(ALL, "east", "north")
