"""Asking a controller to replace its member key, and waiting for it with a word on what is waited for."""

from __future__ import annotations

import time
from pathlib import Path

import typer

from controllers.status import MembershipStatus, StatusReport
from federation.cli.owner import ask
from federation.model.errors import FederationError

_POLL_SECONDS = 0.2
_QUIET_SECONDS = 2.0


def replaced_key(directory: Path, timeout_seconds: float) -> str:
    """Have the member key replaced; returns the beginning of the new public key. Raises FederationError with the
    authority's reason, or with who did not answer."""
    before = _membership(directory)
    ask(directory, "/v1/rotations/member-key", dict[str, object], method="POST")
    begun = time.monotonic()
    told = False
    while True:
        now = _membership(directory)
        if now.member_key != before.member_key:
            return now.member_key
        if now.rekey_refused:
            raise FederationError(
                f"the member key is not replaced: {now.rekey_refused}", hint="the old one stays in use"
            )
        waited = time.monotonic() - begun
        if waited > timeout_seconds:
            raise FederationError(
                f"the controller of {now.seat}, which has the authority, did not answer within {timeout_seconds:g} s",
                hint="the rotation goes on: `federation status -o json` shows membership.rekeying",
            )
        if waited > _QUIET_SECONDS and not told:
            typer.echo(f"waiting for the controller of {now.seat}, which has the authority", err=True)
            told = True
        time.sleep(_POLL_SECONDS)


def _membership(directory: Path) -> MembershipStatus:
    membership = ask(directory, "/v1/status", StatusReport).membership
    if membership is None:
        raise FederationError("the controller does not tell of its membership", hint="is it of an older version?")
    return membership
