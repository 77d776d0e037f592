"""Errors: what a catcher can rely on."""

from __future__ import annotations

import pytest

from federation.model import errors
from federation.model.errors import ConfigError, FederationError, WireError


def test_one_family() -> None:
    """Whoever catches the base catches every error of the module."""
    strays = [
        name
        for name, cls in vars(errors).items()
        if isinstance(cls, type) and issubclass(cls, Exception) and not issubclass(cls, FederationError)
    ]
    assert strays == []


def test_message_and_hint_are_apart() -> None:
    """The text of an error is its message; the hint is separate and may be missing."""
    error = FederationError("redis at 127.0.0.1:6379 refused", hint="is it running?")
    assert (str(error), error.hint, FederationError("x").hint) == (
        "redis at 127.0.0.1:6379 refused",
        "is it running?",
        "",
    )


def test_configuration_errors_carry_every_violation() -> None:
    """All violations are reported together, and the exit code tells them from other failures."""
    error = ConfigError("settings are unusable", violations=["a: missing", "b: unknown"])
    assert (error.violations, error.exit_code) == (("a: missing", "b: unknown"), 2)


def test_wire_errors_carry_their_reason() -> None:
    """The reason code is there for metrics, apart from the message."""
    with pytest.raises(WireError, match="too large") as caught:
        raise WireError("Oversized", "record export/demo/echo is too large")
    assert caught.value.reason == "Oversized"
