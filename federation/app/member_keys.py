"""MemberKeys: the file of the member key, and the next one beside it while a key is replaced.

An edge. The next key is on disk, whole, before anybody is asked for it, so that a crash at any moment leaves the key
that the roster names.
"""

from __future__ import annotations

from pathlib import Path

import structlog
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from federation.membership.keys import generate_signing_key, load_signing_key, public_key
from federation.membership.roster import RosterMember
from federation.model.errors import ConfigError, TrustError
from federation.storage.private_file import replace_private

_log = structlog.get_logger(__name__)


class MemberKeys:
    """``path`` and ``path.next``, both 0600. Raises TrustError where they can't be used."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._next = path.with_name(f"{path.name}.next")

    @property
    def prepared(self) -> bytes | None:
        """The public half of the next key; None where there is none that can be used."""
        if not self._next.exists():
            return None
        try:
            return public_key(load_signing_key(self._next))
        except TrustError as error:
            _log.warning("next member key is not used", error=str(error))
            return None

    def load(self, own: RosterMember) -> Ed25519PrivateKey:
        """The key that the roster names; a change of keys that a crash interrupted is finished here.

        Raises ConfigError where there is no key at all.
        """
        if self.prepared == own.public_key:
            key = load_signing_key(self._next)
            try:
                self.activate()
            except TrustError as error:
                # It is the key all the same, and is found here at the next start too.
                _log.error("next member key stays beside the former one", error=str(error))
            return key
        if not self._path.exists():
            raise ConfigError(
                f"signing key {self._path} is not there",
                hint="restore it from a backup, or evict the cluster and let it join again",
            )
        key = load_signing_key(self._path)
        if public_key(key) != own.public_key:
            raise TrustError(
                f"signing key {self._path} is not the one that the roster names for cluster {own.cluster}",
                reason="WrongKey",
                hint="restore the key from a backup, or evict the cluster and let it join again",
            )
        return key

    def prepare(self) -> Ed25519PrivateKey:
        """The next key: made now, or the one that was made before and did not get to be used."""
        if self.prepared is None:
            fresh = generate_signing_key()
            content = fresh.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
            try:
                replace_private(self._next, content)
            except OSError as error:
                raise TrustError(f"next signing key {self._next} can't be written: {error.strerror}") from error
        return load_signing_key(self._next)

    def activate(self) -> None:
        """The next key is the key from now on; the one before is destroyed."""
        try:
            self._next.replace(self._path)
        except OSError as error:
            raise TrustError(f"signing key {self._path} can't be replaced: {error.strerror}") from error

    def abandon(self) -> None:
        """There will be no next key."""
        self._next.unlink(missing_ok=True)
