"""The board carries exactly what its readers look at."""

from __future__ import annotations

import pytest

from federation.exchange.memory_board import MemoryBoard
from federation.membership.requests import open_request
from federation.membership.roster import open_roster
from federation.model.errors import WireError
from federation.model.sizes import MAX_LETTER_BYTES, MAX_ROSTER_BYTES
from support.membership_values import CLUSTERSET, NOW, WEST, public


@pytest.mark.parametrize(("spare", "reason"), [(0, "Malformed"), (1, "Oversized")])
async def test_both_sides_have_one_bound(spare: int, reason: str) -> None:
    """What is within it is carried and looked into; one byte more is refused by either."""
    roster, letter = bytes(MAX_ROSTER_BYTES + spare), bytes(MAX_LETTER_BYTES + spare)
    board = MemoryBoard(lambda: NOW, lambda: 0.0)
    await board.publish_roster(roster)
    await board.write_request(WEST, letter, 60)
    reasons = []
    for read in (board.read_roster, lambda: board.read_request(WEST)):
        try:
            assert await read() is not None
            reasons.append("Malformed")
        except WireError as error:
            reasons.append(error.reason)
    for look in (
        lambda: open_roster(roster, CLUSTERSET, public("authority")),
        lambda: open_request(letter, CLUSTERSET, WEST),
    ):
        with pytest.raises(WireError) as caught:
            look()
        reasons.append(caught.value.reason)
    assert reasons == [reason] * 4
