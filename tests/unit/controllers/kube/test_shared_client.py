"""One client for all who ask at the same time."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from controllers.kube.shared_client import SharedClient


class Opener:
    """Opens clients that are numbers, and tells which are open."""

    def __init__(self) -> None:
        self.made = 0
        self.open: list[int] = []

    @asynccontextmanager
    async def __call__(self) -> AsyncIterator[int]:
        self.made += 1
        number = self.made
        self.open.append(number)
        try:
            yield number
        finally:
            self.open.remove(number)


async def test_who_asks_at_the_same_time_shares_a_client() -> None:
    """It is closed when the last is done, and the next who comes has a new one."""
    opener = Opener()
    clients = SharedClient(opener)
    async with clients.borrowed() as first:
        async with clients.borrowed() as second:
            assert (first, second) == (1, 1)
        assert opener.open == [1]
    assert opener.open == []
    async with clients.borrowed() as later:
        assert later == 2


async def test_a_client_that_failed_is_lent_to_nobody_else() -> None:
    """Who has it still may finish; it is closed then."""
    opener = Opener()
    clients = SharedClient(opener)
    async with clients.borrowed():
        with pytest.raises(LookupError):
            async with clients.borrowed():
                raise LookupError
        async with clients.borrowed() as fresh:
            assert (fresh, opener.open) == (2, [1, 2])
        assert opener.open == [1]
    assert opener.open == []


async def test_what_can_not_be_opened_is_tried_again() -> None:
    """An error of opening is the borrower's; the next one tries anew."""
    opener = Opener()
    broken = [True]

    @asynccontextmanager
    async def opened() -> AsyncIterator[int]:
        if broken:
            raise LookupError
        async with opener() as client:
            yield client

    clients = SharedClient(opened)
    with pytest.raises(LookupError):
        async with clients.borrowed():
            raise AssertionError("nothing was opened")
    broken.clear()
    async with clients.borrowed() as client:
        assert client == 1
