"""The CA carries out rotations, issues leaves and survives restarts and failing disks."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key

from federation.model.errors import InvariantError, TrustError
from support.certificates import MemoryKeystore
from support.clock import ManualClock
from trustbundle.authority import CertificateAuthority, Svid, generate_key
from trustbundle.identity import TrustDomain, workload_id
from trustbundle.rotation import Reach, RotationPolicy
from trustbundle.verification import verify_svid
from trustbundle.x509 import BACKDATE, private_key_pem

HOUR = timedelta(hours=1)
EAST = TrustDomain("east.example")
ECHO = workload_id(EAST, "demo", "echo")
POLICY = RotationPolicy(leaf_ttl=HOUR, ca_ttl=12 * HOUR, propagation=timedelta(minutes=10))


def _middle(low: float, high: float) -> float:
    return (low + high) / 2


def _authority(keystore: MemoryKeystore, policy: RotationPolicy = POLICY) -> CertificateAuthority:
    return CertificateAuthority(EAST, policy, keystore, uniform=_middle)


def _started(clock: ManualClock, keystore: MemoryKeystore | None = None) -> CertificateAuthority:
    authority = _authority(keystore or MemoryKeystore())
    authority.tick(clock.now())
    authority.mark_published(authority.bundle().sequence, clock.now())
    return authority


def _chain(svid: Svid) -> Sequence[bytes]:
    certificates = x509.load_pem_x509_certificates(svid.chain_pem.encode())
    return [certificate.public_bytes(Encoding.DER) for certificate in certificates]


def _verifies(svid: Svid, authority: CertificateAuthority, now: datetime) -> bool:
    return verify_svid(_chain(svid), {EAST: authority.bundle()}, now) == svid.spiffe_id


def test_issue() -> None:
    """A leaf proves its identity against the bundle, lives for the policy's ttl, backdated, and has its own key."""
    clock = ManualClock()
    authority = _started(clock)
    svid = authority.issue(ECHO, clock.now())
    assert _verifies(svid, authority, clock.now())
    assert (svid.not_before, svid.not_after) == (clock.now() - BACKDATE, clock.now() + HOUR)
    (certificate,) = x509.load_pem_x509_certificates(svid.chain_pem.encode())
    key = load_pem_private_key(svid.key_pem.reveal(), password=None)
    assert certificate.public_key() == key.public_key()
    assert (certificate.not_valid_before_utc, certificate.not_valid_after_utc) == (svid.not_before, svid.not_after)


def test_names_of_a_host_stand_beside_the_identity() -> None:
    """A leaf with DNS names proves the same one identity, and names those hosts and no other."""
    clock = ManualClock()
    authority = _started(clock)
    svid = authority.issue(ECHO, clock.now(), ["controller.system.svc", "controller.system"])

    (certificate,) = x509.load_pem_x509_certificates(svid.chain_pem.encode())
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert _verifies(svid, authority, clock.now())
    assert names.get_values_for_type(x509.DNSName) == ["controller.system.svc", "controller.system"]
    assert names.get_values_for_type(x509.UniformResourceIdentifier) == [str(ECHO)]


def test_tick_is_idempotent() -> None:
    """A tick reports a change once; another one at the same time finds nothing due."""
    clock = ManualClock()
    authority = _authority(MemoryKeystore())
    assert [authority.tick(clock.now()), authority.tick(clock.now())] == [True, False]


@pytest.mark.parametrize(("draw", "minutes"), [(-0.1, 27), (0.0, 30), (0.1, 33)])
def test_renewal_at_half_life(draw: float, minutes: int) -> None:
    """A leaf is renewed at half of its life, up to a tenth of that earlier or later."""
    clock = ManualClock()
    bounds: list[tuple[float, float]] = []

    def uniform(low: float, high: float) -> float:
        bounds.append((low, high))
        return draw

    authority = CertificateAuthority(EAST, POLICY, MemoryKeystore(), uniform=uniform)
    authority.tick(clock.now())
    svid = authority.issue(ECHO, clock.now())
    assert bounds == [(-0.1, 0.1)]
    assert authority.renew_after(svid) == clock.now() + timedelta(minutes=minutes)


