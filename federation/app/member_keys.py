"""MemberKeys: the file of the member key, and the next one beside it while a key is replaced.

An edge. The next key is on disk before anybody is asked for it, so that a crash at any moment leaves the key that the
roster names.
"""

from __future__ import annotations

from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from federation.membership.keys import generate_signing_key, load_signing_key, public_key, save_signing_key
from federation.membership.roster import RosterMember
from federation.model.errors import TrustError


class MemberKeys:
    """``path`` and ``path.next``, both 0600. Raises TrustError where they can't be used."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._next = path.with_name(f"{path.name}.next")

    def load(self, own: RosterMember) -> Ed25519PrivateKey:
        """The key that the roster names; a change of keys that a crash interrupted is finished here."""
        if self._next.exists() and public_key(load_signing_key(self._next)) == own.public_key:
            self.activate()
        key = load_signing_key(self._path)
        if public_key(key) not in {own.public_key, own.retiring_key}:
            raise TrustError(
                f"signing key {self._path} is not the one that cluster {own.cluster} was admitted with",
                reason="WrongKey",
                hint="restore the key from a backup, or evict the cluster and let it join again",
            )
        return key

    def prepare(self) -> Ed25519PrivateKey:
        """The next key: made now, or the one that was made before and did not get to be used."""
        if not self._next.exists():
            save_signing_key(self._next, generate_signing_key())
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
