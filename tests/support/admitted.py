"""A clusterset without the ceremony of joining: what `federation init` and `federation join` leave on the disk."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from federation.membership.authority_store import AuthorityStore
from federation.membership.keys import generate_signing_key, public_key
from federation.membership.ledger import Ledger
from federation.membership.roster import Roster, RosterMember, open_roster, sign_roster
from federation.membership.roster_file import RosterFile
from federation.model.names import ClusterId


@dataclass(frozen=True, slots=True)
class Admitted:
    """One cluster in its directory, with the key that it signs with."""

    directory: Path
    cluster: str
    trust_domain: str
    key: Ed25519PrivateKey


def found_clusterset(clusterset: str, admitted: Sequence[Admitted]) -> AuthorityStore:
    """Admit clusters: the first has the authority in ``authority``, every one the roster in ``state``.

    Called again with more clusters, the same authority admits them too.
    """
    seat = admitted[0]
    store = AuthorityStore(seat.directory / "authority")
    if not store.exists:
        key = generate_signing_key()
        store.create(Ledger(public_key(key), Roster(clusterset, 0, ClusterId(seat.cluster))), key)
    with store.transaction() as held:
        known = {member.cluster: member for member in held.ledger.roster.members}
        for one in admitted:
            cluster = ClusterId(one.cluster)
            moment = datetime.now(UTC).replace(microsecond=0)
            known.setdefault(cluster, RosterMember(cluster, one.trust_domain, public_key(one.key), moment))
        held.commit(replace(held.ledger, roster=held.ledger.roster.with_members(known.values())))
        blob = sign_roster(held.ledger.roster, held.key)
        for one in admitted:
            RosterFile(one.directory / "state").save(open_roster(blob, clusterset, held.ledger.authority_key))
    return store
