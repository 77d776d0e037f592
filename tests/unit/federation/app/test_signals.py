"""Foreground processes: how they end."""

from __future__ import annotations

import asyncio
import os
import signal

import pytest

from federation.app.signals import run_until_signal, told_alone
from federation.model.errors import ConfigError, FederationError


async def fail(error: Exception) -> None:
    raise error


async def fail_in_task_groups(*errors: Exception) -> None:
    """Raise all of them, two task groups deep."""
    async with asyncio.TaskGroup() as outer:

        async def inner() -> None:
            async with asyncio.TaskGroup() as group:
                for error in errors:
                    group.create_task(fail(error))

        outer.create_task(inner())


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_cancels_and_is_a_clean_end(number: signal.Signals) -> None:
    """Main may clear up when the signal comes, and no error is raised."""
    cleared_up = []

    async def main() -> None:
        os.kill(os.getpid(), number)
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            cleared_up.append(number)

    await run_until_signal(main())
    assert cleared_up == [number]


async def test_it_ends_with_main() -> None:
    """Without a signal it returns when main does."""
    done = []

    async def main() -> None:
        done.append(True)

    await run_until_signal(main())
    assert done == [True]


async def test_an_error_of_main_is_raised_as_itself() -> None:
    """An error keeps its type and its cause, and no group is put around it."""
    cause = OSError("no space")
    error = ConfigError("state can't be written")
    error.__cause__ = cause
    with pytest.raises(ConfigError) as caught:
        await run_until_signal(fail(error))
    assert (caught.value, caught.value.__cause__, caught.value.__context__) == (error, cause, None)


async def test_an_expected_error_out_of_task_groups_is_raised_as_itself() -> None:
    """However deep the task groups, one error is that error."""
    with pytest.raises(ConfigError, match="bad key"):
        await run_until_signal(fail_in_task_groups(ConfigError("bad key")))


async def test_an_error_while_clearing_up_is_raised() -> None:
    """A signal hides no error of the end."""

    async def main() -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        try:
            await asyncio.Event().wait()
        finally:
            raise FederationError("can't say goodbye")

    with pytest.raises(FederationError, match="goodbye"):
        await run_until_signal(main())


def test_several_expected_errors_are_told_by_the_first() -> None:
    """Of several expected errors the first came first; the others mostly follow from it."""
    first = ConfigError("first")
    group = ExceptionGroup("", [ExceptionGroup("", [first]), FederationError("second")])
    assert told_alone(group) is first


def test_a_bug_beside_others_is_not_hidden() -> None:
    """A group with an error that nobody expected stays whole, for its traceback."""
    assert told_alone(ExceptionGroup("", [ConfigError("first"), KeyError("bug")])) is None


async def test_on_sigterm_the_farewell_comes_first() -> None:
    """Main goes on meanwhile, and is cancelled after."""
    done: list[str] = []

    async def main() -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        try:
            await asyncio.Event().wait()
        finally:
            done.append("main ended")

    async def farewell() -> None:
        await asyncio.sleep(0)
        done.append("farewell")

    await run_until_signal(main(), farewell)
    assert done == ["farewell", "main ended"]


@pytest.mark.parametrize(
    "numbers", [[signal.SIGINT], [signal.SIGTERM, signal.SIGTERM], [signal.SIGTERM, signal.SIGINT]]
)
async def test_a_hurry_cuts_the_farewell_short(numbers: list[signal.Signals]) -> None:
    """Ctrl-C, and a second signal of whatever kind, end it at once."""
    begun: list[bool] = []

    async def main() -> None:
        for number in numbers:
            os.kill(os.getpid(), number)
            await asyncio.sleep(0.05)
        await asyncio.Event().wait()

    async def farewell() -> None:
        begun.append(True)
        await asyncio.Event().wait()

    async with asyncio.timeout(10):
        await run_until_signal(main(), farewell)
    assert len(begun) == len(numbers) - 1


async def test_an_end_of_main_ends_the_farewell() -> None:
    """There is nothing left to take leave of."""

    async def main() -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.sleep(0.05)

    async with asyncio.timeout(10):
        await run_until_signal(main(), asyncio.Event().wait)  # type: ignore[arg-type]
