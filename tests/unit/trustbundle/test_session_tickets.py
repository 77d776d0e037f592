"""Keys of session tickets: one for each identity, no older than what was verified may be relied on."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from trustbundle.authority import Svid
from trustbundle.identity import SpiffeId, TrustDomain
from trustbundle.secret import SecretBytes
from trustbundle.session_tickets import SessionTicketKeys

NOW = datetime(2026, 1, 1, tzinfo=UTC)
WEB, CART = (SpiffeId(TrustDomain("east.test"), f"/ns/demo/sa/{name}") for name in ("web", "cart"))


def svid(of: SpiffeId, born: datetime = NOW) -> Svid:
    half = timedelta(minutes=30)
    return Svid(of, "", SecretBytes(b""), born, born + 2 * half, born + half, "slot")


def due(at: datetime, certificate: Svid) -> bool:
    return at >= certificate.renew_at


def test_pods_of_one_identity_share_a_key_that_no_other_identity_has() -> None:
    """Who has a server's key can pretend to it to be any caller: another service's pods must not."""
    keys = SessionTicketKeys()
    assert len(keys.of(svid(WEB)).reveal()) == 80
    assert keys.of(svid(WEB)) == keys.of(replace(svid(WEB), slot_id="other"))
    assert keys.of(svid(WEB)) != keys.of(svid(CART))


def test_a_key_grows_as_old_as_a_certificate_before_it_is_renewed() -> None:
    """Renewed certificates of other pods keep it; its own age counts."""
    keys = SessionTicketKeys()
    first = keys.of(svid(WEB))
    later = NOW + timedelta(minutes=20)
    keys.of(svid(CART, later))
    assert keys.expire(lambda each: due(later, each)) == frozenset()
    assert keys.of(svid(WEB, later)) == first
    assert keys.expire(lambda each: due(NOW + timedelta(minutes=30), each)) == {WEB}
    assert keys.of(svid(WEB, later)) != first


def test_no_key_outlives_a_change_of_trust() -> None:
    """Sessions that were begun before are not resumed."""
    keys = SessionTicketKeys()
    first = keys.of(svid(WEB))
    keys.forget()
    assert keys.of(svid(WEB)) != first