def test_leaf_does_not_outlive_its_ca() -> None:
    """With the next CA unpublished the current one signs to its end, leaves are capped, and renewal never spins."""
    clock = ManualClock()
    authority = _started(clock)
    clock.advance(12 * HOUR - timedelta(seconds=1))
    authority.tick(clock.now())
    svid = authority.issue(ECHO, clock.now())
    assert svid.not_after == clock.now() + timedelta(seconds=1)
    assert authority.renew_after(svid) == clock.now() + timedelta(seconds=1)


def test_whole_rotation() -> None:
    """Through a rotation a leaf of the old CA verifies to its end, and only the bundle's certificates change."""
    clock = ManualClock()
    authority = _started(clock)
    (first,) = authority.bundle().authorities
    clock.move_to(authority.next_wakeup(clock.now()))
    assert authority.tick(clock.now())
    (_, second) = authority.bundle().authorities
    authority.mark_published(authority.bundle().sequence, clock.now())
    clock.move_to(authority.next_wakeup(clock.now()))
    last = authority.issue(ECHO, clock.now())
    assert authority.tick(clock.now())
    assert authority.bundle().authorities == (second, first)
    assert authority.renew_after(last) == last.renew_at
    assert authority.issue(ECHO, clock.now()).slot_id != last.slot_id
    clock.move_to(last.not_after)
    authority.tick(clock.now())
    assert _verifies(last, authority, clock.now())
    clock.move_to(authority.next_wakeup(clock.now()))
    authority.tick(clock.now())
    assert authority.bundle().authorities == (second,)


def test_forced_rotation_renews_at_once() -> None:
    """After a forced rotation the leaves of the old CA are due at once, and verify until they are replaced."""
    clock = ManualClock()
    authority = _started(clock)
    svid = authority.issue(ECHO, clock.now())
    authority.request_rotation(clock.now())
    assert authority.tick(clock.now())
    assert authority.renew_after(svid) > clock.now()
    authority.mark_published(authority.bundle().sequence, clock.now())
    clock.advance(POLICY.propagation)
    assert authority.tick(clock.now())
    assert authority.renew_after(svid) < clock.now()
    assert _verifies(svid, authority, clock.now())
    assert authority.renew_after(authority.issue(ECHO, clock.now())) > clock.now()


def test_leaf_of_an_expired_ca_is_due() -> None:
    """After an absence longer than the CA's life a leaf of the lost CA is due at once."""
    clock = ManualClock()
    authority = _started(clock)
    svid = authority.issue(ECHO, clock.now())
    clock.advance(100 * HOUR)
    authority.tick(clock.now())
    assert authority.renew_after(svid) < clock.now()
    assert _verifies(authority.issue(ECHO, clock.now()), authority, clock.now())


def test_issue_refuses() -> None:
    """No leaf for another trust domain or for the domain itself, and none from a CA that has expired."""
    clock = ManualClock()
    authority = _started(clock)
    for foreign in (workload_id(TrustDomain("west.example"), "demo", "echo"), type(ECHO)(EAST)):
        with pytest.raises(TrustError, match="is no workload of trust domain"):
            authority.issue(foreign, clock.now())
    clock.advance(13 * HOUR)
    with pytest.raises(TrustError, match="has no CA that can sign"):
        authority.issue(ECHO, clock.now())


def test_use_before_the_first_tick() -> None:
    """To use a new CA before its first tick is a bug of the caller, and said so."""
    with pytest.raises(InvariantError):
        _authority(MemoryKeystore()).bundle()


