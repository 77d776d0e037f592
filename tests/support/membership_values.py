"""Values of membership for tests: keys that are the same in every run, an authority's ledger, tokens and requests."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from federation.membership.keys import public_key
from federation.membership.ledger import Ledger, TokenEntry
from federation.membership.requests import Request, Wish
from federation.membership.roster import Roster, RosterMember
from federation.model.names import ClusterId

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
CLUSTERSET = "demo"
EAST, WEST, NORTH = ClusterId("east"), ClusterId("west"), ClusterId("north")


def key(name: str) -> Ed25519PrivateKey:
    """The private key of this name."""
    return Ed25519PrivateKey.from_private_bytes(hashlib.sha256(name.encode()).digest())


def public(name: str) -> bytes:
    """The public half of the key of this name."""
    return public_key(key(name))


def digest(name: str) -> str:
    """SHA-256 (hex) of the password of this name."""
    return hashlib.sha256(name.encode()).hexdigest()


def roster_member(cluster: ClusterId, key_name: str = "") -> RosterMember:
    """A member with the key named after it, admitted at NOW."""
    return RosterMember(cluster, f"{cluster}.example", public(key_name or cluster), NOW)


def ledger_of(*clusters: ClusterId) -> Ledger:
    """The ledger of an authority whose seat is east, with these members."""
    roster = Roster(CLUSTERSET, 1, EAST, tuple(roster_member(cluster) for cluster in sorted(clusters)))
    return Ledger(public("authority"), roster)


def token_entry(cluster: ClusterId, name: str = "token", created_at: datetime = NOW) -> TokenEntry:
    """A token of 15 minutes with the key and the password of this name."""
    return TokenEntry(public(name), cluster, created_at, created_at + timedelta(minutes=15), digest(name))


def join(cluster: ClusterId, key_name: str = "", token: str = "token", made_at: datetime = NOW) -> Request:
    """A request to join with the key named after the cluster, vouched for by the token of this name."""
    member = public(key_name or cluster)
    return Request(Wish.JOIN, CLUSTERSET, cluster, f"{cluster}.example", member, public(token), made_at)


def rekey(cluster: ClusterId, present: str, fresh: str, made_at: datetime = NOW) -> Request:
    """A request for the member key ``fresh`` in the place of ``present``."""
    return Request(Wish.REKEY, CLUSTERSET, cluster, f"{cluster}.example", public(fresh), public(present), made_at)


def leave(cluster: ClusterId, key_name: str = "", made_at: datetime = NOW) -> Request:
    """A request to leave, by the key of this name, or named after the cluster."""
    member = public(key_name or cluster)
    return Request(Wish.LEAVE, CLUSTERSET, cluster, f"{cluster}.example", member, member, made_at)
