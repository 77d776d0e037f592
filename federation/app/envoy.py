"""EnvoyProcess: runs one Envoy in the foreground of its owner, starts it again when it dies, stops it cleanly."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from asyncio.subprocess import Process
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import structlog

from federation.app.envoy_log import last_words
from federation.app.programs import die_with_parent
from federation.model.errors import ConfigError, FederationError, MissingProgramError

_log = structlog.get_logger(__name__)

# Of one life of Envoy, as much as is looked at for why it ended.
_LOG_TAIL_BYTES = 64 * 1024


async def _passed_on(output: asyncio.StreamReader) -> str:
    """What comes is written to standard error, until its end; the last of it."""
    tail = b""
    while chunk := await output.read(_LOG_TAIL_BYTES):
        with suppress(OSError):
            sys.stderr.buffer.write(chunk)
            sys.stderr.flush()
        tail = (tail + chunk)[-_LOG_TAIL_BYTES:]
    return tail.decode(errors="replace")


@dataclass(frozen=True, slots=True)
class Patience:
    """How long EnvoyProcess waits for what, in seconds."""

    first_delay: float = 0.2
    """Before the first restart; doubled with each further one."""
    longest_delay: float = 5.0
    healthy_after: float = 10.0
    """An Envoy that lived this long did not fail because of what it was started with: start again at once."""
    stop: float = 5.0
    """After SIGTERM; then comes SIGKILL."""


class EnvoyProcess:
    """One Envoy under supervision. Its bootstrap is a file in ``directory``, and what it prints goes to ``envoy.log``
    there, both for nobody else to read (0600 in 0700); or, with ``shown``, to our own standard error."""

    def __init__(
        self,
        binary: Path,
        bootstrap: Callable[[], Mapping[str, object]],
        directory: Path,
        *,
        patience: Patience | None = None,
        drain_seconds: int | None = None,
        shown: bool = False,
    ) -> None:
        """``drain_seconds``: connections of a replaced or removed listener are told at once to end, and cut after this
        long. None leaves it to Envoy: told by and by, cut after ten minutes.

        ``shown``: there is no log file. For pods, whose output others keep, and bound.
        """
        self._binary = binary
        self._drain = (
            () if drain_seconds is None else ("--drain-strategy", "immediate", "--drain-time-s", str(drain_seconds))
        )
        self._bootstrap = bootstrap
        self._directory = directory
        self._patience = patience or Patience()
        self._shown = shown
        self._process: Process | None = None
        self.restarts = 0

    @property
    def pid(self) -> int | None:
        return None if self._process is None else self._process.pid

    async def run(self) -> None:
        """Run Envoy until cancelled. The bootstrap is written anew at each start: settings may have changed.

        Raises ConfigError and MissingProgramError where the first start is impossible; afterwards whatever goes wrong
        is tried again, because an upgrade or a new token may be half done.
        """
        delay = self._patience.first_delay
        loop = asyncio.get_running_loop()
        while True:
            started = loop.time()
            facts = await self._run_once()
            if loop.time() - started >= self._patience.healthy_after:
                delay = self._patience.first_delay
            self.restarts += 1
            # Again and again at once: it won't get better by itself.
            say = _log.warning if delay == self._patience.first_delay else _log.error
            where = {} if self._shown else {"log": str(self._log_file)}
            say("envoy died", **facts, restart_in_seconds=delay, **where)
            await asyncio.sleep(delay)
            delay = min(delay * 2, self._patience.longest_delay)

    @property
    def _log_file(self) -> Path:
        return self._directory / "envoy.log"

    async def _run_once(self) -> dict[str, object]:
        """One life of Envoy, as the facts of its end."""
        try:
            self._write_bootstrap()
            begin = 0
            if self._shown:
                self._process = await self._spawn(asyncio.subprocess.PIPE)
            else:
                log, begin = self._open_log()
                try:
                    self._process = await self._spawn(log)
                finally:
                    os.close(log)
        except FederationError as error:
            if self._process is None:
                raise
            return {"reason": str(error)}
        try:
            # Taken while it runs: an Envoy whose output nobody takes stands still.
            passed_on = "" if self._process.stdout is None else await _passed_on(self._process.stdout)
            code = await self._process.wait()
        finally:
            await self._stop(self._process)
        return {"exit_code": code, "reason": last_words(passed_on or self._read_log(begin))}

    async def _spawn(self, log: int) -> Process:
        try:
            return await asyncio.create_subprocess_exec(
                self._binary,
                "--config-path",
                self._directory / "envoy.json",
                "--disable-hot-restart",
                *self._drain,
                "--concurrency",
                "1",
                "--log-level",
                "warning",
                preexec_fn=die_with_parent,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=asyncio.subprocess.STDOUT,
            )
        except OSError as error:
            raise MissingProgramError(
                f"envoy {self._binary} can't be started: {error.strerror}",
                hint="is it a binary of Envoy 1.40 for this machine? `make envoy` brings one",
            ) from error

    def _write_bootstrap(self) -> None:
        document = self._bootstrap()
        path = self._directory / "envoy.json"
        try:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            # Unlinked first: the mode of an existing file would stay, and an Envoy that still reads keeps its own copy.
            path.unlink(missing_ok=True)
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "w") as file:
                json.dump(document, file)
        except OSError as error:
            raise ConfigError(
                f"bootstrap {path} can't be written: {error.strerror}",
                hint="stateDirectory must be on a writable disk and belong to the user this program runs as",
            ) from error

    def _open_log(self) -> tuple[int, int]:
        """The log as a descriptor to append to, and its length so far."""
        try:
            descriptor = os.open(self._log_file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        except OSError as error:
            raise ConfigError(f"log {self._log_file} can't be written: {error.strerror}") from error
        return descriptor, os.fstat(descriptor).st_size

    def _read_log(self, begin: int) -> str:
        if self._shown:
            return ""
        try:
            with self._log_file.open("rb") as file:
                end = file.seek(0, os.SEEK_END)
                file.seek(max(begin, end - _LOG_TAIL_BYTES))
                return file.read(_LOG_TAIL_BYTES).decode(errors="replace")
        except OSError:
            return ""

    async def _stop(self, process: Process) -> None:
        if process.returncode is not None:
            return
        with suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
        try:
            # Shielded: stopping must finish although the owner is being cancelled.
            await asyncio.wait_for(asyncio.shield(process.wait()), self._patience.stop)
        except (TimeoutError, asyncio.CancelledError):
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()
