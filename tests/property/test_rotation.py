"""Rotation never breaks a handshake: for any policy, any pattern of ticks, and an exchange that comes and goes."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given, settings
from hypothesis import strategies as st

from support.certificates import MemoryKeystore
from support.clock import ManualClock
from trustbundle.authority import CertificateAuthority, Svid
from trustbundle.bundle import TrustBundle
from trustbundle.identity import TrustDomain, workload_id
from trustbundle.rotation import (
    ACKNOWLEDGE_BOUND,
    CaSlot,
    CaState,
    Reach,
    RotationPolicy,
    activation_lead,
    decide,
    preparation_lead,
)
from trustbundle.verification import verify_svid

EAST = TrustDomain("east.example")
ECHO = workload_id(EAST, "demo", "echo")


@st.composite
def policies(draw: st.DrawFn) -> RotationPolicy:
    """Any policy that is allowed, from a CA of minutes to one of months."""
    ca_ttl = timedelta(seconds=draw(st.integers(60, 100 * 86400)))
    leaf_ttl = timedelta(seconds=draw(st.integers(1, int(activation_lead(ca_ttl).total_seconds()))))
    slack = preparation_lead(ca_ttl) - activation_lead(ca_ttl)
    return RotationPolicy(leaf_ttl, ca_ttl, timedelta(seconds=draw(st.integers(0, int(slack.total_seconds())))))


@dataclass(frozen=True, slots=True)
class Step:
    """What happens between two looks at the world."""

    wait: float | None
    """As a part of the CA's ttl; None to wait for the authority's own wakeup."""
    exchange_up: bool
    forced: bool
    restart: bool


STEPS = st.builds(
    Step,
    wait=st.one_of(st.none(), st.floats(0, 0.2), st.floats(0, 1.5)),
    exchange_up=st.integers(0, 4).map(bool),
    forced=st.integers(0, 5).map(lambda drawn: drawn == 0),
    restart=st.booleans(),
)


def _said(state: CaState) -> list[tuple[bytes, datetime]]:
    """What the bundle of a state says of its authorities."""
    return [(slot.certificate, slot.leaves_until) for slot in state.slots]


@dataclass
class World:
    """A CA with its leaves, and what its peers may hold: the newest publication, or one not longer superseded than the
    propagation time."""

    policy: RotationPolicy
    clock: ManualClock = field(default_factory=ManualClock)
    keystore: MemoryKeystore = field(default_factory=MemoryKeystore)
    published: list[tuple[datetime, TrustBundle]] = field(default_factory=list)
    leaves: list[tuple[Svid, bytes]] = field(default_factory=list)
    unannounced: set[str] = field(default_factory=set)
    """CA slots that had to sign before peers could know them, because no other CA was alive."""

    def __post_init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        self.authority = CertificateAuthority(EAST, self.policy, self.keystore)

    @property
    def state(self) -> CaState:
        assert self.keystore.state is not None
        return self.keystore.state

    def tick(self) -> None:
        before = self.keystore.state
        self.authority.tick(self.clock.now())
        if before is not None:
            assert self.state.sequence >= before.sequence
            assert self.state.sequence > before.sequence or _said(self.state) == _said(before)
        current = self.state.current
        assert current is not None
        if before is None or before.current is None or before.current.id != current.id:
            self._check_new_signer(current, None if before is None else before.current)

    def _check_new_signer(self, current: CaSlot, former: CaSlot | None) -> None:
        now = self.clock.now()
        known = current.published_at is not None and current.published_at + self.policy.propagation <= now
        if not known:
            assert former is None or former.expired(now)
            self.unannounced.add(current.id)

    @staticmethod
    def _held(state: CaState) -> tuple[bytes, ...]:
        return tuple(slot.certificate for slot in state.slots)

    def publish(self) -> None:
        bundle = self.authority.bundle()
        if self.published:
            newest = self.published[-1][1]
            assert bundle.sequence >= newest.sequence
            assert bundle.sequence > newest.sequence or bundle == newest
        self.published.append((self.clock.now(), bundle))
        self.authority.mark_published(bundle.sequence, self.clock.now())

    def issue(self) -> None:
        svid = self.authority.issue(ECHO, self.clock.now())
        der = x509.load_pem_x509_certificate(svid.chain_pem.encode()).public_bytes(Encoding.DER)
        self.leaves.append((svid, der))

    def bundles_of_peers(self) -> list[TrustBundle]:
        """Each bundle that was the newest publication at some time within the last ``propagation``."""
        since = self.clock.now() - self.policy.propagation
        ends = [moment for moment, _ in self.published[1:]] + [datetime.max.replace(tzinfo=since.tzinfo)]
        held = [bundle for (_, bundle), end in zip(self.published, ends, strict=True) if end > since]
        return list({bundle.authorities: bundle for bundle in held}.values())

    def check(self) -> None:
        now = self.clock.now()
        slots = {slot.id: slot for slot in self.state.slots}
        for svid, der in self.leaves:
            if now > svid.not_after:
                continue
            self._verifies(der, self.authority.bundle(), now)
            if svid.slot_id in self.unannounced:
                published = slots[svid.slot_id].published_at
                if published is None or published + self.policy.propagation > now:
                    continue
            for bundle in self.bundles_of_peers():
                self._verifies(der, bundle, now)

    @staticmethod
    def _verifies(der: bytes, bundle: TrustBundle, now: datetime) -> None:
        assert verify_svid([der], {EAST: bundle}, now) == ECHO


@settings(deadline=None, max_examples=60)
@given(policy=policies(), steps=st.lists(STEPS, min_size=1, max_size=25))
def test_every_leaf_verifies_everywhere(policy: RotationPolicy, steps: list[Step]) -> None:
    """Every leaf that has not expired verifies against the bundle and against all that peers may still hold; a CA
    signs only after peers had time to know it, unless no other is alive; the sequence counts every change."""
    world = World(policy)
    for step in steps:
        world.tick()
        world.issue()
        if step.exchange_up:
            world.publish()
        world.check()
        if step.forced:
            world.authority.request_rotation(world.clock.now())
        if step.restart:
            world.restart()
        now = world.clock.now()
        if step.wait is None:
            world.clock.move_to(world.authority.next_wakeup(now))
        else:
            world.clock.advance(policy.ca_ttl * step.wait)
        # A tick that comes late: certificates are in use all the time, and some are issued before it.
        world.check()
        current = world.state.current
        if current is not None and not current.expired(world.clock.now()):
            world.issue()


@settings(deadline=None, max_examples=40)
@given(policy=policies())
def test_punctual_ticks(policy: RotationPolicy) -> None:
    """To tick at each wakeup and publish at once is enough: the CA renews itself without ever signing unannounced,
    every leaf gets its full lifetime, and nothing is due between wakeups."""
    world = World(policy)
    for _ in range(16):
        world.tick()
        world.publish()
        world.issue()
        world.check()
        svid, _ = world.leaves[-1]
        assert svid.not_after == world.clock.now().replace(microsecond=0) + policy.leaf_ttl
        wakeup = world.authority.next_wakeup(world.clock.now())
        assert wakeup > world.clock.now()
        assert not decide(world.state, wakeup - timedelta.resolution, policy)
        world.clock.move_to(wakeup)
    assert len(world.unannounced) == 1


class Peers:
    """Two peers that take a bundle when they please, and a node that takes its certificate when it pleases."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.held = {"west": world.authority.bundle(), "north": world.authority.bundle()}
        self.leaf = world.authority.issue(ECHO, world.clock.now())

    def reach(self) -> Reach:
        upcoming = self.world.state.next
        lacking = upcoming is not None and any(held.sequence < upcoming.sequence for held in self.held.values())
        old = {slot.id for slot in self.world.state.old}
        return Reach(lacking=lacking, unknown=False, reissued=frozenset(old - {self.leaf.slot_id}))

    def verify(self) -> None:
        """Every peer takes the node's leaf for what it is."""
        der = x509.load_pem_x509_certificate(self.leaf.chain_pem.encode()).public_bytes(Encoding.DER)
        for held in self.held.values():
            assert verify_svid([der], {EAST: held}, self.world.clock.now()) == ECHO


