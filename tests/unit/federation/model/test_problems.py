"""Problems: how they read."""

from __future__ import annotations

import pytest

from federation.model.problems import Problem


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("", "Service demo/echo: is missing (NoService)"),
        ("spec.ports[0]", "Service demo/echo spec.ports[0]: is missing (NoService)"),
    ],
)
def test_text(path: str, expected: str) -> None:
    """The text names the object, the field where there is one, the cause and the reason code."""
    assert expected == str(Problem("Service demo/echo", "NoService", "is missing", path))
