"""Going on with the exchange's roster: what would change, what is forgotten, and when there is nothing to adopt."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from federation.membership.adoption import Adoption, adopt, examine
from federation.membership.ledger import Farewell, Ledger
from federation.membership.roster import Roster, hand_over, sign_roster
from federation.model.errors import TrustError
from federation.model.names import ClusterId
from support.membership_values import (
    CLUSTERSET,
    EAST,
    NORTH,
    NOW,
    WEST,
    digest,
    key,
    ledger_of,
    public,
    roster_member,
    token_entry,
)

SOUTH = ClusterId("south")
BACKUP = (
    replace(ledger_of(EAST, WEST), roster=replace(ledger_of(EAST, WEST).roster, serial=5))
    .with_access(EAST, digest("e"))
    .with_access(WEST, digest("w"))
    .with_token(token_entry(SOUTH))
    .with_token(replace(token_entry(NORTH, "t2"), used_by=public("north")))
    .with_farewell(NORTH, Farewell(NOW))
    .with_farewell(SOUTH, Farewell(NOW))
)
NEWER = replace(ledger_of(EAST, NORTH).roster, serial=9, members=(roster_member(EAST, "fresh"), roster_member(NORTH)))


def examined(roster: Roster, ledger: Ledger = BACKUP) -> Adoption:
    return examine(sign_roster(roster, key("authority")), ledger, NOW)


def test_what_would_change_is_told() -> None:
    """Who comes, who goes, who has another key, and which tokens would end."""
    assert examined(NEWER) == Adoption(
        NEWER,
        coming=(roster_member(NORTH),),
        going=(roster_member(WEST),),
        changed=(roster_member(EAST, "fresh"),),
        tokens=(token_entry(SOUTH),),
    )


def test_a_ledger_goes_on_with_the_newer_roster() -> None:
    """Under the next serial; with the passwords of those who came, without those of who went, without a pending token,
    and with every key that it has seen given up."""
    ledger = adopt(BACKUP, examined(NEWER), {NORTH: digest("n"), EAST: digest("other"), WEST: digest("w")}, NOW)
    assert (ledger.roster.serial, ledger.roster.members) == (10, NEWER.members)
    assert ledger.access == {EAST: digest("e"), NORTH: digest("n")}
    assert {token.cluster: token.state(NOW) for token in ledger.tokens} == {SOUTH: "Revoked", NORTH: "Used"}
    assert set(ledger.spent) == {public(name) for name in ("east", "west", "north", "fresh")}
    assert set(ledger.leaving) == {SOUTH}


@pytest.mark.parametrize("roster", [BACKUP.roster, replace(NEWER, serial=4)], ids=["the same", "an older one"])
def test_an_exchange_that_knows_nothing_newer(roster: Roster) -> None:
    """The ledger is ahead of it, whatever it holds."""
    with pytest.raises(TrustError, match="holds no newer roster than the ledger's, 5") as caught:
        examined(roster)
    assert caught.value.reason == "NothingToAdopt"


def test_tokens_that_ended_are_not_told() -> None:
    """Only what was good until now ends."""
    assert examine(sign_roster(NEWER, key("authority")), BACKUP, NOW + timedelta(days=1)).tokens == ()


def test_a_roster_of_another_key() -> None:
    """Neither a stranger's nor one that a later key has signed is taken over."""
    later = NEWER.with_handover(hand_over(CLUSTERSET, key("authority"), key("later")))
    reasons = []
    for blob in (None, sign_roster(NEWER, key("thief")), sign_roster(later, key("later"))):
        with pytest.raises(TrustError) as caught:
            examine(blob, BACKUP, NOW)
        reasons.append(caught.value.reason)
    assert reasons == ["NothingToAdopt", "BadSignature", "AnotherAuthority"]
