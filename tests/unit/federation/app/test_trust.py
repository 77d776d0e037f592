"""The keeper of trust over a real control loop: what it does when peers, nodes and time move, and what it says."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from federation.app.bundles import Authorities, OwnAuthority
from federation.app.nodes import NodeDesk
from federation.app.trust import HANDOVER_BOUND, TrustKeeper
from federation.membership.tokens import TokenStore, create_token
from federation.model.errors import TrustError
from federation.model.names import TRUST_KEY
from federation.model.records import TrustRecord
from gateway.nodes import node_metadata
from gateway.xds import protos as pb
from gateway.xds.server import Node
from gateway.xds.status import StreamStatus
from gateway.xds.stream import TypeStatus
from support.builders import EAST, WEST
from support.certificates import MemoryKeystore
from support.clock import START, ManualClock
from support.control import SIDECAR, ControlLoop, FakePeers, bundle, ca_of, started_authority
from support.exchange import until
from trustbundle.external import TakenBundle
from trustbundle.external_authority import ExternalAuthority
from trustbundle.identity import TrustDomain
from trustbundle.rotation import ACKNOWLEDGE_BOUND, REISSUE_BOUND

SECOND, HOUR = timedelta(seconds=1), timedelta(hours=1)


class Seat(FakePeers):
    """A seat at an exchange that holds at once all that it is given, unless it is away."""

    settled = True


class MemoryStore:
    """Keeps what was taken of a CA elsewhere."""

    def load(self) -> TakenBundle | None:
        return None

    def save(self, taken: TakenBundle) -> None:
        pass


@dataclass
class Envoys:
    """Connected nodes that accept every secret at once, but those that are stuck."""

    loop: ControlLoop
    nodes: tuple[str, ...] = ()
    stuck: dict[str, dict[str, str]] = field(default_factory=dict)
    """What a stuck node accepted last."""

    def streams(self) -> tuple[StreamStatus, ...]:
        return tuple(self._stream(node, self.stuck.get(node, self.newest(node))) for node in self.nodes)

    def newest(self, node: str) -> dict[str, str]:
        return {name: version for (kind, name), version in self.loop.seen(node).items() if kind == "SDS"}

    def stick(self, node: str) -> None:
        self.stuck[node] = self.newest(node)

    @staticmethod
    def _stream(node: str, taken: dict[str, str]) -> StreamStatus:
        status = TypeStatus(pb.SECRET, wildcard=False, names=2, resources=2, acked=1, nacks=(), taken=taken)
        return StreamStatus(node, "", START, (status,))

    def refuse_from_now_on(self, names: Collection[str]) -> None:
        assert names == frozenset()


class Office:
    """East with its keeper; west is trusted and has published, and one sidecar is connected."""

    def __init__(
        self, directory: Path, *, others_serve: bool = False, shares: bool = False, elsewhere: bool = False
    ) -> None:
        self.clock = ManualClock()
        self.peers = Seat(WEST)
        self.authority = started_authority(clock=self.clock, keystore=MemoryKeystore(), withholds=shares)
        self.shared = asyncio.Event()
        self.loop = ControlLoop(directory, clock=self.clock, peers=self.peers, authority=self.authority)
        self.envoys = Envoys(self.loop)
        self.marks = 0
        self.leads = True
        self.handed_out = False
        own: OwnAuthority = self.authority
        if elsewhere:
            own = ExternalAuthority(TrustDomain("east.test"), "root.pem", MemoryStore())
            own.offer(ca_of(EAST).pem.encode(), "root.pem", self.clock.now())
        tokens = directory / "tokens"
        tokens.mkdir(mode=0o700)
        create_token(tokens / "demo.web.token")
        self.token = (tokens / "demo.web.token").read_text().strip()
        self.desk = NodeDesk(self.loop.dataplane, TokenStore.load(tokens), self.authority, "east.test", self.clock)
        self.file = directory / "bundle.pem"
        self.keeper = TrustKeeper(
            self.loop.settings,
            authorities=Authorities(own, self.authority),
            session=self.peers,
            controller=self.loop.controller,
            dataplane=self.loop.dataplane,
            desk=self.desk,
            cache=self.loop.cache,
            xds=self.envoys,
            bundle_file=self.file,
            mark=self.mark,
            clock=self.clock,
            leads=lambda: self.leads,
            saved=self.saved,
            others_serve=others_serve,
            handed_out=lambda: self.handed_out,
        )

    def mark(self) -> None:
        self.marks += 1

    async def saved(self) -> None:
        await self.shared.wait()

    async def start(self) -> None:
        self.loop.own({})
        self.loop.say(WEST, bundle(WEST), TrustRecord())
        identity = await self.desk.authenticate(self.token, "any", {})
        assert identity is not None
        name = await self.desk.on_node(identity, Node("one", "east", node_metadata(SIDECAR)))
        assert name is not None
        self.envoys.nodes = (name,)
        self.turn()

    @property
    def node(self) -> str:
        return self.envoys.nodes[0]

    def turn(self, times: int = 3) -> timedelta:
        """The keeper and the loop take turns, as they would within a second; returns how long the keeper would wait."""
        wait = timedelta(0)
        for _ in range(times):
            wait = self.keeper.step()
            self.loop.controller.on_time()
            self.loop.step()
        return wait

    def acknowledge(self) -> None:
        """West verifies by our newest bundle."""
        self.loop.say(WEST, TrustRecord((("east.test", self.authority.bundle().sequence),)))

    @property
    def said(self) -> object:
        """What was acknowledged to the peers last."""
        return self.peers.published[-1][TRUST_KEY]

    def slots(self) -> list[str]:
        return [slot.short_id for slot in self.authority.state.slots]

    def leaf_slot(self) -> str:
        (svid,) = self.loop.dataplane.svids()
        return svid.slot_id


@pytest.fixture
async def office(tmp_path: Path) -> Office:
    office = Office(tmp_path)
    await office.start()
    return office


async def test_a_bundle_is_acknowledged_once_every_node_has_accepted_it(office: Office) -> None:
    """Not while a node verifies by the one before."""
    found = [office.said]
    office.envoys.stick(office.node)
    office.loop.say(WEST, bundle(WEST, ca_of(WEST, 2), sequence=2))
    office.turn()
    found.append(office.said)
    office.envoys.stuck.clear()
    office.turn()
    found.append(office.said)
    assert found == [TrustRecord((("west.test", number),)) for number in (1, 1, 2)]


async def test_a_node_that_never_answers_holds_up_no_peer_for_long(office: Office) -> None:
    """After the bound the bundle is acknowledged all the same, with a warning that names the node."""
    office.envoys.stick(office.node)
    office.loop.say(WEST, bundle(WEST, ca_of(WEST, 2), sequence=2))
    office.turn()
    with capture_logs() as logs:
        office.clock.advance(HANDOVER_BOUND)
        office.turn()
    assert office.said == TrustRecord((("west.test", 2),))
    assert [log["nodes"] for log in logs if "acknowledged though" in log["event"]] == [(office.node,)]


async def test_an_urgent_rotation_ends_with_the_peers_word(office: Office) -> None:
    """Published, acknowledged, active: no second passes but those that the peer takes."""
    before = office.slots()
    office.keeper.rotate(urgent=True)
    office.turn()
    waited = office.keeper.report().rotation
    office.acknowledge()
    office.turn()
    assert (waited.step, waited.waiting_for) == ("acknowledge", (WEST,))
    assert (len(before), office.slots()[1:], office.keeper.report().rotation.step) == (1, before, "none")
    assert office.authority.state.current is not None
    assert office.leaf_slot() == office.authority.state.current.id
    assert office.file.read_text() == office.authority.bundle().pem


@pytest.mark.parametrize("shares", [False, True])
async def test_a_new_ca_that_could_be_lost_is_offered_to_nobody(shares: bool, tmp_path: Path) -> None:
    """Not to the exchange, nor to the own sidecars, before all controllers of the cluster have it; on a site of its own
    the disk is enough."""
    office = Office(tmp_path, shares=shares)
    await office.start()
    before = office.authority.bundle()
    running = asyncio.create_task(office.keeper.run())
    try:
        office.keeper.rotate(urgent=True)
        await until(lambda: office.authority.state.next is not None)
        office.turn()
        early = office.loop.controller.offered_bundle, office.file.read_text() == before.pem
        office.shared.set()
        await until(lambda: office.authority.bundle().sequence > before.sequence)
        office.turn()
    finally:
        running.cancel()
        await asyncio.wait([running])

    assert early == ((before.sequence, True) if shares else (before.sequence + 1, False))
    assert office.loop.controller.offered_bundle == before.sequence + 1
    assert office.file.read_text() == office.authority.bundle().pem


async def test_the_file_of_the_bundle_is_written_like_every_other(office: Office) -> None:
    """Whole or not at all, durable, for its owner only, and in the place of what a crash left half written."""
    left_over = office.file.with_name(".bundle.pem.new")
    left_over.write_text("half a bun")
    office.file.write_text("of another CA")
    office.keeper.write_bundle()
    assert (office.file.read_text(), left_over.exists()) == (office.authority.bundle().pem, False)
    assert oct(office.file.stat().st_mode & 0o777) == "0o600"


async def test_the_own_nodes_are_waited_for_like_peers(office: Office) -> None:
    """They verify one another by the bundle, too: one that lags is waited for until the bound, and named."""
    office.envoys.stick(office.node)
    office.keeper.rotate(urgent=True)
    office.turn()
    office.acknowledge()
    office.turn()
    waited = office.keeper.report().rotation
    office.clock.advance(HANDOVER_BOUND)
    office.turn()
    assert (waited.step, waited.waiting_for, office.authority.state.next) == ("acknowledge", (office.node,), None)


async def test_a_rotation_without_haste_waits_for_time_and_for_the_lacking(office: Office) -> None:
    """After its propagation a living peer that lacks the bundle still holds it up; its word lets it go on."""
    office.keeper.rotate(urgent=False)
    office.turn()
    office.clock.advance(HOUR)
    office.turn()
    held = office.authority.state.next is not None
    office.acknowledge()
    office.turn()
    assert (held, office.authority.state.next) == (True, None)


async def test_a_tainted_ca_is_gone_when_the_node_has_another_certificate(office: Office) -> None:
    """While the node has not accepted it, the CA stays, and status names the node."""
    tainted = office.keeper.taint(None)
    office.turn()
    office.acknowledge()
    office.envoys.stick(office.node)
    office.turn()
    during, problems = office.slots(), office.keeper.problems
    office.envoys.stuck.clear()
    office.turn()
    assert (tainted in during, tainted in office.slots(), len(office.slots())) == (True, False, 1)
    assert [(problem.reason, office.node in problem.message) for problem in problems] == [("Tainted", True)]
    assert office.keeper.problems == ()


async def test_nobody_keeps_a_stolen_ca_for_ever(office: Office) -> None:
    """A peer and a node that never follow are passed over after the bounds, each with a warning that names it."""
    tainted = office.keeper.taint(None)
    office.turn()
    office.envoys.stick(office.node)
    with capture_logs() as logs:
        office.clock.advance(ACKNOWLEDGE_BOUND)
        office.turn()
        signing = office.authority.state.current
        office.clock.advance(REISSUE_BOUND + SECOND)
        office.turn()
    assert signing is not None
    assert (signing.short_id == tainted, tainted in office.slots()) == (False, False)
    warned = {log["event"]: log.get("peers", log.get("nodes")) for log in logs if "though" in log["event"]}
    assert warned["CA signs though peers lack it"] == (WEST,)
    assert warned["tainted CA is gone though nodes use it"] == (office.node,)


async def test_a_next_ca_that_is_tainted_is_gone_from_what_is_published(office: Office) -> None:
    """The bundle changes between two looks of the keeper, and the peers are told nevertheless."""
    office.keeper.rotate(urgent=False)
    office.turn()
    upcoming = office.authority.state.next
    assert upcoming is not None
    office.keeper.taint(upcoming.short_id)
    office.marks = 0
    office.turn()
    assert office.loop.controller.offered_bundle == office.authority.bundle().sequence
    assert (
        upcoming.certificate
        not in office.loop.controller.trust.bundles[office.authority.bundle().trust_domain].authorities
    )
    assert office.marks > 0


async def test_a_peer_is_not_trusted_beyond_its_last_authority(office: Office) -> None:
    """The instant at which it ends wakes the keeper, which has the loop look again."""
    office.loop.say(WEST, bundle(WEST, ca_of(WEST, 3, 1), sequence=2))
    office.turn()
    trusted = office.loop.controller.trusted
    office.clock.advance(HOUR - SECOND)
    wait = office.turn()
    office.clock.advance(2 * SECOND)
    office.turn()
    assert (trusted, office.loop.controller.trusted) == ({WEST}, frozenset())
    assert wait <= SECOND + timedelta(milliseconds=1)


async def test_a_standby_leaves_the_ca_as_it_is(office: Office) -> None:
    """However old it is: it renews certificates by it, and what it is asked for it refuses."""
    office.leads = False
    slots = office.slots()
    office.clock.advance(23 * HOUR)
    office.turn()
    kept = office.slots()
    for order in (lambda: office.keeper.rotate(urgent=True), lambda: office.keeper.taint(None)):
        with pytest.raises(TrustError) as caught:
            order()
        assert caught.value.reason == "NotLeader"
    office.leads = True
    office.turn()

    assert kept == slots
    assert office.slots() != slots


async def test_a_peer_that_starts_again_is_no_trouble(office: Office) -> None:
    """For a moment it acknowledges nothing, long after our bundle was published."""
    office.acknowledge()
    office.turn()
    office.clock.advance(HOUR)
    office.turn()
    office.loop.say(WEST, TrustRecord())
    office.turn()
    assert office.keeper.problems == ()


async def test_what_needs_attention_is_logged_once(office: Office) -> None:
    """A living peer without our newest bundle is a problem after a minute, and said when it begins only."""
    with capture_logs() as logs:
        office.clock.advance(timedelta(minutes=2))
        office.turn(5)
    said = [log["problem"] for log in logs if log["event"] == "trust needs attention"]
    assert ([problem.reason for problem in office.keeper.problems], len(said)) == (["NotAcknowledged"], 1)
    office.acknowledge()
    office.turn()
    assert office.keeper.problems == ()


async def test_what_is_under_way_is_looked_at_again_soon(office: Office) -> None:
    """At rest the keeper waits for seconds; while a taint is under way, for a fraction of one."""
    office.acknowledge()
    rest = office.turn()
    office.keeper.taint(None)
    assert (rest, office.turn()) == (timedelta(seconds=5), timedelta(seconds=0.2))


async def test_at_rest_the_loop_is_left_alone(office: Office) -> None:
    """After a rotation, looking again asks for no pass."""
    office.keeper.rotate(urgent=True)
    office.turn()
    office.acknowledge()
    office.turn()
    office.marks = 0
    office.turn()
    assert office.marks == 0


async def test_an_exchange_that_is_away_confirms_nothing(office: Office) -> None:
    """No next CA signs before the bundle that holds it was taken."""
    office.peers.settled = False
    office.keeper.rotate(urgent=True)
    office.turn()
    office.acknowledge()
    office.turn()
    published = office.keeper.published
    assert published is not None
    assert (office.keeper.report().rotation.step, published.sequence) == (
        "publish",
        office.authority.bundle().sequence - 1,
    )


async def test_it_runs_until_cancelled_and_is_woken_by_requests(office: Office) -> None:
    """A request to rotate is acted on at once, and not at the next look in five seconds."""
    office.acknowledge()
    office.turn()
    task = asyncio.get_running_loop().create_task(office.keeper.run())
    await asyncio.sleep(0)
    office.keeper.rotate(urgent=True)
    async with asyncio.timeout(3):
        while office.authority.state.next is None:
            await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_nodes_of_other_controllers_are_given_time(tmp_path: Path) -> None:
    """What they have is not known here: neither does the next CA sign nor a tainted one go before they can have it."""
    office = Office(tmp_path, others_serve=True)
    await office.start()
    office.clock.advance(HANDOVER_BOUND)
    tainted = office.keeper.taint(None)
    office.turn()
    office.acknowledge()
    office.clock.advance(HANDOVER_BOUND - SECOND)
    office.turn()
    early = office.authority.state.current
    office.clock.advance(SECOND)
    office.turn()
    signing, kept = office.authority.state.current, office.slots()
    office.acknowledge()
    office.clock.advance(HANDOVER_BOUND - SECOND)
    office.turn()
    still = office.slots()
    office.clock.advance(SECOND)
    office.turn()

    assert early is not None
    assert signing is not None
    assert (early.short_id == tainted, signing.short_id == tainted) == (True, False)
    assert (tainted in kept, tainted in still, tainted in office.slots()) == (True, True, False)


async def test_with_a_ca_elsewhere_the_controllers_own_is_rotated_with_overlap(tmp_path: Path) -> None:
    """A next one signs once all who verify the controllers were told of it, and then only by its own time; the one
    before stays in the file until nothing of it is valid. None of it is published."""
    office = Office(tmp_path, elsewhere=True)
    first = office.slots()
    office.turn()
    office.clock.advance(12 * HOUR + SECOND)
    office.turn()
    prepared, told = office.slots(), office.file.read_text()
    office.clock.advance(9 * HOUR)
    office.turn()
    untold = office.slots()
    office.handed_out = True
    office.turn()
    office.clock.advance(timedelta(minutes=1))
    office.turn()
    signing = office.slots()
    office.clock.advance(2 * HOUR)
    office.turn()

    assert (len(prepared), prepared[0], told.count("BEGIN")) == (2, first[0], 2)
    assert untold == prepared
    assert signing == [prepared[1], prepared[0]]
    assert office.slots() == [prepared[1]]
    assert (office.keeper.state, office.keeper.problems) == (None, ())
    assert office.marks > 0


async def test_with_a_ca_elsewhere_only_the_leader_rotates(tmp_path: Path) -> None:
    """The others take what it has stored."""
    office = Office(tmp_path, elsewhere=True)
    office.leads, office.handed_out = False, True
    before = office.slots()
    office.clock.advance(13 * HOUR)
    office.turn()
    assert office.slots() == before
