"""Signing keys of members: made once, kept private, published as 32 bytes."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from federation.membership.keys import (
    generate_signing_key,
    load_signing_key,
    public_key,
    save_signing_key,
)
from federation.model.errors import TrustError
from federation.storage.private_file import create_private


def _refusal(path: Path) -> TrustError:
    with pytest.raises(TrustError) as caught:
        load_signing_key(path)
    return caught.value


def test_saved_key_loads_again(tmp_path: Path) -> None:
    """A saved key signs what its public half verifies after loading."""
    key = generate_signing_key()
    save_signing_key(tmp_path / "member.key", key)
    loaded = load_signing_key(tmp_path / "member.key")
    key.public_key().verify(loaded.sign(b"record"), b"record")
    assert public_key(loaded) == public_key(key)


def test_key_is_never_overwritten(tmp_path: Path) -> None:
    """A member keeps its key: saving over one is refused."""
    save_signing_key(tmp_path / "member.key", generate_signing_key())
    with pytest.raises(TrustError) as caught:
        save_signing_key(tmp_path / "member.key", generate_signing_key())
    assert caught.value.reason == "KeyExists"


def test_wide_mode(tmp_path: Path) -> None:
    """A key that others could have read is refused with the command that mends it."""
    path = tmp_path / "member.key"
    save_signing_key(path, generate_signing_key())
    path.chmod(0o644)
    error = _refusal(path)
    assert error.reason == "WideMode"
    assert f"chmod 600 {path}" in error.hint


def test_missing_key(tmp_path: Path) -> None:
    """A missing key is an error that says how keys come to be."""
    error = _refusal(tmp_path / "member.key")
    assert error.reason == "Unusable"
    assert "join" in error.hint


def test_other_content(tmp_path: Path) -> None:
    """Something that is no Ed25519 key is refused without being shown."""
    create_private(tmp_path / "text", b"hunter2")
    other = ec.generate_private_key(ec.SECP256R1())
    create_private(tmp_path / "ec", other.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    for name in ("text", "ec"):
        error = _refusal(tmp_path / name)
        assert error.reason == "BadKey"
        assert "hunter2" not in str(error)
