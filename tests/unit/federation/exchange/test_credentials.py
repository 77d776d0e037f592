"""Credentials: one line of a private file, never shown."""

from __future__ import annotations

from pathlib import Path

import pytest

from federation.exchange.credentials import Credentials, load_credentials, new_credentials, parse_credentials
from federation.model.errors import ConfigError
from federation.storage.private_file import create_private


def test_a_credentials_file_is_read_and_shows_no_password(tmp_path: Path) -> None:
    """User and password come from one line, also with colons in the password; repr has the user alone."""
    path = tmp_path / "credentials"
    create_private(path, Credentials("east", "se:cret").line.encode())
    credentials = load_credentials(path)
    assert credentials == Credentials("east", "se:cret")
    assert repr(credentials) == "Credentials(username='east')"


def test_a_new_password_is_known_by_its_digest() -> None:
    """No two are the same, each fits into its file, and what others learn of it is its SHA-256."""
    one, other = new_credentials("east"), new_credentials("east")
    assert (parse_credentials(one.line.encode()), one == other) == (one, False)
    assert Credentials("east", "abc").digest == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_a_file_that_others_can_read_is_refused(tmp_path: Path) -> None:
    """The error names the file, its mode and the remedy."""
    path = tmp_path / "credentials"
    path.write_text("east:secret\n")
    path.chmod(0o640)
    with pytest.raises(ConfigError, match="mode is 0640") as refused:
        load_credentials(path)
    assert refused.value.hint == f"run 'chmod 600 {path}'"


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    """The error says which file, and what it should hold."""
    with pytest.raises(ConfigError, match="can't be read: No such file") as refused:
        load_credentials(tmp_path / "credentials")
    assert "one line USER:PASSWORD" in refused.value.hint


@pytest.mark.parametrize(
    "content", [b"", b"secret", b":secret", b"east:", b"a:secret\nb:secret\n", b"ea st:secret", b"\xff:secret"]
)
def test_anything_but_one_line_is_refused_unseen(content: bytes) -> None:
    """No refusal repeats what the file holds."""
    with pytest.raises(ValueError, match=r"does not hold one line|is not text") as refused:
        parse_credentials(content)
    assert "secret" not in str(refused.value)
