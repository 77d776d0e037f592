"""The Secret of a Redis in the cluster: its CA, its certificate, its administrator. Made once, renewed in time.

An edge to randomness; keys and password are made here and are nowhere else. Clients pin the CA, so that it and the
administrator stay when the certificate is renewed.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from controllers.mcs.objects import Document, section, text
from federation.exchange.certificates import ca_certificate, server_certificate, serves
from federation.exchange.credentials import Credentials, new_credentials
from federation.exchange.secure_server import ADMIN, users_text
from federation.install.exchange import CA_KEY, CERTIFICATE_KEY, COMPONENT, PRIVATE_KEY_KEY, USERS_KEY
from federation.install.manifests import FIELD_MANAGER
from federation.install.vocabulary import EXCHANGE, MANAGED_BY_LABEL, PART_OF, PART_OF_LABEL
from federation.model.errors import ConfigError

ADMIN_KEY: Final = "admin.credentials"
"""USER:PASSWORD of the administrator, for ``federation init --exchange-admin``."""
CA_KEY_KEY: Final = "ca.key"
"""The CA's private key, by which the certificate is renewed; no pod mounts it."""

LIFE: Final = timedelta(days=366)
"""Of the certificate: nobody renews it but ``federation install``, in the last third."""


def exchange_names(namespace: str, more: Sequence[str]) -> tuple[str, ...]:
    """What the exchange is called by: its Service's names, and those of the values."""
    service = f"{EXCHANGE}.{namespace}.svc"
    return (service, f"{service}.cluster.local", f"{EXCHANGE}.{namespace}", *more)


def exchange_secret(
    existing: Document | None, name: str, namespace: str, names: Sequence[str], now: datetime
) -> Document | None:
    """The Secret to apply; None where the one that is there is good for the names and for a while.

    Raises ConfigError where one is there that can't be renewed, as one that somebody else made.
    """
    kept = _decoded(section(existing, "data"), name)
    if existing is not None and CA_KEY_KEY not in kept:
        if kept.keys() >= {CA_KEY, CERTIFICATE_KEY, PRIVATE_KEY_KEY, USERS_KEY}:
            # Somebody else's, as of cert-manager: to renew it is theirs.
            return None
        raise ConfigError(
            f"Secret {namespace}/{name} lacks keys that the exchange needs",
            hint=f"it needs {CA_KEY}, {CERTIFICATE_KEY}, {PRIVATE_KEY_KEY} and {USERS_KEY}; delete it to have one made",
        )
    try:
        if existing is not None and _is_good(kept, names, now):
            return None
        data = _renewed(kept, names, now) if existing is not None else _renewed(_founded(now), names, now)
    except (KeyError, ValueError, TypeError) as error:
        raise ConfigError(
            f"Secret {namespace}/{name} can't be renewed: what is in it is damaged",
            hint="delete it and install again; members then need its new CA and users",
        ) from error
    labels = {PART_OF_LABEL: PART_OF, MANAGED_BY_LABEL: FIELD_MANAGER, "app.kubernetes.io/component": COMPONENT}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "namespace": namespace, "labels": labels},
        "type": "Opaque",
        "data": {key: base64.b64encode(content).decode() for key, content in sorted(data.items())},
    }


def _founded(now: datetime) -> dict[str, bytes]:
    key = ec.generate_private_key(ec.SECP256R1())
    admin: Credentials = new_credentials(ADMIN)
    return {
        CA_KEY_KEY: _pem(key),
        CA_KEY: ca_certificate(key, x509.random_serial_number(), now).public_bytes(Encoding.PEM),
        ADMIN_KEY: admin.line.encode(),
        USERS_KEY: users_text("", admin.username, admin.digest).encode(),
    }


def _renewed(kept: Mapping[str, bytes], names: Sequence[str], now: datetime) -> dict[str, bytes]:
    """With a new key and certificate of the server, by the CA that is there."""
    ca_key = load_pem_private_key(kept[CA_KEY_KEY], password=None)
    if not isinstance(ca_key, ec.EllipticCurvePrivateKey):
        raise TypeError(CA_KEY_KEY)
    ca = x509.load_pem_x509_certificate(kept[CA_KEY])
    key = ec.generate_private_key(ec.SECP256R1())
    serial = x509.random_serial_number()
    certificate = server_certificate(key.public_key(), names, serial, now, ca=ca, ca_key=ca_key, life=LIFE)
    return {**kept, PRIVATE_KEY_KEY: _pem(key), CERTIFICATE_KEY: certificate.public_bytes(Encoding.PEM)}


def _is_good(kept: Mapping[str, bytes], names: Sequence[str], now: datetime) -> bool:
    certificate = x509.load_pem_x509_certificate(kept[CERTIFICATE_KEY])
    return kept.keys() >= {PRIVATE_KEY_KEY, USERS_KEY, ADMIN_KEY} and serves(certificate, names, now)


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _decoded(data: Document, name: str) -> dict[str, bytes]:
    try:
        return {key: base64.b64decode(text(value), validate=True) for key, value in data.items()}
    except binascii.Error as error:
        raise ConfigError(f"Secret {name} can't be read: a value is not base64") from error
