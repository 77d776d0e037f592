"""Programs that are run in pods: no pod runs here, so a test says which program of this machine stands for which.

The protocol is that of kube-apiserver (v4.channel.k8s.io): the first byte of a message is its stream, the last message
is a Status on the fourth one.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

PROTOCOL = "v4.channel.k8s.io"
STDIN, STDOUT, STDERR, OUTCOME = range(4)


@dataclass(frozen=True)
class Program:
    """What is run in the place of a pod's program."""

    command: list[str]
    environment: Mapping[str, str] = field(default_factory=dict)


ProgramOf = Callable[[str, list[str]], Program | None]
"""By pod and command; None where there is no such pod."""


async def serve_exec(request: web.BaseRequest, program: Program) -> web.WebSocketResponse:
    """Run it until it ends; its standard input is what comes, and is never closed."""
    socket = web.WebSocketResponse(protocols=(PROTOCOL,))
    await socket.prepare(request)
    process = await asyncio.create_subprocess_exec(
        *program.command,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, **program.environment},
    )
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    given = process.stdin

    async def take() -> None:
        async for message in socket:
            if message.data and message.data[0] == STDIN:
                given.write(message.data[1:])

    async def tell(channel: int, stream: asyncio.StreamReader) -> None:
        while content := await stream.read(4096):
            await socket.send_bytes(bytes([channel]) + content)

    taking = asyncio.ensure_future(take())
    try:
        await asyncio.gather(tell(STDOUT, process.stdout), tell(STDERR, process.stderr))
        await socket.send_bytes(bytes([OUTCOME]) + json.dumps(_status(await process.wait())).encode())
    finally:
        taking.cancel()
        if process.returncode is None:
            process.kill()
            await process.wait()
    await socket.close()
    return socket


def _status(code: int) -> dict[str, Any]:
    if not code:
        return {"metadata": {}, "status": "Success"}
    return {
        "metadata": {},
        "status": "Failure",
        "message": f"command terminated with non-zero exit code: exit status {code}",
        "reason": "NonZeroExitCode",
        "details": {"causes": [{"reason": "ExitCode", "message": str(code)}]},
    }
