"""Floods of a gateway: connections that say nothing, or half of a hello, and hellos that ask for what isn't there."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator

_HELLO_SECONDS = 10.0


def client_hello(server_name: str) -> bytes:
    """The first bytes of a TLS session that asks for that name."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    received, sent = ssl.MemoryBIO(), ssl.MemoryBIO()
    session = context.wrap_bio(received, sent, server_hostname=server_name)
    with contextlib.suppress(ssl.SSLWantReadError):
        session.do_handshake()
    return sent.read()


@contextlib.asynccontextmanager
async def held_open(host: str, port: int, count: int, said: bytes) -> AsyncIterator[None]:
    """Open so many connections that say ``said`` and no more, refused or not; they end with the context."""
    loop = asyncio.get_running_loop()
    with contextlib.ExitStack() as stack:
        for _ in range(count):
            connection = stack.enter_context(socket.socket())
            connection.setblocking(False)
            with contextlib.suppress(OSError):
                await loop.sock_connect(connection, (host, port))
                await loop.sock_sendall(connection, said)
        yield


async def ask_for_unknown(host: str, port: int, hello: bytes, name: bytes, count: int, rate: float) -> None:
    """Connect ``rate`` times a second, and ask each time for another name: ``name`` in ``hello`` is numbered.

    Waits for nothing: each connection is closed a while after its hello.
    """
    loop = asyncio.get_running_loop()
    due = loop.time()
    async with asyncio.TaskGroup() as tasks:
        for number in range(count):
            other = hello.replace(name, b"%0*d" % (len(name), number))
            tasks.create_task(_ask(host, port, other))
            due += 1 / rate
            await asyncio.sleep(max(due - loop.time(), 0))


async def _ask(host: str, port: int, hello: bytes) -> None:
    loop = asyncio.get_running_loop()
    with socket.socket() as connection, contextlib.suppress(OSError, TimeoutError):
        connection.setblocking(False)
        async with asyncio.timeout(_HELLO_SECONDS):
            await loop.sock_connect(connection, (host, port))
            await loop.sock_sendall(connection, hello)
            await loop.sock_recv(connection, 1)
