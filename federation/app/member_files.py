"""MemberFiles: what founding and joining put into a cluster's directory, to be taken back if nothing comes of it.

And ``forget``, which removes what a membership that is over has left. An edge over files; it decides nothing.
"""

from __future__ import annotations

import shutil
from contextlib import AbstractContextManager, suppress
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from federation.app.member_keys import MemberKeys
from federation.membership.keys import generate_signing_key, load_signing_key, save_signing_key
from federation.membership.roster_file import RosterFile
from federation.model.configuration import ClusterSettings
from federation.model.errors import ConfigError
from federation.storage.private_file import replace_private
from federation.storage.trouble import told_as

EXCHANGE_CA = "exchange-ca.pem"
EXCHANGE_CREDENTIALS = "exchange.credentials"
"""Files that a token brings, or the founding makes, in the cluster's directory."""
LEAVING = "leaving"
"""File in the state directory that says that this cluster has asked to leave."""


class MemberFiles:
    """Files and directories that are written, with what was there before. Every method raises ConfigError."""

    def __init__(self) -> None:
        self._made: list[Path] = []
        self._before: dict[Path, bytes] = {}

    def put(self, path: Path, content: bytes) -> None:
        """Write a private file, whole or not at all."""
        with _usable(path):
            self._prepare(path)
            replace_private(path, content)

    def put_text(self, path: Path, text: str) -> None:
        """Write a file that anybody may read, whole or not at all."""
        with _usable(path):
            self._prepare(path)
            fresh = path.with_name(f".{path.name}.new")
            fresh.write_text(text, encoding="utf-8")
            fresh.replace(path)

    def key(self, path: Path) -> Ed25519PrivateKey:
        """The member key, made now unless it is there already; raises TrustError where it can't be used."""
        if not path.exists():
            with _usable(path):
                self._make_folder(path.parent)
            save_signing_key(path, generate_signing_key())
            self._made.append(path)
        return load_signing_key(path)

    def take_back(self) -> None:
        """Remove what was made, and put back what was there before."""
        for path, content in self._before.items():
            with _usable(path):
                replace_private(path, content)
        for path in reversed(self._made):
            with suppress(OSError):  # a directory that somebody else has used meanwhile stays
                if path.is_dir():
                    path.rmdir()
                else:
                    path.unlink(missing_ok=True)
        self._made, self._before = [], {}

    def _prepare(self, path: Path) -> None:
        self._make_folder(path.parent)
        if not path.exists():
            self._made.append(path)
        elif path not in self._made:
            self._before.setdefault(path, path.read_bytes())

    def _make_folder(self, folder: Path) -> None:
        missing = [above for above in (folder, *folder.parents) if not above.exists()]
        for each in reversed(missing):
            each.mkdir(mode=0o700)
            self._made.append(each)


def forget(settings: ClusterSettings) -> None:
    """Remove keys, password and copies of others' records that a membership has left. Raises ConfigError.

    The roster goes last: whoever was cut off half way finds by it that there is something left to forget.
    """
    keys = MemberKeys(settings.member_key_file)
    with _usable(settings.member_key_file):
        keys.abandon()
        settings.member_key_file.unlink(missing_ok=True)
    file = settings.exchange.credentials_file
    # One of another name is the operator's, for a managed exchange.
    if file is not None and file.name == EXCHANGE_CREDENTIALS:
        with _usable(file):
            file.unlink(missing_ok=True)
    shutil.rmtree(settings.state_directory / "replicas", ignore_errors=True)
    roster = RosterFile(settings.state_directory).path
    with _usable(roster):
        roster.unlink(missing_ok=True)
    forget_leaving(settings)


def forget_leaving(settings: ClusterSettings) -> None:
    """Remove the note that this cluster has asked to leave: what follows is another membership. Raises ConfigError."""
    note = settings.state_directory / LEAVING
    with _usable(note):
        note.unlink(missing_ok=True)


def _usable(path: Path) -> AbstractContextManager[None]:
    return told_as(lambda cause: ConfigError(f"{path} can't be written or removed: {cause}"))
