"""Orders to drain, as they are kept, refused and acknowledged."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path

import pytest

from federation.app.drains import DrainDesk
from federation.model.errors import OrderError
from federation.model.names import GATEWAY_KEY, TRUST_KEY
from federation.model.records import GatewayAddress, GatewayRecord, TrustRecord
from gateway.xds import protos as pb
from gateway.xds.status import StreamStatus
from gateway.xds.stream import TypeStatus
from support.builders import EAST, ECHO, WEST, endpoint, endpoint_slice, exported_state
from support.clock import START, ManualClock
from support.control import ControlLoop, FakePeers, bundle

OWN = "127.0.0.1:15443"
NOW = timedelta(0)


class Seat(FakePeers):
    settled = True


class Streams:
    """One node, which has taken its endpoints or not."""

    busy = False

    def streams(self) -> tuple[StreamStatus, ...]:
        kind = TypeStatus(pb.ENDPOINT, wildcard=True, names=0, resources=1, acked=1, nacks=(), busy=self.busy)
        return (StreamStatus("sidecar", "", START, (kind,)),)


class Office:
    """East with its desk; west is trusted."""

    def __init__(self, directory: Path) -> None:
        self.clock, self.peers, self.xds = ManualClock(), Seat(WEST), Streams()
        self.loop = ControlLoop(directory, clock=self.clock, peers=self.peers)
        self.leads = True
        self.desk = DrainDesk(
            self.loop.settings,
            controller=self.loop.controller,
            journal=self.loop.journal,
            session=self.peers,
            xds=self.xds,
            mark=lambda: None,
            clock=self.clock,
            leads=lambda: self.leads,
        )
        self.loop.own({})
        self.loop.say(WEST, bundle(WEST))
        self.turn()

    def turn(self) -> None:
        self.loop.step()
        self.desk.on_pass()

    @property
    def told(self) -> GatewayRecord:
        record = self.peers.published[-1][GATEWAY_KEY]
        assert isinstance(record, GatewayRecord)
        return record


@pytest.fixture
def office(tmp_path: Path) -> Office:
    return Office(tmp_path)


def test_a_drain_is_published_and_waited_for(office: Office) -> None:
    """It counts as published from the pass on, and as done when west says its revision."""
    office.desk.drain(EAST, NOW, force=False)
    assert not office.desk.report().published
    office.turn()
    report = office.desk.report()
    assert (report.published, report.waiting_for, office.told.is_drained) == (True, (WEST,), True)
    office.loop.say(WEST, TrustRecord((), ((EAST, office.told.revision),)))
    assert office.desk.report().acknowledged == (WEST,)


def test_steps_are_told_as_time_goes_by(office: Office) -> None:
    """The loop that watches the time finds that a pass is due, and only then."""
    office.desk.drain(EAST, timedelta(minutes=9), force=False)
    office.turn()
    assert (office.told.share, office.loop.controller.on_time()) == (90, False)
    office.clock.advance(timedelta(minutes=1))
    assert office.loop.controller.on_time()
    office.turn()
    assert office.told.share == 80
    office.desk.undrain(EAST, NOW)
    office.turn()
    assert (office.told.share, office.told.drained, office.desk.report().is_drained) == (100, (), False)


@pytest.mark.parametrize(
    ("target", "words"),
    [(WEST, "west is another cluster"), ("192.0.2.9", "neither this cluster"), ("127.0.0.1:1", "neither")],
)
def test_what_is_not_ours_is_refused(office: Office, target: str, words: str) -> None:
    with pytest.raises(OrderError, match=words):
        office.desk.drain(target, NOW, force=True)


def test_what_is_not_drained_is_not_undone(office: Office) -> None:
    with pytest.raises(OrderError, match="not drained"):
        office.desk.undrain(EAST, NOW)


@pytest.mark.parametrize("target", [EAST, OWN])
def test_a_service_that_nobody_else_serves_stops_it(office: Office, target: str) -> None:
    """Of the cluster, and of its last gateway alike, unless it is forced."""
    office.loop.own({ECHO: exported_state(endpoint_slice(endpoint("10.0.0.9")))})
    office.turn()
    with pytest.raises(OrderError, match="nobody else serves demo/echo"):
        office.desk.drain(target, NOW, force=False)
    office.desk.drain(target, NOW, force=True)
    office.turn()
    assert office.told.is_drained


def test_who_does_not_lead_takes_no_order(office: Office) -> None:
    office.leads = False
    with pytest.raises(OrderError, match="does not lead"):
        office.desk.drain(EAST, NOW, force=False)


def test_an_order_that_is_not_on_disk_is_told(office: Office) -> None:
    """It is carried out, and a restart would forget it."""
    office.loop.journal.broken = True
    with pytest.raises(OrderError, match="a restart would forget it"):
        office.desk.drain(EAST, NOW, force=False)


def test_a_gateway_that_leaves_comes_back_by_its_own_word(office: Office) -> None:
    """An order to drain it is not undone by that."""
    office.desk.drain(OWN, NOW, force=False)
    office.desk.gateway_leaves(OWN)
    office.desk.gateway_serves(OWN)
    office.turn()
    assert (office.told.is_drained, office.desk.report().gateways[0].leaving) == (True, False)
    office.desk.undrain(OWN, NOW)
    office.desk.gateway_leaves(OWN)
    office.turn()
    assert office.told.drained == (GatewayAddress("127.0.0.1", 15443),)
    office.desk.gateway_serves(OWN)
    office.turn()
    assert office.told.addresses == (GatewayAddress("127.0.0.1", 15443),)
    with pytest.raises(OrderError):
        office.desk.gateway_leaves("127.0.0.9:15443")


def test_a_sidecar_that_leaves_counts_no_more(office: Office) -> None:
    """The others are told of no ready endpoint of it, until it is back."""
    office.loop.own({ECHO: exported_state(endpoint_slice(endpoint("10.0.0.9")))})
    office.turn()

    def ready() -> int:
        return office.loop.controller.projection.results[ECHO].exported.endpoints.ready  # type: ignore[union-attr]

    office.desk.sidecar_leaves("10.0.0.9:15006")
    assert not office.desk.report().settled
    office.turn()
    assert (ready(), office.desk.report().leaving_workloads) == (0, ("10.0.0.9:15006",))
    office.desk.sidecar_serves("10.0.0.9:15006")
    office.turn()
    assert (ready(), office.desk.report().settled) == (1, True)


async def test_a_peers_drain_is_acknowledged_when_the_nodes_have_taken_it(office: Office) -> None:
    """Not before."""
    running = asyncio.create_task(office.desk.run())
    office.xds.busy = True
    drained = GatewayRecord((), "us", "lan", drained=(GatewayAddress("192.0.2.1", 15443),), revision=9)
    office.loop.say(WEST, drained)
    office.turn()
    await asyncio.sleep(0)
    assert office.loop.controller.to_route
    office.xds.busy = False
    async with asyncio.timeout(10):
        while office.loop.controller.to_route:
            await asyncio.sleep(0.01)
    running.cancel()
    office.turn()
    assert office.peers.published[-1][TRUST_KEY] == TrustRecord(routed=((WEST, 9),))
    assert office.loop.controller.surroundings.withdrawn == {WEST}
