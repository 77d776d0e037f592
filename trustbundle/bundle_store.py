"""BundleStore: the file with what was last taken from a CA elsewhere, so that a restart needs no answer of it.

An edge: one file in, one file out. It must never take "can't be read" for "nothing there": a sequence begun anew could
be one that peers refuse.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import msgspec

from federation.model.errors import TrustError
from federation.storage.private_file import replace_private
from trustbundle.external import TakenBundle
from trustbundle.identity import TrustDomain

_VERSION = 1


@dataclass(frozen=True, slots=True)
class _Stored:
    version: int
    taken: TakenBundle


class BundleStore:
    """What was taken, in one JSON file; its directory must be there. Writes are whole, and durable when they return."""

    def __init__(self, path: Path, trust_domain: TrustDomain) -> None:
        self._path = path
        self._trust_domain = trust_domain

    def load(self) -> TakenBundle | None:
        """What was stored last; None only where nothing ever was. Raises TrustError where it can't be read."""
        try:
            stored = msgspec.json.decode(self._path.read_bytes(), type=_Stored)
        except FileNotFoundError:
            return None
        except (OSError, msgspec.MsgspecError, ValueError) as error:
            raise TrustError(
                f"stored bundle {self._path} can't be read: {getattr(error, 'strerror', None) or error}"[:300],
                reason="StoreCorrupt",
                hint=f"restore {self._path} from a backup; without it the bundle is taken anew from its source",
            ) from error
        if stored.version != _VERSION:
            raise TrustError(
                f"stored bundle {self._path} has version {stored.version}, this program knows version {_VERSION}",
                reason="StoreVersion",
                hint="run the version of this program that wrote it, or a newer one",
            )
        if stored.taken.trust_domain != self._trust_domain:
            raise TrustError(
                f"stored bundle {self._path} is of trust domain {stored.taken.trust_domain}, not {self._trust_domain}",
                reason="WrongTrustDomain",
                hint="a trust domain can't be renamed: give the new one a state directory of its own",
            )
        return stored.taken

    def save(self, taken: TakenBundle) -> None:
        """Replace what is stored; raises TrustError where it can't be written."""
        content = msgspec.json.format(msgspec.json.encode(_Stored(_VERSION, taken)))
        try:
            replace_private(self._path, content)
        except OSError as error:
            raise TrustError(
                f"bundle can't be stored in {self._path}: {error.strerror}",
                reason="Unusable",
                hint="stateDirectory must be on a writable disk and belong to the user this program runs as",
            ) from error

    def remove(self) -> None:
        """Forget what is stored; raises TrustError where that can't be."""
        try:
            self._path.unlink(missing_ok=True)
        except OSError as error:
            raise TrustError(
                f"stored bundle {self._path} can't be removed: {error.strerror}", reason="Unusable"
            ) from error
