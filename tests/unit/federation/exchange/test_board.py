"""The board's keys and limits."""

from __future__ import annotations

import pytest

from federation.exchange.board import BoardKeys, LetterKeys, within
from federation.model.errors import WireError
from federation.model.names import ClusterId


def test_keys_of_a_cluster_share_its_slot() -> None:
    """A cluster's letters carry the hash tag of its records; the roster belongs to no cluster."""
    letters = LetterKeys("acme", ClusterId("east"))
    assert (letters.request, letters.answer) == ("fg:acme:{east}:request", "fg:acme:{east}:answer")
    board = BoardKeys("acme")
    assert (board.roster, board.requests) == ("fg:acme:roster", "fg:acme:requests")


def test_a_blob_within_its_limit_is_itself() -> None:
    """Nothing, and as many bytes as allowed, pass; one more is Oversized and named."""
    assert within(3, None, "answer") is None
    assert within(3, b"abc", "answer") == b"abc"
    with pytest.raises(WireError, match="answer has 4 bytes, more than 3") as refused:
        within(3, b"abcd", "answer")
    assert refused.value.reason == "Oversized"
