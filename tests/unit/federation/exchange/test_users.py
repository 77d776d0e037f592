"""The users' Redis edge where there is no Redis; what it does to real servers is in tests/contract/test_access.py."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from federation.exchange.users import RedisUsers
from federation.model.errors import ConfigError
from federation.model.names import ClusterId
from support.redis_server import access_to


async def test_a_server_that_is_too_old_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where one of several servers can't keep members apart, no user is made on any."""
    users = RedisUsers(access_to("redis://127.0.0.1:1"), "test")
    sent = []

    async def every(read: Callable[[list[bytes]], str], *command: str) -> tuple[str, ...]:
        sent.append(command[0])
        return tuple(read([b"server", b"redis", b"version", number]) for number in (b"7.2.1", b"6.2.14"))

    monkeypatch.setattr(users._connection, "on_every_server", every)
    with pytest.raises(ConfigError, match=r"redis 6\.2\.14: users of single members need Redis 7") as refused:
        await users.set_user(ClusterId("east"), ["0" * 64])
    assert "docs/exchange.md" in refused.value.hint
    assert sent == ["HELLO"]
    await users.aclose()
