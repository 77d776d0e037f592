"""Runs docker, kind and kubectl, and keeps what they say for the error. An edge."""

from __future__ import annotations

import asyncio
import shutil
from asyncio.subprocess import PIPE
from contextlib import suppress
from typing import Final

from federation.app.kind.commands import Command, Ended
from federation.model.errors import FederationError, MissingProgramError

_END_SECONDS: Final = 10.0
_SOURCES: Final = {
    "docker": "install Docker Engine or Docker Desktop: docs.docker.com/engine/install",
    "kind": "install kind: kind.sigs.k8s.io/docs/user/quick-start",
    "kubectl": "install kubectl: kubernetes.io/docs/tasks/tools",
}


class ProgramError(FederationError):
    """A program ended with an error, or did not end in time; its last lines are the message."""


async def run(command: Command) -> Ended:
    """The end of a command, whatever its code; raises MissingProgramError, and ProgramError where it takes too long."""
    program = shutil.which(command.words[0])
    if program is None:
        name = command.words[0]
        raise MissingProgramError(f"{name} is not on PATH", hint=_SOURCES.get(name, f"install {name}"))
    return await execute(program, command)


async def execute(program: str, command: Command) -> Ended:
    """Start the program at this path and await its end; raises ProgramError where it takes too long."""
    # In a session of its own: on Ctrl-C it is ended by us, after what it is part of was told.
    process = await asyncio.create_subprocess_exec(
        program, *command.words[1:], stdin=PIPE, stdout=PIPE, stderr=PIPE, start_new_session=True
    )
    try:
        async with asyncio.timeout(command.seconds):
            stdout, stderr = await process.communicate(command.stdin.encode())
    except TimeoutError as error:
        raise ProgramError(
            f"`{command.told}` did not end within {command.seconds:.0f} s",
            hint="is the machine very busy, or the line very slow? Then do the same again: what is done stays",
        ) from error
    finally:
        await _ended(process)
    return Ended(process.returncode or 0, stdout.decode(errors="replace"), stderr.decode(errors="replace"))


async def output(command: Command) -> str:
    """What a command prints; raises what ``run`` raises, and ProgramError where its code is not 0."""
    return succeeded(command, await run(command))


def succeeded(command: Command, ended: Ended) -> str:
    """What it printed; raises ProgramError where its code is not 0."""
    if ended.code:
        raise ProgramError(f"`{command.told}` failed with {ended.code}: {ended.last_lines or 'it says nothing'}")
    return ended.stdout


async def _ended(process: asyncio.subprocess.Process) -> None:
    """End it if it still runs, as on Ctrl-C: nothing of ours goes on in the background."""
    if process.returncode is not None:
        return
    with suppress(ProcessLookupError):
        process.terminate()
    try:
        async with asyncio.timeout(_END_SECONDS):
            await process.wait()
    except TimeoutError:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()
