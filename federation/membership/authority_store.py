"""AuthorityStore: the authority's directory, which holds its key and its ledger. An edge; it decides nothing.

``ledger.json`` and ``<first of the key's hash>.key``, both 0600. A change is a transaction under a lock between
processes: the controller that admits and a command of the operator see one ledger. The ledger names the key that it
belongs to, and is written last: a crash between the two leaves the old pair whole.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from federation.membership.keys import load_signing_key, public_key, save_signing_key
from federation.membership.ledger import Ledger, decode_ledger, encode_ledger
from federation.model.errors import InvariantError, TrustError
from federation.storage.private_file import WideModeError, read_private, replace_private
from federation.storage.trouble import told_as

_LEDGER = "ledger.json"
_ID_CHARS = 16
# Several times what belongs to the largest roster.
_MAX_LEDGER_BYTES = 16 * 1024 * 1024
_KEY_NAME = re.compile(rf"[0-9a-f]{{{_ID_CHARS}}}\.key")


class HeldError(TrustError):
    """Another process, or another part of this one, is just deciding something: it takes moments."""


class Transaction:
    """The ledger and the key as they are, held against changes by others until the transaction ends."""

    def __init__(self, store: AuthorityStore, ledger: Ledger, key: Ed25519PrivateKey) -> None:
        self._store = store
        self.ledger = ledger
        self.key = key

    def commit(self, ledger: Ledger, key: Ed25519PrivateKey | None = None) -> None:
        """Make ``ledger`` the one that counts, with a new authority key if one is given. Durable when it returns.

        Raises InvariantError for a ledger that belongs to another key, or was not derived from this transaction's.
        """
        if ledger.authority_key != public_key(key or self.key):
            raise InvariantError("the ledger belongs to another authority key than the one it is stored with")
        if ledger.roster != self.ledger.roster and ledger.roster.serial <= self.ledger.roster.serial:
            raise InvariantError("the roster changed and its serial number did not grow")
        if key is not None:
            self._store.put_key(key)
            self.key = key
        if ledger != self.ledger:
            self._store.put_ledger(ledger)
            self.ledger = ledger
        self._store.drop_other_keys(ledger)


class AuthorityStore:
    """The authority of one clusterset in ``directory`` (0700). Raises TrustError where files can't be used."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    @property
    def exists(self) -> bool:
        """Whether an authority is kept here."""
        return (self.directory / _LEDGER).exists()

    def create(self, ledger: Ledger, key: Ed25519PrivateKey) -> None:
        """Begin a new authority; raises TrustError where one is kept here already."""
        with told_as(self._unusable):
            self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self._locked():
            if self.exists:
                raise TrustError(
                    f"an authority is kept in {self.directory} already",
                    reason="AuthorityExists",
                    hint="a clusterset has one authority; to found another clusterset, choose another directory",
                )
            if orphans := self._keys():
                # Of a ledger that was lost, as likely as of a beginning that was interrupted: not ours to destroy.
                raise TrustError(
                    f"{self.directory} holds a key of an authority without its ledger",
                    reason="AuthorityIncomplete",
                    hint=f"restore {_LEDGER} from a backup; if there never was one, remove {orphans[0]}",
                )
            self.put_key(key)
            self.put_ledger(ledger)

    def read(self) -> Ledger:
        """The ledger as it is now."""
        path = self.directory / _LEDGER
        try:
            return decode_ledger(read_private(path, _MAX_LEDGER_BYTES))
        except FileNotFoundError as error:
            raise TrustError(
                f"no authority is kept in {self.directory}",
                reason="NoAuthority",
                hint="run this where `federation init` was run: there is one authority per clusterset",
            ) from error
        except WideModeError as error:
            raise TrustError(
                f"{path}: {error}",
                reason="WideMode",
                hint=f"if no one else has written to it, run: chmod 600 {path}; otherwise restore it from a backup",
            ) from error
        except OSError as error:
            raise TrustError(f"{path} can't be used: {error.strerror or error}", reason="Unusable") from error

    @contextmanager
    def transaction(self, *, wait: bool = True) -> Iterator[Transaction]:
        """Hold the authority while something is decided; nothing changes without ``commit``.

        Waits for whoever holds it, also for this very thread: transactions do not nest. Without ``wait`` raises
        HeldError instead.
        """
        if not self.exists:
            self.read()  # says what is missing, and makes no file
        with self._locked(wait=wait):
            ledger = self.read()
            key = self._load_key(ledger)
            self.drop_other_keys(ledger)  # a crash may have spared one
            yield Transaction(self, ledger, key)

    def sign_key(self) -> tuple[Ledger, Ed25519PrivateKey]:
        """The ledger and the key that belongs to it, to sign what was decided before."""
        with self.transaction() as held:
            return held.ledger, held.key

    def put_key(self, key: Ed25519PrivateKey) -> None:
        """Store a new key beside the present one."""
        save_signing_key(self._key_path(public_key(key)), key)
        with told_as(self._unusable):
            # The ledger must not be durable before the key that it names.
            folder = os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)

    def put_ledger(self, ledger: Ledger) -> None:
        """Store the ledger in the place of the one before."""
        with told_as(self._unusable):
            replace_private(self.directory / _LEDGER, encode_ledger(ledger))

    def drop_other_keys(self, ledger: Ledger) -> None:
        """Destroy every key but the ledger's: one that was replaced must not be able to sign again."""
        kept = self._key_path(ledger.authority_key)
        with told_as(self._unusable):
            for path in self._keys():
                if path != kept:
                    path.unlink()

    def _keys(self) -> list[Path]:
        return sorted(path for path in self.directory.iterdir() if _KEY_NAME.fullmatch(path.name))

    def _load_key(self, ledger: Ledger) -> Ed25519PrivateKey:
        key = load_signing_key(self._key_path(ledger.authority_key))
        if public_key(key) != ledger.authority_key:
            raise TrustError(f"the key in {self.directory} is not the one that its ledger names", reason="BadKey")
        return key

    def _key_path(self, public: bytes) -> Path:
        return self.directory / f"{hashlib.sha256(public).hexdigest()[:_ID_CHARS]}.key"

    @contextmanager
    def _locked(self, *, wait: bool = True) -> Iterator[None]:
        with told_as(self._unusable):
            descriptor = os.open(self.directory / ".lock", os.O_WRONLY | os.O_CREAT, 0o600)
        try:
            with told_as(self._unusable):
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
                except BlockingIOError as error:
                    raise HeldError(
                        f"another process holds the authority in {self.directory}",
                        reason="Held",
                        hint="is a command stopped (Ctrl-Z) that was to change the membership? `fg` goes on with it",
                    ) from error
            yield
        finally:
            os.close(descriptor)

    def _unusable(self, cause: str) -> TrustError:
        return TrustError(
            f"authority in {self.directory} can't be used: {cause}",
            reason="Unusable",
            hint="the directory must be on a writable disk and belong to the user this program runs as",
        )
