"""The connection where no server is needed: trust, credentials, and access as settings name it."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from federation.exchange.connection import access_of, tls_context
from federation.model.configuration import ExchangeSettings
from federation.model.errors import ConfigError
from federation.model.exchange_address import parse_exchange_address


@pytest.fixture
def ca_file(tmp_path: Path) -> Path:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "one")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path / "ca.pem"
    path.write_bytes(certificate.public_bytes(Encoding.PEM))
    return path


def test_a_pinned_ca_is_the_only_one_that_is_trusted(ca_file: Path) -> None:
    """The system's CAs are not trusted beside it; names are checked, in subjectAltName alone, from TLS 1.2 on."""
    context = tls_context(ca_file)
    assert len(context.get_ca_certs()) == 1
    assert context.check_hostname
    assert not context.hostname_checks_common_name
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2


def test_without_a_pinned_ca_the_system_is_trusted() -> None:
    """The same rules hold with the system's CAs."""
    context = tls_context(None)
    assert context.check_hostname
    assert context.verify_mode is ssl.CERT_REQUIRED


@pytest.mark.parametrize("content", [None, b"no certificate", b"\xff\xfe"])
def test_an_unusable_ca_file_is_named(tmp_path: Path, content: bytes | None) -> None:
    """Missing, not PEM or not text: the error names the file and the key of the settings."""
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"CA file .*ca\.pem is unusable") as refused:
        tls_context(path)
    assert "exchange.caFile" in refused.value.hint


def test_access_is_what_the_settings_name(tmp_path: Path) -> None:
    """Without a credentials file there are no credentials; with one they are read when asked for, not before."""
    address = parse_exchange_address("rediss://h")
    assert access_of(ExchangeSettings(address, ca_file=tmp_path)).credentials is None
    access = access_of(ExchangeSettings(address, tmp_path / "ca.pem", tmp_path / "missing"))
    assert (access.address, access.ca_file) == (address, tmp_path / "ca.pem")
    assert access.credentials is not None
    with pytest.raises(ConfigError):
        access.credentials()
