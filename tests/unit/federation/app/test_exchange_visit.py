"""The way into the exchange ends at the step that fails; tests/feature/test_preflight.py goes it to its end."""

from __future__ import annotations

from pathlib import Path

import pytest

from controllers.checks import Check
from federation.app.clock import utc_now
from federation.app.exchange_visit import ExchangeVisit
from federation.exchange.connection import ExchangeAccess
from federation.exchange.credentials import load_credentials
from federation.model.errors import ExchangeUnavailableError
from federation.model.exchange_address import parse_exchange_address
from federation.model.names import ClusterId

EAST, WEST = ClusterId("east"), ClusterId("west")


def visit(url: str, credentials: Path | None = None, *, may_log_in: bool = True, login_fix: str = "") -> ExchangeVisit:
    letting = None if credentials is None else lambda: load_credentials(credentials)
    access = ExchangeAccess(parse_exchange_address(url), None, letting)
    return ExchangeVisit(access, "test", EAST, WEST, utc_now, may_log_in=may_log_in, login_fix=login_fix)


async def checks(of: ExchangeVisit) -> list[Check]:
    return [check async for check in of.checks()]


async def test_a_step_that_fails_is_the_last() -> None:
    """Nobody is let in."""
    at = visit("redis://redis.invalid")
    assert [(check.name, check.level) for check in await checks(at)] == [("exchange name", "failed")]
    assert at.let_in is False


async def test_credentials_that_can_not_be_used_are_not_sent(tmp_path: Path) -> None:
    """Those that are known to be bad have their own line elsewhere; others are told here."""
    socket, missing = f"unix://{tmp_path}/none.sock", tmp_path / "exchange.credentials"
    assert await checks(visit(socket, missing, may_log_in=False)) == []
    (told,) = await checks(visit(socket, missing))
    assert (told.name, told.level, "can't be read" in told.message) == ("exchange login", "failed", True)


@pytest.mark.parametrize("fix", ["", "ask for another token"])
async def test_a_login_that_fails_has_the_fix_of_whoever_visits(tmp_path: Path, fix: str) -> None:
    """Or else the error's own; a Unix socket has no steps before it."""
    (told,) = await checks(visit(f"unix://{tmp_path}/none.sock", login_fix=fix))
    assert (told.name, told.level) == ("exchange login", "failed")
    assert told.fix == (fix or "is it a Redis or Valkey server, and is it well? Its own log says more")


async def test_questions_after_it_raise_where_nobody_answers(tmp_path: Path) -> None:
    """As every command does."""
    at = visit(f"unix://{tmp_path}/none.sock")
    with pytest.raises(ExchangeUnavailableError):
        await at.roster()
    with pytest.raises(ExchangeUnavailableError):
        await at.hears(WEST)
