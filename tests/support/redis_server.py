"""A real Redis server for tests: on a free loopback port, in a directory of its own, ended with the test."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from federation.exchange.connection import ExchangeAccess
from federation.exchange.server import EmbeddedRedis, find_redis_server, find_tls_redis_server
from federation.model.errors import MissingProgramError
from federation.model.exchange_address import parse_exchange_address


@contextmanager
def running_redis(directory: Path) -> Iterator[EmbeddedRedis]:
    """A running server; the test may kill and start it again, always on the same port."""
    server = EmbeddedRedis(0, directory=directory, program=find_redis_server(os.environ))
    server.start()
    try:
        yield server
    finally:
        server.kill()


def access_to(url: str) -> ExchangeAccess:
    """Access without TLS and without a user."""
    return ExchangeAccess(parse_exchange_address(url))


def tls_program() -> Path:
    """A server's program that speaks TLS; the test is skipped where there is none, with the reason."""
    try:
        return find_tls_redis_server(os.environ)
    except MissingProgramError as error:
        pytest.skip(f"{error}: {error.hint}")