def test_a_bundle_that_may_be_lost_yet_is_seen_by_nobody() -> None:
    """Neither of the first CA nor of the next; what another process has stored can't be lost, and is seen at once."""
    clock, keystore = ManualClock(), MemoryKeystore()
    authority = CertificateAuthority(EAST, POLICY, keystore, uniform=_middle, withholds=True)
    authority.tick(clock.now())
    with pytest.raises(InvariantError):
        authority.bundle()
    authority.show()
    first = authority.bundle()
    authority.mark_published(first.sequence, clock.now())
    seen = [authority.withheld]
    authority.request_rotation(clock.now())
    authority.tick(clock.now())
    assert authority.bundle() == first
    # The CA that nobody has seen is not published, however late it is.
    clock.advance(HOUR)
    authority.mark_published(authority.bundle().sequence, clock.now())
    authority.tick(clock.now())
    assert authority.state.next is not None
    seen.append(authority.withheld)
    authority.show()
    seen.append(authority.withheld)
    other = CertificateAuthority(EAST, POLICY, keystore, uniform=_middle, withholds=True)
    authority.mark_published(authority.bundle().sequence, clock.now())
    authority.tick(clock.now() + HOUR)
    other.reload()

    assert seen == [False, True, False]
    assert authority.bundle().sequence == first.sequence + 1
    assert other.bundle().sequence == first.sequence + 2


def test_restart() -> None:
    """A CA opened again has the same bundle, signs with the same key and has nothing to do."""
    clock = ManualClock()
    keystore = MemoryKeystore()
    before = _started(clock, keystore)
    svid = before.issue(ECHO, clock.now())
    after = _authority(keystore)
    assert not after.tick(clock.now())
    assert after.bundle() == before.bundle()
    assert after.renew_after(svid) == svid.renew_at
    assert _verifies(after.issue(ECHO, clock.now()), before, clock.now())


def test_restart_with_longer_leaves() -> None:
    """A longer leaf ttl is remembered before the first such leaf is issued."""
    clock = ManualClock()
    keystore = MemoryKeystore()
    _started(clock, keystore)
    longer = RotationPolicy(leaf_ttl=2 * HOUR, ca_ttl=12 * HOUR, propagation=POLICY.propagation)
    _authority(keystore, longer)
    assert keystore.state is not None
    assert keystore.state.current is not None
    assert keystore.state.current.longest_leaf == 2 * HOUR


def test_retired_key_is_destroyed() -> None:
    """The key of a CA that has signed its last is deleted; its certificate stays in the bundle."""
    clock = ManualClock()
    keystore = MemoryKeystore()
    authority = _started(clock, keystore)
    authority.request_rotation(clock.now())
    authority.tick(clock.now())
    assert len(keystore.keys) == 2
    authority.mark_published(authority.bundle().sequence, clock.now())
    clock.advance(POLICY.propagation)
    authority.tick(clock.now())
    assert keystore.state is not None
    assert keystore.state.current is not None
    assert set(keystore.keys) == {keystore.state.current.id}
    assert len(authority.bundle().authorities) == 2


def test_disk_full() -> None:
    """Where a change can't be stored it has not happened: bundle and signer stay, and the next tick tries again."""
    clock = ManualClock()
    keystore = MemoryKeystore()
    authority = _started(clock, keystore)
    bundle = authority.bundle()
    keystore.broken = True
    clock.advance(6 * HOUR)
    with pytest.raises(TrustError, match="disk is full"):
        authority.tick(clock.now())
    assert authority.bundle() == bundle
    assert _verifies(authority.issue(ECHO, clock.now()), authority, clock.now())
    keystore.broken = False
    assert authority.tick(clock.now())
    assert len(authority.bundle().authorities) == 2


def test_request_that_is_not_stored() -> None:
    """A forced rotation that could not be stored was not asked for."""
    clock = ManualClock()
    keystore = MemoryKeystore()
    authority = _started(clock, keystore)
    keystore.broken = True
    with pytest.raises(TrustError, match="disk is full"):
        authority.request_rotation(clock.now())
    keystore.broken = False
    assert not authority.tick(clock.now())


