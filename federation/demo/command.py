"""``run_demo``: the composition of the demo, from options to exit code.

It owns what must not be left behind: the processes, Redis, and the temporary directory. The directory is removed at the
end, also with ``--keep``; after a failure it stays, with the logs, and the place is printed.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp
from typing import cast

from rich.console import Console

from federation.app.clock import utc_now
from federation.app.programs import find_envoy
from federation.demo.caller import arguments_of
from federation.demo.guide import guide_lines
from federation.demo.loopback import reserve_layout
from federation.demo.processes import Fleet
from federation.demo.recording import Recorder, read_calls
from federation.demo.report import RunReport, save_report, summary_lines
from federation.demo.sites import Layout, plan_sites
from federation.demo.stage import Stage, child_environment
from federation.demo.story import Narrator, chapters, tell, warm_up
from federation.demo.table import LiveNarrator, PlainNarrator, footnotes, others_table, phase_table
from federation.exchange.secure_server import ExchangeServer
from federation.exchange.server import find_redis_server, find_tls_redis_server
from federation.model.addresses import HostPort
from federation.model.errors import ConfigError, FederationError, MissingProgramError

_CALLER = (sys.executable, "-P", "-m", "federation.demo.caller")

_FAILED = 1
_UNUSABLE = 2
_INTERRUPTED = 130
_REFRESH_SECONDS = 0.25
# Where nobody measures the width, a table must not be cut.
_PLAIN_WIDTH = 160


@dataclass(frozen=True, slots=True)
class DemoOptions:
    """What the command line says."""

    keep: bool = False
    """Stay up after the story, until Ctrl-C."""
    report: Path | None = None
    """Where the numbers go, as JSON."""
    no_chaos: bool = False
    """Only the first phase: nothing is broken."""
    rate: float = 200.0
    """GETs of echo per second."""
    scale: float = 1.0
    """Factor on how long each phase lasts at least."""


def run_demo(options: DemoOptions) -> int:
    """Run the demo. Returns 0 where every rule was kept and 1 where one was not; 2 where Envoy or Redis is missing or
    an option is wrong, 130 where it was interrupted before its end.
    """
    console = Console(width=None if sys.stdout.isatty() else _PLAIN_WIDTH)
    try:
        _check_report(options.report)
        find_envoy()
        redis_program, tls = _redis_server()
        with reserve_layout() as layout:
            return _run(options, console, layout, redis_program, tls=tls)
    except FederationError as error:
        _complain(console, error)
        return _UNUSABLE if isinstance(error, (MissingProgramError, ConfigError)) else _FAILED


def _redis_server() -> tuple[Path, bool]:
    """A Redis of this machine, and whether it speaks TLS: the one that comes with the packages does not."""
    try:
        return find_tls_redis_server(os.environ), True
    except MissingProgramError:
        return find_redis_server(os.environ), False


def _run(options: DemoOptions, console: Console, layout: Layout, redis_program: Path, *, tls: bool) -> int:
    root = Path(mkdtemp(prefix="federation-"))
    code = _FAILED
    try:
        listen = HostPort("127.0.0.1", 0)
        exchange = ExchangeServer(
            root / "exchange", listen, [listen.host], program=redis_program, now=utc_now(), tls=tls
        )
        code = asyncio.run(_interruptible(_Demo(options, console, root, layout, exchange)))
    finally:
        if code == _FAILED:
            _say(console, f"Logs and everything else of this run: {root}")
        else:
            shutil.rmtree(root, ignore_errors=True)
    return code


class _Demo:
    """One run."""

    def __init__(
        self, options: DemoOptions, console: Console, root: Path, layout: Layout, exchange: ExchangeServer
    ) -> None:
        self._options = options
        self._console = console
        (root / "logs").mkdir()
        self._fleet = Fleet(root / "logs", child_environment())
        self._exchange = exchange
        self._stage = Stage(root, plan_sites(layout), self._fleet, exchange)
        self._recorder = Recorder(time.monotonic)

    async def play(self) -> int:
        """Start, tell the story, sum up, and leave nothing behind; cancelled by an interrupt."""
        began = time.monotonic()
        try:
            trouble = ""
            try:
                await self._perform()
            except* FederationError as errors:
                error = _first(errors)
                trouble = str(error)
                _complain(self._console, error)
            run = RunReport(self._recorder.numbers(), time.monotonic() - began, self._options.rate, trouble)
            self._sum_up(run)
            saved = self._save(run)
            if self._options.keep and not trouble:
                await self._stay()
            return 0 if run.ok and saved else _FAILED
        finally:
            await self._fleet.stop()
            self._exchange.stop()

    async def _perform(self) -> None:
        _say(
            self._console,
            "Starting three clusters on this machine: Redis, and per cluster a controller, an east-west gateway and "
            "pods with sidecars (9 Envoys in all) …",
        )
        await self._stage.start()
        load = (*_CALLER, *arguments_of(self._stage.targets, self._options.rate))
        caller, calls = self._fleet.start_piped("caller", load)
        async with asyncio.TaskGroup() as group:
            group.create_task(read_calls(calls, self._recorder.add))
            await warm_up(self._recorder)
            _say(
                self._console, f"Calling from us-east, {self._options.rate:.0f} GETs of echo a second and a few others:"
            )
            await self._tell()
            # The reader ends with the caller, which first waits for its calls under way.
            await self._fleet.stop([caller])

    async def _tell(self) -> None:
        story = chapters(chaos=not self._options.no_chaos)

        async def told(narrator: Narrator) -> None:
            await tell(story, self._stage, self._recorder, narrator, scale=self._options.scale)

        if not self._console.is_terminal:
            await told(PlainNarrator(self._console))
            return
        narrator = LiveNarrator(self._console, self._recorder)
        # The summary draws the table once more, so the live one goes.
        with narrator.live:
            async with asyncio.TaskGroup() as group:
                drawing = group.create_task(_repeat(narrator.refresh))
                await told(narrator)
                drawing.cancel()

    def _sum_up(self, run: RunReport) -> None:
        if run.phases:
            self._console.print()
            self._console.print(phase_table(run.phases, title=f"GETs of echo from us-east, {run.rate:.0f} a second"))
            self._console.print(others_table(run.phases))
            for note in footnotes(run.phases):
                _say(self._console, note)
            self._console.print()
        for line in summary_lines(run):
            _say(self._console, line, style="green" if run.ok else "red")

    def _save(self, run: RunReport) -> bool:
        """Write the report where one is wanted; false where it can't be written."""
        try:
            if self._options.report is not None:
                save_report(self._options.report, run)
        except FederationError as error:
            _complain(self._console, error)
            return False
        return True

    async def _stay(self) -> None:
        beside = Path(sys.prefix) / "bin" / "federation"
        federation = str(beside) if beside.exists() else f"{sys.executable} -P -m federation.cli.main"
        for line in ("", *guide_lines(self._stage.root, self._stage.sites, self._stage.client, federation)):
            _say(self._console, line)
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            # Here the interrupt is how it is meant to end.
            _say(self._console, "Ending …")


