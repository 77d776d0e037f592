"""MemberFiles: what founding and joining put into a cluster's directory, to be taken back if nothing comes of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from federation.membership.keys import generate_signing_key, load_signing_key, save_signing_key
from federation.model.errors import ConfigError
from federation.storage.private_file import replace_private


@dataclass(slots=True)
class MemberFiles:
    """The files that were not there before are ``made``."""

    made: list[Path] = field(default_factory=list)

    def put(self, path: Path, content: bytes) -> None:
        """Write a private file; raises ConfigError."""
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            fresh = not path.exists()
            replace_private(path, content)
        except OSError as error:
            raise ConfigError(f"{path} can't be written: {error.strerror}") from error
        if fresh:
            self.made.append(path)

    def key(self, path: Path) -> Ed25519PrivateKey:
        """The member key, made now unless it is there already."""
        if not path.exists():
            save_signing_key(path, generate_signing_key())
            self.made.append(path)
        return load_signing_key(path)

    def take_back(self) -> None:
        """Remove what was made."""
        for path in self.made:
            path.unlink(missing_ok=True)
