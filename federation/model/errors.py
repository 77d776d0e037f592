"""The error family, sorted by what the catcher does. Trouble in data is a value (see problems), never raised."""

from __future__ import annotations

from collections.abc import Sequence


class FederationError(Exception):
    """Base of all our exceptions: a message that names object and cause, and a hint that names the next step."""

    exit_code = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class ConfigError(FederationError):
    """The configuration is unusable. Carries every violation found, each as ``path: what is wrong``."""

    exit_code = 2

    def __init__(self, message: str, *, violations: Sequence[str] = (), hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.violations = tuple(violations)


class ExchangeUnavailableError(FederationError):
    """The exchange can't be reached or gave no whole answer: retry, and keep serving the last good."""


class ExchangeDeniedError(ExchangeUnavailableError):
    """The exchange does not let this user in: its password was replaced, or the user is gone."""


class WireError(FederationError):
    """Bytes of a peer that can't be accepted. Ends as a Rejected value; harms this record only."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class TrustError(FederationError):
    """A key, certificate or bundle is unusable: stop that peer, never weaken. Its reason is a stable code."""

    def __init__(self, message: str, *, reason: str = "", hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.reason = reason


class OrderError(FederationError):
    """What was ordered of a running controller can't be done, or would do harm; the hint says what can."""


class InvariantError(FederationError):
    """A bug of ours, found by a check of our own before it reached the data plane."""


class MissingProgramError(FederationError):
    """A program that we run (Envoy, Redis) is not on this machine; the hint says how to get it."""
