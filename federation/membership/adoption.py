"""Adoption: a ledger that was restored from a backup goes on with the newer roster that the exchange holds. Pure.

Everything that the ledger has forgotten since counts against it: whoever controls the exchange may show any roster that
the authority has ever signed, so a person looks at who comes and goes, and no token of the backup stays good.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from federation.membership.ledger import Ledger, TokenEntry
from federation.membership.roster import Roster, RosterMember, open_roster
from federation.model.errors import TrustError, WireError
from federation.model.names import ClusterId


@dataclass(frozen=True, slots=True)
class Adoption:
    """What would change in the ledger."""

    roster: Roster
    """As the exchange holds it."""
    coming: tuple[RosterMember, ...]
    """Members that the ledger does not know."""
    going: tuple[RosterMember, ...]
    """Members of the ledger that the roster does not name."""
    changed: tuple[RosterMember, ...]
    """Members that have another key or trust domain there."""
    tokens: tuple[TokenEntry, ...]
    """Those of the ledger that are pending: nobody knows which of them were used or revoked since."""


def examine(blob: bytes | None, ledger: Ledger, now: datetime) -> Adoption:
    """What it means to go on with the exchange's roster; raises TrustError where there is none to go on with."""
    try:
        known = None if blob is None else open_roster(blob, ledger.roster.clusterset, ledger.authority_key)
    except WireError as error:
        raise TrustError(
            f"the roster in the exchange is none of this authority: {error}", reason=error.reason
        ) from error
    if known is None or known.roster == ledger.roster or known.roster.serial < ledger.roster.serial:
        raise TrustError(
            f"the exchange holds no newer roster than the ledger's, {ledger.roster.serial}", reason="NothingToAdopt"
        )
    if known.authority_key != ledger.authority_key:
        raise TrustError(
            "the authority's key was replaced since this copy of the ledger was made",
            reason="AnotherAuthority",
            hint="restore a copy that was made after `federation rotate authority`",
        )
    before = {member.cluster: member for member in ledger.roster.members}
    after = {member.cluster: member for member in known.roster.members}
    return Adoption(
        known.roster,
        tuple(member for cluster, member in after.items() if cluster not in before),
        tuple(member for cluster, member in before.items() if cluster not in after),
        tuple(member for cluster, member in after.items() if cluster in before and _differ(member, before[cluster])),
        tuple(token for token in ledger.tokens if token.state(now) == "Pending"),
    )


def adopt(ledger: Ledger, adoption: Adoption, access: Mapping[ClusterId, str], now: datetime) -> Ledger:
    """The ledger after it has taken over the roster of its own key.

    ``access``: the digests of the passwords that the exchange knows of members which the ledger does not know.
    """
    members = adoption.roster.members
    names = {member.cluster for member in members}
    for cluster in sorted(names & access.keys() - ledger.access.keys()):
        ledger = ledger.with_access(cluster, access[cluster])
    for cluster in sorted(ledger.access.keys() - names):
        ledger = ledger.with_access(cluster, "")
    for cluster in sorted(ledger.leaving.keys() & names):
        ledger = ledger.with_farewell(cluster, None)
    for token in adoption.tokens:
        ledger = ledger.with_token(replace(token, revoked_at=now))
    former = ledger.roster.members
    spent = (key for member in (*former, *members) for key in (member.public_key, member.retiring_key) if key)
    return replace(ledger, roster=adoption.roster.with_members(members)).with_spent(*spent)


def _differ(one: RosterMember, other: RosterMember) -> bool:
    return (one.public_key, one.trust_domain) != (other.public_key, other.trust_domain)
