"""A program that is run in a pod: what it is given, what it says, how it ends, and what stands in its way."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from controllers.kube.client import KubeAccess, KubeError
from controllers.kube.execution import execute
from support.kube.exec import Program
from support.kube.server import StandIn, running

PROGRAM = """
import sys
print(sys.stdin.readline(), end="")
print("trouble", file=sys.stderr)
sys.exit({})
"""


@pytest.fixture
async def server() -> AsyncIterator[StandIn]:
    async with running() as started:
        yield started


async def ran(server: StandIn, access: KubeAccess, code: int, given: bytes, pod: str = "one") -> tuple[int, str, str]:
    """Exit code, output and errors of a program that says what it is given."""
    command = [sys.executable, "-c", PROGRAM.format(code)]
    server.run_in_pods(lambda pod, _: Program(command) if pod == "one" else None)
    said: dict[str, bytes] = {"out": b"", "err": b""}

    found = await execute(
        access,
        "system",
        pod,
        "controller",
        ["program", "word"],
        given,
        out=lambda content: said.update(out=said["out"] + content),
        err=lambda content: said.update(err=said["err"] + content),
    )
    return found, said["out"].decode(), said["err"].decode()


@pytest.mark.parametrize("code", [0, 3])
async def test_what_is_given_said_and_ended_with_is_handed_on(server: StandIn, tmp_path: Path, code: int) -> None:
    """However much it is: no message is larger than an API server takes."""
    access = KubeAccess(server.write_kubeconfig(tmp_path / "kubeconfig"))
    line = "x" * 100_000 + "\n"

    assert await ran(server, access, code, line.encode()) == (code, line, "trouble\n")


async def test_what_stands_in_the_way_is_told_with_what_to_do(server: StandIn, tmp_path: Path) -> None:
    """A pod that was replaced, and rights that are missing."""
    admin = KubeAccess(server.write_kubeconfig(tmp_path / "admin"))
    nobody = KubeAccess(server.write_kubeconfig(tmp_path / "nobody", server.account_token("default", "nobody")))
    told = []
    for access, pod in ((admin, "gone"), (nobody, "one")):
        with pytest.raises(KubeError) as caught:
            await ran(server, access, 0, b"\n", pod)
        told.append((caught.value.status, caught.value.hint))

    assert told == [
        (404, "has the pod been replaced? try again"),
        (403, "give the user the rights to get and create pods/exec in the namespace"),
    ]


async def test_an_end_of_the_connection_is_no_end_of_the_program(server: StandIn, tmp_path: Path) -> None:
    """Nobody may take it for done."""
    access = KubeAccess(server.write_kubeconfig(tmp_path / "kubeconfig"))
    server.run_in_pods(lambda _pod, _command: Program([sys.executable, "-c", "print(1, flush=True); input(); input()"]))

    async def vanish_at_first_word(_: bytes) -> None:
        await server.vanish()

    tasks: list[asyncio.Task[None]] = []
    with pytest.raises(KubeError):
        await execute(
            access,
            "system",
            "one",
            "controller",
            ["program"],
            b"\n",
            out=lambda content: tasks.append(asyncio.ensure_future(vanish_at_first_word(content))),  # type: ignore[arg-type]
            err=lambda _: None,
        )
    await asyncio.gather(*tasks)
