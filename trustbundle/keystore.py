"""FileKeystore: the CA slots and their private keys, in a directory that only this program's user can read.

An edge: files in, files out, no decisions about rotation. It must never take "can't be read" for "nothing
there": a CA made anew by mistake is one that no peer trusts.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec

from federation.model.errors import TrustError
from federation.storage.private_file import replace_private
from trustbundle.identity import TrustDomain
from trustbundle.rotation import CaState
from trustbundle.secret import SecretBytes

_VERSION = 1
_JOURNAL = "journal.json"
_KEY_SUFFIX = ".key.pem"


@dataclass(frozen=True, slots=True)
class _Journal:
    version: int
    trust_domain: TrustDomain
    state: CaState


class FileKeystore:
    """A keystore in files: ``journal.json`` (the slots and their certificates) and one ``<slot>.key.pem``
    per key.

    The directory has mode 0700, the files 0600. Writes are atomic and durable; every operation raises
    TrustError with a hint where the files can't be used as they are.
    """

    def __init__(self, directory: Path, trust_domain: TrustDomain) -> None:
        self._directory = directory
        self._trust_domain = trust_domain
        with _wrapped(directory):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            _refuse_wide_mode(directory, directory.stat().st_mode, wanted="700")

    def load(self) -> CaState | None:
        """The state in the journal; None only where the directory holds neither a journal nor keys."""
        journal = self._directory / _JOURNAL
        with _wrapped(journal):
            if not journal.exists():
                if any(self._directory.glob(f"*{_KEY_SUFFIX}")):
                    raise TrustError(
                        f"CA directory {self._directory} holds keys but no {_JOURNAL}",
                        reason="JournalMissing",
                        hint=_restore_hint(self._directory),
                    )
                return None
            content = journal.read_bytes()
        return self._parsed(content)

    def _parsed(self, content: bytes) -> CaState:
        journal = self._directory / _JOURNAL
        try:
            read = msgspec.json.decode(content, type=_Journal)
        except (msgspec.MsgspecError, ValueError) as error:
            raise TrustError(
                f"CA journal {journal} can't be read: {error}",
                reason="JournalCorrupt",
                hint=_restore_hint(self._directory),
            ) from error
        if read.version != _VERSION:
            raise TrustError(
                f"CA journal {journal} has version {read.version}, this program knows version {_VERSION}",
                reason="JournalVersion",
                hint="run the version of this program that wrote it, or a newer one",
            )
        if read.trust_domain != self._trust_domain:
            raise TrustError(
                f"CA journal {journal} is of trust domain {read.trust_domain}, not {self._trust_domain}",
                reason="WrongTrustDomain",
                hint="a trust domain can't be renamed: give the new one a directory of its own",
            )
        return read.state

    def save(self, state: CaState) -> None:
        """Write the journal anew."""
        journal = _Journal(_VERSION, self._trust_domain, state)
        self._write(_JOURNAL, msgspec.json.format(msgspec.json.encode(journal)))

    def load_key(self, slot_id: str) -> SecretBytes:
        """The key of a slot, refused where others than the owner may read its file."""
        path = self._directory / f"{slot_id}{_KEY_SUFFIX}"
        with _wrapped(path), path.open("rb") as file:
            # Asked of the open file: what is checked is what is read.
            _refuse_wide_mode(path, os.fstat(file.fileno()).st_mode, wanted="600")
            return SecretBytes(file.read())

    def save_key(self, slot_id: str, key: SecretBytes) -> None:
        """Write the key of a slot."""
        self._write(f"{slot_id}{_KEY_SUFFIX}", key.reveal())

    def retain_keys(self, slot_ids: frozenset[str]) -> None:
        """Delete all keys but those of these slots."""
        for path in self._directory.glob(f"*{_KEY_SUFFIX}"):
            if path.name.removesuffix(_KEY_SUFFIX) not in slot_ids:
                with _wrapped(path):
                    path.unlink()

    def _write(self, name: str, content: bytes) -> None:
        path = self._directory / name
        with _wrapped(path):
            replace_private(path, content)


def _refuse_wide_mode(path: Path, mode: int, *, wanted: str) -> None:
    if stat.S_IMODE(mode) & 0o077:
        raise TrustError(
            f"{path} has mode {stat.S_IMODE(mode):04o}: others than its owner can use it",
            reason="WideMode",
            hint=f"if no one else has read it, run: chmod {wanted} {path}; otherwise rotate the CA",
        )


@contextmanager
def _wrapped(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise TrustError(
            f"CA file {path} can't be used: {error.strerror}",
            reason="Unusable",
            hint="the CA's directory must be on a writable disk and belong to the user this program runs as",
        ) from error


def _restore_hint(directory: Path) -> str:
    return (
        f"restore {directory} from a backup; to start a new CA instead, move the directory away: "
        "every workload then needs new certificates, and peers must fetch the new bundle first"
    )
