"""The authority's ledger: its roster, the tokens it gave out, and by what each member proves itself to the exchange.

Values only, and their JSON; what may be changed, and when, is judged in ``admission``. No secret is in it: of a token
it knows the public half, of a password the digest.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from types import MappingProxyType
from typing import Annotated

import msgspec

from federation.membership.roster import Handover, Roster, RosterMember
from federation.model.errors import TrustError
from federation.model.names import ClusterId
from federation.model.wire import UNREADABLE

_VERSION = 1
_ID_CHARS = 10
_MAX_SPENT = 4096
"""More keys than a clusterset gives up while anyone still keeps requests that were signed with them."""


@dataclass(frozen=True, slots=True)
class TokenEntry:
    """One token, as the authority remembers it."""

    key: bytes
    """Public half of the token's key, 32 raw bytes."""
    cluster: ClusterId
    created_at: datetime
    expires_at: datetime
    access_digest: str = ""
    """SHA-256 (hex) of the password in the token; empty where the exchange's users are made by hand, or not at all."""
    used_by: bytes | None = None
    """The member key that was admitted with it."""
    revoked_at: datetime | None = None

    @property
    def id(self) -> str:
        """What a person calls it: the beginning of its key's SHA-256."""
        return hashlib.sha256(self.key).hexdigest()[:_ID_CHARS]

    def state(self, now: datetime) -> str:
        """``Used``, ``Revoked``, ``Expired`` or ``Pending``."""
        if self.used_by is not None:
            return "Used"
        if self.revoked_at is not None:
            return "Revoked"
        return "Expired" if now >= self.expires_at else "Pending"


@dataclass(frozen=True, slots=True)
class Farewell:
    """A cluster that has left, and may still read so in the exchange."""

    until: datetime
    access_digest: str = ""
    """Of its password for the exchange; empty where it has no user of its own."""


@dataclass(frozen=True, slots=True)
class Ledger:
    """All that the authority knows."""

    authority_key: bytes
    """Public half of the key that signs, 32 raw bytes."""
    roster: Roster
    tokens: tuple[TokenEntry, ...] = ()
    """Oldest first."""
    access: Mapping[ClusterId, str] = field(default_factory=lambda: MappingProxyType({}))
    """Digest of every member's password for the exchange; a member that is not named has no user of its own."""
    spent: tuple[bytes, ...] = ()
    """Member keys that were given up, oldest first. No key is admitted twice: what was once signed with it and kept by
    somebody would count again."""
    leaving: Mapping[ClusterId, Farewell] = field(default_factory=lambda: MappingProxyType({}))
    """Who has left and is not removed from the exchange yet."""

    def token(self, key: bytes) -> TokenEntry | None:
        return next((token for token in self.tokens if token.key == key), None)

    def with_token(self, entry: TokenEntry) -> Ledger:
        """The ledger with this token put in or replaced."""
        others = tuple(token for token in self.tokens if token.key != entry.key)
        return replace(self, tokens=tuple(sorted((*others, entry), key=lambda token: (token.created_at, token.key))))

    def with_access(self, cluster: ClusterId, digest: str) -> Ledger:
        """The ledger with a member's password replaced; an empty digest forgets it."""
        kept = {name: known for name, known in self.access.items() if name != cluster}
        return replace(
            self, access=MappingProxyType(dict(sorted({**kept, **({cluster: digest} if digest else {})}.items())))
        )

    def with_spent(self, *keys: bytes) -> Ledger:
        """The ledger in which these member keys are given up for good."""
        return replace(self, spent=(*self.spent, *(key for key in keys if key not in self.spent))[-_MAX_SPENT:])

    def with_farewell(self, cluster: ClusterId, farewell: Farewell | None) -> Ledger:
        """The ledger in which this cluster is leaving; None: it is gone, or has come back."""
        kept = {name: known for name, known in self.leaving.items() if name != cluster}
        if farewell is not None:
            kept[cluster] = farewell
        return replace(self, leaving=MappingProxyType(dict(sorted(kept.items()))))

    def parted(self, now: datetime) -> tuple[ClusterId, ...]:
        """Whose farewell is over: nothing of it may be left in the exchange."""
        return tuple(cluster for cluster, farewell in self.leaving.items() if now >= farewell.until)

    def users(self, now: datetime) -> Mapping[ClusterId, tuple[str, ...]]:
        """Who may use the exchange as which cluster: the digests of the members' passwords, of those that are leaving,
        and those in the pending tokens of clusters that are no members yet."""
        found: dict[ClusterId, tuple[str, ...]] = {
            cluster: (farewell.access_digest,)
            for cluster, farewell in self.leaving.items()
            if farewell.access_digest and now < farewell.until
        }
        found |= {cluster: (digest,) for cluster, digest in self.access.items()}
        for token in self.tokens:
            if token.access_digest and token.state(now) == "Pending" and self.roster.member(token.cluster) is None:
                found[token.cluster] = (*found.get(token.cluster, ()), token.access_digest)
        return found

    def without_users(self, now: datetime) -> frozenset[ClusterId]:
        """Members, and clusters with a pending token, whose users of the exchange are made by hand, if there are any:
        the ledger knows no password of them."""
        pending = {token.cluster for token in self.tokens if not token.access_digest and token.state(now) == "Pending"}
        return frozenset(pending | {member.cluster for member in self.roster.members}) - self.users(now).keys()


