"""The values of the Source protocol; its promises are held by tests/contract/test_source.py."""

from __future__ import annotations

import dataclasses

import pytest

from controllers.sources.base import SourceUpdate
from federation.model.state import ClusterState


def test_an_update_can_be_kept() -> None:
    """Nobody can alter an update after it was handed out."""
    update = SourceUpdate(ClusterState(), frozenset(), ())

    with pytest.raises(dataclasses.FrozenInstanceError):
        update.problems = ()  # type: ignore[misc]
