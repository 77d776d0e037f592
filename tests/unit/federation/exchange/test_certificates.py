"""Certificates of an exchange server: what they say, and when a new one is due."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from federation.exchange.certificates import CA_LIFE, SERVER_LIFE, ca_certificate, server_certificate, serves

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
NAMES = ("redis.example.com", "127.0.0.1", "::1")
CA_KEY = ec.generate_private_key(ec.SECP256R1())
CA = ca_certificate(CA_KEY, 1, NOW)
KEY = ec.generate_private_key(ec.SECP256R1())


def issued(names: tuple[str, ...] = NAMES) -> x509.Certificate:
    return server_certificate(KEY.public_key(), names, 2, NOW, ca=CA, ca_key=CA_KEY)


def test_the_ca_signs_servers_and_nothing_below() -> None:
    """It is a CA of path length 0, for ten years, and the server's certificate is verified by it."""
    constraints = CA.extensions.get_extension_for_class(x509.BasicConstraints)
    assert constraints.critical
    assert constraints.value == x509.BasicConstraints(ca=True, path_length=0)
    assert CA.not_valid_after_utc == NOW + CA_LIFE
    issued().verify_directly_issued_by(CA)


def test_a_server_is_named_by_its_names() -> None:
    """Host names and IP addresses stand in subjectAltName, each as what it is; it is no CA."""
    stated = issued().extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert stated.get_values_for_type(x509.DNSName) == ["redis.example.com"]
    assert [str(ip) for ip in stated.get_values_for_type(x509.IPAddress)] == ["127.0.0.1", "::1"]
    assert not issued().extensions.get_extension_for_class(x509.BasicConstraints).value.ca


def test_a_certificate_serves_until_a_third_of_its_life_is_left() -> None:
    """Later, earlier than it begins, and for other names, a new one is due."""
    certificate = issued()
    assert serves(certificate, NAMES, NOW)
    assert serves(certificate, NAMES[::-1], NOW + SERVER_LIFE * 0.6)
    assert not serves(certificate, NAMES, NOW + SERVER_LIFE * 0.7)
    assert not serves(certificate, NAMES, NOW - timedelta(days=1))
    assert not serves(certificate, NAMES[:2], NOW)
