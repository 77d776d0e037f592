"""What the authority refuses, in its words, with the next step."""

from __future__ import annotations

import pytest

from federation.app.refused import RefusedError
from federation.membership.admission import Reason
from federation.membership.requests import Refusal


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        (Reason.EXPIRED, "ask for a new token"),
        (Reason.CLOCK_SKEW, "set the clock"),
        (Reason.KEY_RETIRING, "ask again then"),
        ("SomethingNewer", ""),
    ],
)
def test_a_refusal_leads_to_the_next_step(reason: str, words: str) -> None:
    """By its reason; one of a newer authority keeps its words."""
    error = RefusedError(Refusal(reason, "it is not granted"))
    assert (str(error), error.reason, error.hint.startswith(words)) == ("it is not granted", reason, True)
    assert bool(error.hint) == bool(words)
