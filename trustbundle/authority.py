"""CertificateAuthority: a cluster's own CA. Carries out what ``rotation`` decides and issues leaf
certificates.

It holds the one piece of lasting state of this package, the CA slots, and writes every change to its
keystore before it acts on it. It takes the time as an argument and must not talk to the exchange or to
Envoy.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from random import SystemRandom
from typing import Protocol

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from federation.model.errors import InvariantError, TrustError
from trustbundle import rotation
from trustbundle.bundle import TrustBundle
from trustbundle.identity import SpiffeId, TrustDomain
from trustbundle.rotation import NOTHING_KNOWN, CaSlot, CaState, Reach, RotationPlan, RotationPolicy
from trustbundle.secret import SecretBytes
from trustbundle.x509 import BACKDATE, build_authority, build_svid, certificate_pem, private_key_pem

_RANDOM = SystemRandom()
_JITTER = 0.1
# A leaf that is capped by an expiring CA would otherwise be renewed at ever shorter halves of what is left.
_MIN_RENEWAL = timedelta(seconds=1)


class Keystore(Protocol):
    """Where the slots and their keys outlive the process. Every operation is durable when it returns, or
    raises TrustError; none may lose what an earlier one stored."""

    def load(self) -> CaState | None:
        """The stored state; None only where nothing was ever stored. Unreadable is an error, never None."""
        ...

    def save(self, state: CaState) -> None:
        """Replace the stored state, whole or not at all."""
        ...

    def load_key(self, slot_id: str) -> SecretBytes:
        """The private key (PKCS#8 PEM) of a slot."""
        ...

    def save_key(self, slot_id: str, key: SecretBytes) -> None:
        """Store the private key of a new slot."""
        ...

    def retain_keys(self, slot_ids: frozenset[str]) -> None:
        """Destroy all other keys."""
        ...


@dataclass(frozen=True, slots=True)
class Svid:
    """A leaf certificate with its key, as a workload presents it."""

    spiffe_id: SpiffeId
    chain_pem: str
    """Leaf first, without the root."""
    key_pem: SecretBytes
    not_before: datetime
    not_after: datetime
    renew_at: datetime
    """Half of the lifetime, with the jitter that was drawn at issue."""
    slot_id: str
    """The CA slot that signed it."""


def generate_key() -> ec.EllipticCurvePrivateKey:
    """A new ECDSA P-256 key."""
    return ec.generate_private_key(ec.SECP256R1())


class CertificateAuthority:
    """The CA of one trust domain. Call ``tick`` first, then at every ``next_wakeup``."""

    def __init__(
        self,
        trust_domain: TrustDomain,
        policy: RotationPolicy,
        keystore: Keystore,
        *,
        serials: Callable[[], int] = x509.random_serial_number,
        uniform: Callable[[float, float], float] = _RANDOM.uniform,
        withholds: bool = False,
    ) -> None:
        """Open the CA that the keystore holds; raises TrustError where one is there that can't be used
        whole.

        ``withholds``: what the keystore has stored may be lost yet. Another bundle is seen once ``show`` is called.
        """
        self._trust_domain = trust_domain
        self._policy = policy
        self._keystore = keystore
        self._serials = serials
        self._uniform = uniform
        self._keys: dict[str, ec.EllipticCurvePrivateKey] = {}
        self._withholds = withholds
        self._state = keystore.load()
        self._shown = self._state
        """The slots whose bundle others may see."""
        if self._state is not None:
            for slot in _signing(self._state):
                self._keys[slot.id] = _matching_key(slot, keystore.load_key(slot.id))
            self._keep(rotation.with_leaf_ttl(self._state, policy.leaf_ttl))

    @property
    def state(self) -> CaState:
        """The slots as they are; raises InvariantError before the first ``tick``."""
        return self._slots

    def tick(self, now: datetime, reach: Reach = NOTHING_KNOWN) -> bool:
        """Do all that is due; returns whether the bundle or the CA that signs has changed."""
        if self._state is None:
            self._keep(rotation.initial_state(now))
        changed = False
        while plan := rotation.decide(self._slots, now, self._policy, reach):
            self._carry_out(plan, now)
            changed = True
        return changed

    def reload(self) -> bool:
        """Go on with what another process of this cluster has stored; returns whether anything changed.

        Raises TrustError where it can't be used whole, and then goes on with what it had.
        """
        state = self._keystore.load()
        if state is None or state == self._state:
            return False
        self._keys = {slot.id: _matching_key(slot, self._keystore.load_key(slot.id)) for slot in _signing(state)}
        self._state = self._shown = state
        return True

    @property
    def withheld(self) -> bool:
        """Whether there is a newer bundle than the one that others may see."""
        return self._state is not None and not self._same_bundle(self._state)

    def show(self) -> None:
        """Let others see the newest bundle: what is stored can't be lost any more."""
        self._shown = self._state

    def next_wakeup(self, now: datetime, reach: Reach = NOTHING_KNOWN) -> datetime:
        """When ``tick`` has something to do next."""
        return now if self._state is None else rotation.next_wakeup(self._state, now, self._policy, reach)

    def request_rotation(self, now: datetime, *, urgent: bool = False) -> None:
        """Force a rotation: begun by the next ``tick``, in effect once the new CA is published for
        ``propagation``; if ``urgent``, once every peer says that it has it."""
        self._keep(rotation.request_rotation(self._slots, now, urgent=urgent))

    def taint(self, name: str | None, now: datetime) -> str:
        """Have a CA leave the bundle as soon as what it signed is replaced; by default the one that signs.

        ``name`` is the beginning of its short id. Returns the whole short id; raises TrustError where it names no CA
        of this cluster, or more than one.
        """
        state = self._slots
        if name is None:
            found = [slot for slot in (state.current,) if slot is not None]
        else:
            found = [slot for slot in state.slots if slot.short_id.startswith(name)]
        if len(found) != 1:
            raise TrustError(
                f"{name or 'the one that signs'} is {len(found)} CAs of {self._trust_domain}, not one",
                reason="UnknownAuthority",
                hint=f"`federation trust show` tells of each: {', '.join(slot.short_id for slot in state.slots)}",
            )
        self._keep(rotation.revoke(state, found[0].id, now))
        self._forget_keys()
        return found[0].short_id

    def mark_published(self, sequence: int, now: datetime) -> None:
        """Take note that the bundle of this sequence has reached the exchange. Until it has, its new CA
        won't sign."""
        self._keep(rotation.with_published(self._slots, sequence, now))

    def bundle(self) -> TrustBundle:
        """The bundle to publish: the CA that signs, the next one, and the old ones that are still needed, each with the
        end of its last leaf. One that is ``withheld`` is not that yet."""
        state = self._shown
        if state is None:
            raise InvariantError("the bundle of a certificate authority is asked for before it may be seen")
        # Rounded up, for the last leaf is valid until then.
        ends = tuple(math.ceil(slot.leaves_until.timestamp()) for slot in state.slots)
        return TrustBundle(self._trust_domain, state.sequence, tuple(slot.certificate for slot in state.slots), ends)

    def issue(self, spiffe_id: SpiffeId, now: datetime, dns_names: Sequence[str] = ()) -> Svid:
        """A new key and a certificate for a workload of this trust domain, for at most the policy's leaf ttl.

        ``dns_names`` stand beside the identity, for clients that verify a host as an API server does its webhooks.
        Raises TrustError for identities of other trust domains and while no CA can sign (``tick`` was not
        called).
        """
        if spiffe_id.trust_domain != self._trust_domain or not spiffe_id.path:
            raise TrustError(
                f"{spiffe_id} is no workload of trust domain {self._trust_domain}", reason="ForeignIdentity"
            )
        ca = self._slots.current
        if ca is None or ca.expired(now):
            raise TrustError(f"trust domain {self._trust_domain} has no CA that can sign", reason="NoAuthorities")
        key = generate_key()
        issued = _whole_seconds(now)
        not_after = min(issued + self._policy.leaf_ttl, ca.not_after)
        certificate = build_svid(
            spiffe_id=spiffe_id,
            public_key=key.public_key(),
            serial=self._serials(),
            not_before=issued - BACKDATE,
            not_after=not_after,
            issuer=ca.certificate,
            issuer_key=self._keys[ca.id],
            dns_names=dns_names,
        )
        half = (not_after - issued) / 2
        return Svid(
            spiffe_id=spiffe_id,
            chain_pem=certificate_pem(certificate),
            key_pem=private_key_pem(key),
            not_before=issued - BACKDATE,
            not_after=not_after,
            renew_at=issued + max(half * (1 + self._uniform(-_JITTER, _JITTER)), _MIN_RENEWAL),
            slot_id=ca.id,
        )

    def renew_after(self, svid: Svid) -> datetime:
        """When to replace a leaf: at half life, or at once (a time in the past) where a forced rotation or
        the expiry of its CA has overtaken it. Ask again after every ``tick`` that changed something."""
        signer = next((slot for slot in self._slots.slots if slot.id == svid.slot_id), None)
        return svid.not_before if signer is None or signer.tainted else svid.renew_at

    @property
    def _slots(self) -> CaState:
        if self._state is None:
            raise InvariantError("the certificate authority is used before its first tick")
        return self._state

    def _carry_out(self, plan: RotationPlan, now: datetime) -> None:
        state = self._slots
        if plan.drop:
            self._keep(rotation.without(state, plan.drop))
        elif plan.activate:
            self._keep(rotation.with_activated(state, now, self._policy))
        else:
            self._prepare(state, now)
        self._forget_keys()

    def _forget_keys(self) -> None:
        # A CA that has signed its last must not be able to sign again, whoever reads the files later.
        signing = frozenset(slot.id for slot in _signing(self._slots))
        self._keys = {slot_id: key for slot_id, key in self._keys.items() if slot_id in signing}
        self._keystore.retain_keys(signing)

    def _prepare(self, state: CaState, now: datetime) -> None:
        key = generate_key()
        serial = self._serials()
        slot_id = f"{serial:x}"
        not_before = _whole_seconds(now) - BACKDATE
        not_after = _whole_seconds(now) + self._policy.ca_ttl
        certificate = build_authority(
            trust_domain=self._trust_domain,
            key=key,
            serial=serial,
            not_before=not_before,
            not_after=not_after,
        )
        self._keystore.save_key(slot_id, private_key_pem(key))
        self._keep(rotation.with_next(state, slot_id, certificate, not_before, not_after))
        self._keys[slot_id] = key

    def _keep(self, state: CaState) -> None:
        if state != self._state:
            self._keystore.save(state)
            self._state = state
            if not self._withholds or self._same_bundle(state):
                self._shown = state

    def _same_bundle(self, state: CaState) -> bool:
        return self._shown is not None and self._shown.sequence == state.sequence


def _signing(state: CaState) -> tuple[CaSlot, ...]:
    return tuple(slot for slot in (state.current, state.next) if slot is not None)


def _matching_key(slot: CaSlot, pem: SecretBytes) -> ec.EllipticCurvePrivateKey:
    try:
        key = load_pem_private_key(pem.reveal(), password=None)
    except (ValueError, TypeError) as error:
        # The library's text may quote what it read.
        raise TrustError(f"key of CA {slot.id} can't be read", reason="BadKey") from error
    certificate = x509.load_der_x509_certificate(slot.certificate)
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != certificate.public_key():
        raise TrustError(f"key of CA {slot.id} does not belong to its certificate", reason="BadKey")
    return key


def _whole_seconds(moment: datetime) -> datetime:
    # Certificates know no fractions, and silently drop them.
    return moment.astimezone(UTC).replace(microsecond=0)
