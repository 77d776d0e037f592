"""RosterFile: the newest roster that a member has believed, on its disk, with the authority's key it is signed with.

An edge over one file. It is written at the join and with every newer roster, and is where a controller's trust in its
peers begins when it starts. What is read is verified again, by the key that stands beside it: damage shows, and since
whoever could write it could put another authority in its place, so does a file that others can write.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from federation.membership.roster import KnownRoster, open_roster
from federation.model.errors import TrustError, WireError
from federation.model.sizes import MAX_ROSTER_BYTES
from federation.model.wire import UNREADABLE
from federation.storage.private_file import WideModeError, read_private, replace_private

# The roster, and what stands beside it.
_MAX_BYTES = MAX_ROSTER_BYTES + 4096
_HINT = "restore it from a backup, or let the cluster join again"


class _Document(msgspec.Struct):
    clusterset: str
    authority_key: bytes
    roster: bytes


class RosterFile:
    """``roster`` in a cluster's state directory."""

    def __init__(self, state: Path) -> None:
        self.path = state / "roster"

    def load(self) -> KnownRoster | None:
        """What was saved; None where nothing ever was. Raises TrustError for a file that can't be believed."""
        try:
            content = read_private(self.path, _MAX_BYTES)
        except FileNotFoundError:
            return None
        except WideModeError as error:
            raise TrustError(
                f"roster {self.path}: {error}",
                reason="WideMode",
                hint=f"if no one else has written to it, run: chmod 600 {self.path}; otherwise join again",
            ) from error
        except OSError as error:
            raise TrustError(f"roster {self.path} can't be read: {error.strerror}", reason="Unusable") from error
        try:
            read = msgspec.msgpack.decode(content, type=_Document)
            return open_roster(read.roster, read.clusterset, read.authority_key)
        except (*UNREADABLE, WireError) as error:
            raise TrustError(f"roster {self.path} is damaged: {error}", reason="RosterCorrupt", hint=_HINT) from error

    def save(self, known: KnownRoster) -> None:
        """Remember ``known``, whole or not at all; raises OSError."""
        document = _Document(known.roster.clusterset, known.authority_key, known.blob)
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        replace_private(self.path, msgspec.msgpack.encode(document))
