"""The Secret of the exchange in the cluster."""

from __future__ import annotations

import base64
from datetime import timedelta
from typing import Any

import pytest
from cryptography import x509

from federation.app.exchange_secret import LIFE, exchange_names, exchange_secret
from federation.model.errors import ConfigError
from support.builders import CREATED

NAMES = exchange_names("federation-system", ("redis.example.com", "192.0.2.7"))


def made(existing: Any = None, names: tuple[str, ...] = NAMES, after: timedelta = timedelta()) -> Any:
    return exchange_secret(existing, "exchange", "federation-system", names, CREATED + after)


def value(secret: Any, key: str) -> bytes:
    return base64.b64decode(secret["data"][key])


def test_the_first_has_all_that_is_needed() -> None:
    """A CA, a certificate for the names, an administrator whose password stands in one place, and nobody else."""
    secret = made()
    assert sorted(secret["data"]) == ["admin.credentials", "ca.key", "ca.pem", "server.key", "server.pem", "users.acl"]
    certificate = x509.load_pem_x509_certificate(value(secret, "server.pem"))
    certificate.verify_directly_issued_by(x509.load_pem_x509_certificate(value(secret, "ca.pem")))
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert "federation-exchange.federation-system.svc" in names.get_values_for_type(x509.DNSName)
    assert [str(ip) for ip in names.get_values_for_type(x509.IPAddress)] == ["192.0.2.7"]
    user, _, password = value(secret, "admin.credentials").decode().strip().partition(":")
    assert (user, len(password) > 30) == ("admin", True)
    users = value(secret, "users.acl").decode()
    assert users.startswith("user default off\nuser admin on #")
    assert password not in users


def test_one_that_is_good_is_left_alone() -> None:
    """Until a third of its life is left, and for the same names."""
    secret = made()
    assert made(secret, after=LIFE / 2) is None


@pytest.mark.parametrize(("names", "after"), [(NAMES, LIFE * 0.7), ((*NAMES, "more.example.com"), timedelta())])
def test_renewing_keeps_what_members_know(names: tuple[str, ...], after: timedelta) -> None:
    """In the last third, or for other names: a new certificate and key, by the same CA; the administrator stays."""
    secret = made()
    renewed = made(secret, names, after)
    changed = {key for key in secret["data"] if secret["data"][key] != renewed["data"][key]}
    assert changed == {"server.key", "server.pem"}
    certificate = x509.load_pem_x509_certificate(value(renewed, "server.pem"))
    certificate.verify_directly_issued_by(x509.load_pem_x509_certificate(value(secret, "ca.pem")))
    assert made(renewed, names, after) is None


def test_somebody_elses_is_his_to_renew() -> None:
    """Without the CA's key, but with all that pods mount, it is used as it is, however old."""
    secret = made()
    foreign = {
        "data": {key: text for key, text in secret["data"].items() if key not in {"ca.key", "admin.credentials"}}
    }
    assert made(foreign, ("other.example.com",), LIFE * 2) is None


@pytest.mark.parametrize(
    ("data", "cause"),
    [
        ({"ca.pem": "YQ=="}, "lacks keys"),
        ({"ca.key": "YQ==", "server.pem": "YQ=="}, "damaged"),
        ({"ca.key": "%"}, "not base64"),
    ],
)
def test_one_that_can_not_be_used_is_told(data: dict[str, str], cause: str) -> None:
    """It is never replaced: members know its CA."""
    with pytest.raises(ConfigError, match=cause):
        made({"data": data})
