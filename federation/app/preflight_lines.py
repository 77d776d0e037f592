"""The lines of `federation check`, by name, and how a finding becomes one. Pure.

docs/troubleshooting.md has a row for each. Who judges what: ``exchange_checks``, ``network_checks``, ``site_checks``.
"""

from __future__ import annotations

from enum import StrEnum

from controllers.checks import Check, Level
from federation.model.errors import FederationError


class Line(StrEnum):
    """What a line is about, in the order in which they are printed."""

    TOKEN = "token"  # noqa: S105 - the name of a line
    SETTINGS = "settings"
    PRIVATE_FILES = "private files"
    STATE_DIRECTORY = "state directory"
    MEMBERSHIP = "membership"
    MEMBER_KEY = "member key"
    CONTROLLER = "controller"
    EXCHANGE_NAME = "exchange name"
    EXCHANGE_CONNECTION = "exchange connection"
    EXCHANGE_TLS = "exchange TLS"
    EXCHANGE_LOGIN = "exchange login"
    EXCHANGE_SERVER = "exchange server"
    EXCHANGE_RIGHTS = "exchange rights"
    CLOCK = "clock"
    CLUSTERSET = "clusterset"
    AUTHORITY = "authority"
    PYTHON = "python"
    ENVOY = "envoy"
    PEER_VERSIONS = "peer versions"
    GATEWAY_ADDRESS = "gateway address"
    GATEWAY = "gateway"
    LISTEN_PORTS = "listen ports"
    PEER_GATEWAYS = "peer gateways"
    ADDRESSES = "addresses"
    MANIFESTS = "manifests"
    API_SERVER = "API server"
    MCS_API = "MCS API"


WIDTH = max(map(len, Line))
"""Of the longest name."""


def ok(line: Line, message: str) -> Check:
    """All is well."""
    return Check(line, Level.OK, message)


def note(line: Line, message: str, fix: str = "") -> Check:
    """Nothing fails by it, and it should be known."""
    return Check(line, Level.NOTE, message, fix)


def failed(line: Line, message: str, fix: str) -> Check:
    """It does not work as it is."""
    return Check(line, Level.FAILED, message, fix)


def trouble(line: Line, error: FederationError, fix: str) -> Check:
    """What an error says, with its own next step or else ``fix``."""
    return failed(line, str(error), error.hint or fix)
