"""Signing keys of members: Ed25519, one private key file per member, the public half in the membership.

An edge around one file; what is signed with the key, and how, is the exchange's business.
"""

from __future__ import annotations

from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from federation.model.errors import TrustError
from federation.storage.private_file import WideModeError, create_private, read_private

PUBLIC_KEY_BYTES = 32


def generate_signing_key() -> Ed25519PrivateKey:
    """A new signing key."""
    return Ed25519PrivateKey.generate()


def load_signing_key(path: Path) -> Ed25519PrivateKey:
    """Read a signing key (PKCS#8 PEM); raises TrustError where it can't be read, or others than its owner
    could."""
    try:
        content = read_private(path)
    except WideModeError as error:
        raise TrustError(
            f"signing key {path}: {error}",
            reason="WideMode",
            hint=f"if no one else has read it, run: chmod 600 {path}; otherwise give the member a new key",
        ) from error
    except OSError as error:
        raise TrustError(
            f"signing key {path} can't be read: {error.strerror}",
            reason="Unusable",
            hint="the key is made once, when the cluster joins; restore it from a backup, or join again",
        ) from error
    try:
        key = load_pem_private_key(content, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        # The library's text may quote what it read.
        raise TrustError(f"signing key {path} is no unencrypted PKCS#8 PEM", reason="BadKey") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise TrustError(f"signing key {path} is no Ed25519 key", reason="BadKey")
    return key


def save_signing_key(path: Path, key: Ed25519PrivateKey) -> None:
    """Write a signing key to a new file of mode 0600; raises TrustError where the file exists or can't be
    written."""
    try:
        create_private(path, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    except FileExistsError as error:
        raise TrustError(
            f"signing key {path} exists already",
            reason="KeyExists",
            hint="a member keeps its key; move the file away only if the member is to join anew",
        ) from error
    except OSError as error:
        raise TrustError(f"signing key {path} can't be written: {error.strerror}", reason="Unusable") from error


def public_key(key: Ed25519PrivateKey) -> bytes:
    """The public half, 32 raw bytes, as ``Member.public_key`` holds it."""
    return key.public_key().public_bytes_raw()