async def _interruptible(demo: _Demo) -> int:
    """Play, and end early and cleanly on Ctrl-C, SIGTERM or SIGHUP; a second one does not disturb the clearing up."""
    loop = asyncio.get_running_loop()
    interrupted = False

    def interrupt() -> None:
        nonlocal interrupted
        if not interrupted:
            interrupted = True
            playing.cancel()

    async with asyncio.TaskGroup() as group:
        playing = group.create_task(demo.play())
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, interrupt)
    return _INTERRUPTED if playing.cancelled() else playing.result()


def _check_report(path: Path | None) -> None:
    """Raise ConfigError now rather than after a minute where the report would have no place."""
    if path is not None and not path.absolute().parent.is_dir():
        raise ConfigError(f"report {path} can't be written: there is no directory {path.parent}")


async def _repeat(draw: Callable[[], None]) -> None:
    while True:
        draw()
        await asyncio.sleep(_REFRESH_SECONDS)


def _first(errors: BaseExceptionGroup[FederationError]) -> FederationError:
    """The first error of a (nested) group: the others follow from it."""
    error: BaseException = errors
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return cast(FederationError, error)


def _complain(console: Console, error: FederationError) -> None:
    _say(console, f"error: {error}", style="red")
    if error.hint:
        _say(console, f"hint: {error.hint}")


def _say(console: Console, text: str, *, style: str = "") -> None:
    """Print as it is: no markup, no guessing at numbers, no line breaks that a copied command would keep."""
    console.print(text, style=style or None, markup=False, highlight=False, soft_wrap=True)
