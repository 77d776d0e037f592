"""Revocations: which services' open connections a withdrawal of trust ends."""

from __future__ import annotations

from datetime import timedelta

from controllers.revocations import Revocations, Servers, held_back, revise
from federation.model.names import ClusterId
from support.builders import ECHO, NORTH, WEST, key, member
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
    return revise(before, view, frozenset(), servers, START)


def generations(found: Revocations) -> list[int]:
    """Of all trust, and of each service."""
    return [found.generation, *(found.of(each) for each in (ECHO, WEB, TLS))]


SECOND = int(START.timestamp())
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
    assert generations(unseen) == [SECOND] * 4
    assert generations(trusting(unseen, "east")) == [SECOND + 1, SECOND, SECOND + 1, SECOND]


def test_a_restart_never_counts_to_a_generation_that_was_there() -> None:
    """Of the last one nothing may have been written: Envoys that have it would take the next one for the same."""
    unwritten = trusting(ALL, "east", "north")
    after_restart = trusting(ALL, "east", servers=None)
    assert unwritten.generation < after_restart.generation
    assert trusting(after_restart).generation == after_restart.generation + 1


def test_a_restart_that_finds_the_same_trust_changes_nothing() -> None:
    """Or every restart would end connections."""
    assert trusting(trusting(ALL, "east", "north"), "east", "north", servers=None) == trusting(ALL, "east", "north")


# A member that withdraws trust again and again


MEMBERS = [member(each) for each in (WEST, NORTH)]
DOMAINS = {TrustDomain(each.trust_domain) for each in MEMBERS}


def swapping(before: Revocations, number: int, seconds: int, servers: Servers | None = SERVERS) -> Revocations:
    """So many seconds after START, West has only the CA of this number, and North the one it always had."""
    view = TrustView()
    for cluster, at in ((NORTH, 1), (WEST, number)):
        view = view.with_bundle(TrustBundle(TrustDomain(f"{cluster}.test"), 1, (ca_of(cluster, at).der,)))
    return revise(before, view, DOMAINS, servers, START + timedelta(seconds=seconds))


def held(seconds: int = 3, servers: Servers | None = SERVERS) -> Revocations:
    """Once West has had another CA every second."""
    found = swapping(Revocations(), 0, 0)
    for second in range(1, seconds + 1):
        found = swapping(found, second % 4, second, servers if second == seconds else SERVERS)
    return found


def test_what_is_held_back_concerns_what_it_did_when_it_was_withdrawn() -> None:
    """A service that had a server of the domain then, whatever servers it has when its connections end."""
    waiting = held()
    later = {key: ["spiffe://north.test/ns/demo/sa/a"] for key in SERVERS}
    due = swapping(waiting, 3, 61, later)
    assert (generations(waiting), waiting.owed) == ([2, 2, 0, 0], {"west.test": {ECHO}})
    assert (generations(due), dict(due.owed)) == ([3, 3, 0, 0], {})


def test_what_was_withdrawn_unseen_and_is_held_back_concerns_every_service() -> None:
    """A controller that was started anew then does not know whose connections are open, and will not when they end."""
    waiting = held(servers=None)
    assert (generations(waiting), waiting.owed) == ([2, 2, 0, 0], {"west.test": None})
    assert generations(swapping(waiting, 3, 61)) == [SECOND + 61] * 4


def test_a_restart_changes_nothing_of_what_is_held_back() -> None:
    """It ends when it would have, and what it would have."""
    waiting = held()
    assert swapping(waiting, 3, 30, servers=None) == waiting
    assert generations(swapping(waiting, 3, 61, servers=None)) == [3, 3, 0, 0]


def test_time_alone_makes_it_due() -> None:
    """Somebody has to look then; before, and with nothing held back, nobody."""
    times = [START + timedelta(seconds=seconds) for seconds in (60, 61)]
    assert [held().due(now) for now in times] == [False, True]
    assert [held(2).due(now) for now in times] == [False, False]


def test_a_member_that_is_held_back_is_named() -> None:
    """With the time at which connections end for it next; others, and those that were never held back, are not."""
    assert list(held_back(held(2), MEMBERS)) == []
    (found,) = held_back(held(), MEMBERS)
    assert (found.subject, found.reason) == ("bundle of west", "WithdrawnTooOften")
    assert "next at 00:01:01Z" in found.message
