"""EnvoyProcess: runs one Envoy in the foreground of its owner, starts it again when it dies, stops it cleanly."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from asyncio.subprocess import Process
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

import structlog

from federation.app.programs import die_with_parent

_log = structlog.get_logger(__name__)

_FIRST_DELAY_SECONDS = 0.2
_LONGEST_DELAY_SECONDS = 5.0
# An Envoy that lived this long did not fail because of what it was started with: start again at once.
_HEALTHY_AFTER_SECONDS = 10.0
_STOP_SECONDS = 5.0


class EnvoyProcess:
    """One Envoy under supervision. Its bootstrap is a file of mode 0600 in ``directory`` (0700): it holds a token."""

    def __init__(
        self,
        binary: Path,
        bootstrap: Callable[[], Mapping[str, object]],
        directory: Path,
        *,
        log_level: str = "warning",
    ) -> None:
        self._binary = binary
        self._bootstrap = bootstrap
        self._directory = directory
        self._log_level = log_level
        self._process: Process | None = None
        self.restarts = 0

    @property
    def pid(self) -> int | None:
        return None if self._process is None else self._process.pid

    async def run(self) -> None:
        """Run Envoy until cancelled. The bootstrap is written anew at each start: the token may have been replaced."""
        delay = _FIRST_DELAY_SECONDS
        loop = asyncio.get_running_loop()
        while True:
            started = loop.time()
            code = await self._run_once()
            if loop.time() - started >= _HEALTHY_AFTER_SECONDS:
                delay = _FIRST_DELAY_SECONDS
            self.restarts += 1
            _log.warning("envoy died", exit_code=code, restart_in_seconds=delay, log=str(self._log_file))
            await asyncio.sleep(delay)
            delay = min(delay * 2, _LONGEST_DELAY_SECONDS)

    @property
    def _log_file(self) -> Path:
        return self._directory / "envoy.log"

    async def _run_once(self) -> int:
        config = self._write_bootstrap()
        self._process = await asyncio.create_subprocess_exec(
            self._binary,
            "--config-path",
            config,
            "--disable-hot-restart",
            "--concurrency",
            "1",
            "--log-level",
            self._log_level,
            "--log-path",
            self._log_file,
            preexec_fn=die_with_parent,
            stdin=asyncio.subprocess.DEVNULL,
        )
        try:
            return await self._process.wait()
        finally:
            await self._stop(self._process)

    def _write_bootstrap(self) -> Path:
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = self._directory / "envoy.json"
        # Unlinked first: the mode of an existing file would stay, and an Envoy that still reads keeps its own copy.
        path.unlink(missing_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            json.dump(self._bootstrap(), file)
        return path

    async def _stop(self, process: Process) -> None:
        if process.returncode is not None:
            return
        with suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
        try:
            # Shielded: stopping must finish although the owner is being cancelled.
            await asyncio.wait_for(asyncio.shield(process.wait()), _STOP_SECONDS)
        except (TimeoutError, asyncio.CancelledError):
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()
