"""User and password at the exchange, read from a private file each time they are needed.

An edge: reads files, and shows a password to nobody but who opens a connection.
"""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass, field
from pathlib import Path

from federation.model.errors import ConfigError
from federation.storage.private_file import WideModeError, read_private

_PASSWORD_BYTES = 32


@dataclass(frozen=True, slots=True)
class Credentials:
    username: str
    password: str = field(repr=False)

    @property
    def line(self) -> str:
        """The content of a credentials file: secret."""
        return f"{self.username}:{self.password}\n"

    @property
    def digest(self) -> str:
        """By what the password is known to the exchange, and to the authority: its SHA-256, in hex."""
        return hashlib.sha256(self.password.encode()).hexdigest()


def new_credentials(username: str) -> Credentials:
    """A user with a new password."""
    return Credentials(username, secrets.token_urlsafe(_PASSWORD_BYTES))


def load_credentials(path: Path) -> Credentials:
    """Read a file of one line ``USER:PASSWORD``; raises ConfigError where it is missing, wider than 0600 or something
    else."""
    try:
        content = read_private(path)
    except WideModeError as error:
        raise ConfigError(f"credentials file {path}: {error}", hint=f"run 'chmod 600 {path}'") from error
    except OSError as error:
        raise ConfigError(
            f"credentials file {path} can't be read: {error.strerror}",
            hint="it holds one line USER:PASSWORD and is named by exchange.credentialsFile",
        ) from error
    try:
        return parse_credentials(content)
    except ValueError as error:
        raise ConfigError(f"credentials file {path} {error}") from None


def parse_credentials(content: bytes) -> Credentials:
    """Read the bytes of a credentials file; raises ValueError with the rule that is broken, and no secret."""
    try:
        lines = content.decode().splitlines()
    except UnicodeDecodeError:
        raise ValueError("is not text") from None
    username, colon, password = lines[0].partition(":") if len(lines) == 1 else ("", "", "")
    if not (username and colon and password) or " " in username:
        raise ValueError("does not hold one line USER:PASSWORD")
    return Credentials(username, password)