@settings(deadline=None, max_examples=60)
@given(
    moves=st.lists(st.sampled_from(["west", "north", "node", "taint", "rotate", "wait", "restart"]), max_size=40),
    waits=st.integers(1, 25),
)
def test_a_tainted_ca_goes_after_reissue_or_bound_and_no_other_before_its_leaves(moves: list[str], waits: int) -> None:
    """Whoever takes part in whatever order: the node's leaf verifies at every peer until somebody keeps all waiting for
    a bound; and a tainted CA leaves the bundle only when the node has another leaf, or after the bound."""
    policy = RotationPolicy(timedelta(hours=1), timedelta(days=1), timedelta(minutes=10))
    world = World(policy)
    world.tick()
    world.publish()
    peers = Peers(world)
    waited_in_vain = False
    for move in moves:
        now = world.clock.now()
        match move:
            case "west" | "north":
                peers.held[move] = world.authority.bundle()
            case "node" if now >= world.authority.renew_after(peers.leaf):
                peers.leaf = world.authority.issue(ECHO, now)
            case "taint":
                world.authority.taint(None, now)
            case "rotate":
                world.authority.request_rotation(now, urgent=True)
            case "wait":
                world.clock.advance(timedelta(seconds=waits))
            case "restart":
                world.restart()
        before, reach = world.state, peers.reach()
        now = world.clock.now()
        world.authority.tick(now, reach)
        world.authority.mark_published(world.authority.bundle().sequence, now)
        waited_in_vain |= _out_of_patience(before, world.state, reach, now)
        if not waited_in_vain:
            peers.verify()


def _out_of_patience(before: CaState, after: CaState, reach: Reach, now: datetime) -> bool:
    """Whether a bound has just decided, and not the word of those who take part."""
    kept = {slot.id for slot in after.slots}
    vain = False
    for slot in before.slots:
        if slot.id in kept:
            continue
        bounded = slot.revoked_at is not None and now > slot.needed_until
        assert slot.retired_at is not None
        assert slot.id in reach.reissued or bounded
        vain |= slot.id not in reach.reissued
    if before.current != after.current and before.current is not None and before.next is not None:
        published = before.next.published_at
        assert published is not None
        held_up = before.current.revoked_at is not None and now >= published + ACKNOWLEDGE_BOUND
        assert not reach.lacking or held_up
        vain |= reach.lacking
    return vain
