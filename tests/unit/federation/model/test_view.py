"""The merged view: the sum over zones."""

from __future__ import annotations

from support.builders import backend


def test_ready_is_the_sum_of_zones() -> None:
    """A backend is as ready as all its zones together."""
    assert backend(zones={"a": 2, "b": 3}).ready == 5
