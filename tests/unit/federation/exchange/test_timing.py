"""The back-off: it grows, it has a limit, it is jittered, it starts anew."""

from __future__ import annotations

import random

from federation.exchange.timing import Backoff, Timing


def test_pauses_double_up_to_the_limit() -> None:
    """Each pause lies between half and all of a value that doubles until its limit."""
    backoff = Backoff(Timing(retry=1.0, retry_max=4.0), random.Random(1))
    for whole in (1.0, 2.0, 4.0, 4.0):
        assert whole / 2 <= backoff.next() <= whole
    backoff.reset()
    assert backoff.next() <= 1.0


def test_two_members_do_not_wait_alike() -> None:
    """Different randomness gives different pauses."""
    timing = Timing()
    assert Backoff(timing, random.Random(1)).next() != Backoff(timing, random.Random(2)).next()