_Time = Annotated[datetime, msgspec.Meta(tz=True)]


class _Version(msgspec.Struct):
    version: int


class _Member(msgspec.Struct, forbid_unknown_fields=True):
    cluster: str
    trust_domain: str
    public_key: bytes
    admitted_at: _Time
    retiring_key: bytes | None = None
    retiring_until: _Time | None = None


class _Token(msgspec.Struct, forbid_unknown_fields=True):
    key: bytes
    cluster: str
    created_at: _Time
    expires_at: _Time
    access_digest: str = ""
    used_by: bytes | None = None
    revoked_at: _Time | None = None


class _Farewell(msgspec.Struct, forbid_unknown_fields=True):
    until: _Time
    access_digest: str = ""


class _Document(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    version: int
    clusterset: str
    authority_key: bytes
    serial: int
    seat: str
    members: list[_Member]
    handovers: list[Handover]
    tokens: list[_Token]
    access: dict[str, str]
    spent: list[bytes] = []
    leaving: dict[str, _Farewell] = {}


def encode_ledger(ledger: Ledger) -> bytes:
    """The ledger as a JSON document."""
    roster = ledger.roster
    document = _Document(
        _VERSION,
        roster.clusterset,
        ledger.authority_key,
        roster.serial,
        roster.seat,
        [
            _Member(m.cluster, m.trust_domain, m.public_key, m.admitted_at, m.retiring_key, m.retiring_until)
            for m in roster.members
        ],
        list(roster.handovers),
        [
            _Token(t.key, t.cluster, t.created_at, t.expires_at, t.access_digest, t.used_by, t.revoked_at)
            for t in ledger.tokens
        ],
        {str(cluster): digest for cluster, digest in ledger.access.items()},
        list(ledger.spent),
        {str(cluster): _Farewell(known.until, known.access_digest) for cluster, known in ledger.leaving.items()},
    )
    return msgspec.json.format(msgspec.json.encode(document))


def decode_ledger(content: bytes) -> Ledger:
    """Read a ledger; raises TrustError where it is not whole: one made anew would forget whom it has admitted."""
    try:
        version = msgspec.json.decode(content, type=_Version).version
        if version != _VERSION:
            raise TrustError(
                f"the authority's ledger has version {version}, this program knows version {_VERSION}",
                reason="LedgerVersion",
                hint="run the version of this program that wrote it, or a newer one",
            )
        read = msgspec.json.decode(content, type=_Document)
    except UNREADABLE as error:
        raise TrustError(
            f"the authority's ledger can't be read: {error}", reason="LedgerCorrupt", hint="restore it from a backup"
        ) from error
    return Ledger(
        read.authority_key,
        Roster(
            read.clusterset,
            read.serial,
            ClusterId(read.seat),
            tuple(
                RosterMember(
                    ClusterId(m.cluster), m.trust_domain, m.public_key, m.admitted_at, m.retiring_key, m.retiring_until
                )
                for m in read.members
            ),
            tuple(read.handovers),
        ),
        tuple(
            TokenEntry(
                t.key, ClusterId(t.cluster), t.created_at, t.expires_at, t.access_digest, t.used_by, t.revoked_at
            )
            for t in read.tokens
        ),
        MappingProxyType({ClusterId(cluster): digest for cluster, digest in read.access.items()}),
        tuple(read.spent),
        MappingProxyType(
            {ClusterId(cluster): Farewell(known.until, known.access_digest) for cluster, known in read.leaving.items()}
        ),
    )
