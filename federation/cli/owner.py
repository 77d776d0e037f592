"""Asking a running controller over its Unix socket: who may open it is the controller's owner."""

from __future__ import annotations

import asyncio
from pathlib import Path

import aiohttp

from federation.app.sites import load_cluster
from federation.model.errors import FederationError

_TIMEOUT_SECONDS = 10


class ControllerUnavailableError(FederationError):
    """The controller does not answer."""


def ask(directory: Path, path: str, *, method: str = "GET") -> bytes:
    """The body of the controller's answer; raises ControllerUnavailableError and ConfigError."""
    socket = load_cluster(directory).state_directory / "admin.sock"
    return asyncio.run(_ask(socket, path, method))


async def _ask(socket: Path, path: str, method: str) -> bytes:
    timeout = aiohttp.ClientTimeout(total=_TIMEOUT_SECONDS)
    try:
        async with (
            aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(socket)), timeout=timeout) as session,
            session.request(method, f"http://controller{path}") as response,
        ):
            response.raise_for_status()
            return await response.read()
    except (aiohttp.ClientError, OSError, TimeoutError) as error:
        raise ControllerUnavailableError(
            f"no controller answers on {socket}: {error}",
            hint=f"is it running? `federation controller --dir {socket.parent.parent}` starts it",
        ) from error