def test_last_instant_of_a_ca() -> None:
    """A CA that nothing follows signs up to and including the instant at which it expires."""
    clock = ManualClock()
    authority = _started(clock)
    clock.advance(12 * HOUR)
    assert authority.issue(ECHO, clock.now()).not_after == clock.now()


def test_wrong_key() -> None:
    """A key that does not belong to its certificate is refused at the start, not at the first handshake."""
    clock = ManualClock()
    keystore = MemoryKeystore()
    _started(clock, keystore)
    (slot_id,) = keystore.keys
    keystore.keys[slot_id] = private_key_pem(generate_key())
    with pytest.raises(TrustError, match="does not belong to its certificate"):
        _authority(keystore)


def test_a_tainted_ca_leaves_the_bundle_and_its_leaves_are_replaced() -> None:
    """By default it is the one that signs: another takes over, its leaves are due at once, and then it is gone."""
    clock = ManualClock()
    keystore = MemoryKeystore()
    authority = _started(clock, keystore)
    stolen = authority.issue(ECHO, clock.now())
    name = authority.taint(None, clock.now())
    before = authority.renew_after(stolen)
    authority.tick(clock.now())
    authority.mark_published(authority.bundle().sequence, clock.now())
    authority.tick(clock.now(), Reach(unknown=False))
    due = authority.renew_after(stolen)
    fresh = authority.issue(ECHO, clock.now())
    both = len(authority.bundle().authorities)
    authority.tick(clock.now(), Reach(reissued=frozenset({stolen.slot_id})))

    assert name not in [slot.short_id for slot in authority.state.slots]
    assert (before > clock.now(), due < clock.now(), both, len(authority.bundle().authorities)) == (True, True, 2, 1)
    assert _verifies(fresh, authority, clock.now())
    with pytest.raises(TrustError):
        _verifies(stolen, authority, clock.now())
    assert list(keystore.keys) == [fresh.slot_id]


def test_a_tainted_next_ca_can_never_sign() -> None:
    """It is out of the bundle and its key destroyed before the call returns."""
    clock = ManualClock()
    keystore = MemoryKeystore()
    authority = _started(clock, keystore)
    authority.request_rotation(clock.now())
    authority.tick(clock.now())
    upcoming = authority.state.next
    assert upcoming is not None
    authority.taint(upcoming.short_id[:6], clock.now())
    assert (authority.state.next, upcoming.id in keystore.keys) == (None, False)


@pytest.mark.parametrize("name", ["no such id", ""])
def test_a_name_of_no_ca_or_of_several_taints_nothing(name: str) -> None:
    """The refusal names those that there are; every id begins with the empty name."""
    clock = ManualClock()
    authority = _started(clock)
    authority.request_rotation(clock.now())
    authority.tick(clock.now())
    state = authority.state
    with pytest.raises(TrustError) as caught:
        authority.taint(name, clock.now())
    assert (caught.value.reason, authority.state) == ("UnknownAuthority", state)
    assert all(slot.short_id in caught.value.hint for slot in state.slots)


def test_what_another_process_has_stored_is_taken_over() -> None:
    """Its CA signs from then on; a store that can't be used whole changes nothing."""
    clock = ManualClock()
    keystore = MemoryKeystore()
    leader = _started(clock, keystore)
    standby = _authority(keystore)
    unchanged = standby.reload()
    leader.request_rotation(clock.now())
    leader.tick(clock.now())
    leader.mark_published(leader.bundle().sequence, clock.now())
    clock.advance(POLICY.propagation)
    leader.tick(clock.now())
    before = standby.bundle()
    keys = dict(keystore.keys)
    keystore.keys.clear()
    with pytest.raises(TrustError):
        standby.reload()
    kept = standby.bundle()
    keystore.keys.update(keys)

    assert not unchanged
    assert kept == before
    assert standby.reload()
    assert standby.bundle() == leader.bundle()
    assert standby.issue(ECHO, clock.now()).slot_id == leader.issue(ECHO, clock.now()).slot_id
