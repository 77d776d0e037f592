"""Facts of this host for the preflight: file modes, whether a directory takes files, ports, programs, who answers.

An edge without judgement. It writes nothing that stays, and nothing here takes longer than two seconds.
"""

from __future__ import annotations

import asyncio
import errno
import socket
import stat
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

from controllers.gateway_names import resolve
from controllers.probes import answers
from federation.app.network_checks import Reach, TakenPort
from federation.app.programs import find_envoy
from federation.model.addresses import HostPort
from federation.model.configuration import ClusterSettings
from federation.model.errors import MissingProgramError
from federation.model.records import GatewayAddress

_CONNECT_SECONDS = 0.5
_RESOLVE_SECONDS = 2.0
_ENVOY_SECONDS = 2.0


def private_modes(settings: ClusterSettings) -> dict[Path, int]:
    """Permission bits of the keys, passwords and tokens that are there."""
    key, endpoint = settings.member_key_file, settings.bundle_endpoint
    named = [key, key.with_name(f"{key.name}.next"), settings.state_directory / "roster"]
    given = (settings.exchange.credentials_file, None if endpoint is None else endpoint.key_file)
    named += [path for path in given if path is not None]
    for directory in (settings.authority_directory, settings.tokens_directory, settings.state_directory / "ca"):
        named += _files(directory)
    modes = {}
    for path in named:
        try:
            modes[path] = stat.S_IMODE(path.stat().st_mode)
        except OSError:
            # Whoever needs it says that it can't be read.
            continue
    return modes


def _files(directory: Path) -> list[Path]:
    try:
        return sorted(path for path in directory.iterdir() if path.is_file())
    except OSError:
        return []


def unwritable(directory: Path) -> str:
    """Why no file can be made there, or below the nearest directory that is there; empty where one can."""
    there = next((path for path in (directory, *directory.parents) if path.exists()), directory)
    try:
        with tempfile.TemporaryFile(dir=there):
            return ""
    except OSError as error:
        return f"nothing can be written: {error.strerror}"


def taken_ports(settings: ClusterSettings, *, controller_runs: bool, gateway_runs: bool) -> tuple[TakenPort, ...]:
    """Where the processes that do not run could not listen."""
    wanted: list[tuple[str, HostPort]] = []
    if not controller_runs:
        wanted.append(("http.listen", settings.http.listen))
        if isinstance(settings.xds.listen, HostPort):
            wanted.append(("xds.listen", settings.xds.listen))
        if settings.dns.listen is not None:
            wanted.append(("dns.listen", settings.dns.listen))
        if settings.bundle_endpoint is not None:
            wanted.append(("bundleEndpoint.listen", settings.bundle_endpoint.listen))
    if not gateway_runs:
        wanted += [("gateway.listen", settings.gateway.listen), ("gateway.admin", settings.gateway.admin)]
    return tuple(_taken(wanted))


def _taken(wanted: Sequence[tuple[str, HostPort]]) -> Iterator[TakenPort]:
    for setting, address in wanted:
        family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
        with closing(socket.socket(family, socket.SOCK_STREAM)) as trial:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                trial.bind((address.host, address.port))
            except OSError as error:
                cause = "something else listens there" if error.errno == errno.EADDRINUSE else str(error.strerror)
                yield TakenPort(setting, address, cause)


async def connects(address: HostPort, seconds: float = _CONNECT_SECONDS) -> bool:
    """Whether something takes connections there."""
    try:
        async with asyncio.timeout(seconds):
            _, writer = await asyncio.open_connection(address.host, address.port)
    except (OSError, TimeoutError):
        return False
    writer.transport.abort()
    return True


async def reached(addresses: Sequence[HostPort]) -> dict[HostPort, Reach]:
    """What each address does with a TLS handshake, asked as the controller's prober does; of a name, the worst that one
    of its addresses does."""
    return dict(zip(addresses, await asyncio.gather(*map(_reach, addresses)), strict=True))


async def _reach(address: HostPort) -> Reach:
    if address.is_name:
        try:
            async with asyncio.timeout(_RESOLVE_SECONDS):
                ips = await resolve(address.host)
        except (OSError, TimeoutError):
            return Reach.UNRESOLVED
        each = set(await asyncio.gather(*(_reach(HostPort(ip, address.port)) for ip in ips)))
        return next(reach for reach in (Reach.SILENT, Reach.CLOSED, Reach.ANSWERS) if reach in each)
    if await answers(GatewayAddress(address.host, address.port)):
        return Reach.ANSWERS
    return Reach.SILENT if await connects(address) else Reach.CLOSED


def python_version() -> tuple[int, int, int]:
    """Of the interpreter that runs this."""
    return sys.version_info[:3]


async def envoy_version() -> str:
    """What Envoy prints as its version, empty where it prints nothing in time; raises MissingProgramError."""
    program = find_envoy()
    try:
        process = await asyncio.create_subprocess_exec(
            program,
            "--version",
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
    except OSError as error:
        raise MissingProgramError(
            f"{program} can't be run: {error.strerror}", hint="is it for this machine?"
        ) from error
    try:
        async with asyncio.timeout(_ENVOY_SECONDS):
            told, _ = await process.communicate()
    except TimeoutError:
        process.kill()
        await process.wait()
        return ""
    return told.decode(errors="replace")
