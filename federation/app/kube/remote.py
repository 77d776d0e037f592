"""Commands of the operator's, run where the cluster's lasting files are: in the pod of the controller that leads.

So keys are made where they stay, and whoever may run programs in that pod, and nobody else, may found, join, admit and
rotate. What a command is told travels by the program's standard input, as one line: an API server writes arguments to
its audit log. An edge.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from http import HTTPStatus
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, TextIO

import msgspec

from controllers.kube.client import KubeAccess, KubeClient, KubeError, open_client
from controllers.kube.execution import execute
from controllers.kube.leadership import API_VERSION
from controllers.kube.locations import location
from controllers.mcs.objects import Document, section, text
from controllers.sources.manifests import ObjectId
from federation.app.clock import utc_now
from federation.app.kube.post import pod_of
from federation.install.vocabulary import LEASE
from federation.model.errors import ConfigError, FederationError
from federation.storage.private_file import create_private

IN_POD: Final = "in-pod"
"""The command that takes one, in the pod."""
POD_DIRECTORY: Final = "/var/lib/federation"
"""The cluster's directory in the pod."""
CONTAINER: Final = "controller"

_GET_SECONDS: Final = 10.0
_LOOK_SECONDS: Final = 0.5
_FRESH: Final = 1 / 3
"""Of the duration of a Lease: one that was renewed since is no sign of a death. It is renewed twice in that time."""
MARGIN_SECONDS: Final = 5.0
"""After the end of a Lease: until then another has taken it, if there is one."""
MAX_BYTES: Final = 4 * 1024 * 1024
"""Of a command with its files; nothing that is given to one is as large."""


class NoLeaderError(FederationError):
    """No controller leads: nobody could run the command."""

    exit_code = 3


class Invocation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One command, with all that it reads from the operator's machine."""

    words: tuple[str, ...]
    """As after ``federation``; ``FILE0``, ``FILE1`` … in braces stand for ``files``."""
    files: tuple[bytes, ...] = ()
    given: str = ""
    """Standard input."""
    columns: int = 80
    colors: bool = False


def placeholder(number: int) -> str:
    """What stands for a file in the words of a command."""
    return f"{{FILE{number}}}"


async def run_in_leader(
    access: KubeAccess,
    namespace: str,
    invocation: Invocation,
    *,
    out: Callable[[bytes], None],
    err: Callable[[bytes], None],
) -> int:
    """Run it in the pod that leads, once one is alive; returns its exit code. Raises KubeError, and NoLeaderError where
    none leads."""
    pod = await _live_leader(access, namespace, lambda line: err(f"{line}\n".encode()))
    command = ["federation", IN_POD, "--dir", POD_DIRECTORY]
    line = msgspec.json.encode(invocation) + b"\n"
    if len(line) > MAX_BYTES:
        raise ConfigError(f"what the command is given is larger than {MAX_BYTES} bytes")
    return await execute(access, namespace, pod, CONTAINER, command, line, out=out, err=err)


async def _live_leader(access: KubeAccess, namespace: str, tell: Callable[[str], None]) -> str:
    """The pod that leads. One that may have died is waited for, or the one that comes after it: a program that is
    started there would find nobody, or be cut off. Raises KubeError, NoLeaderError."""
    loop = asyncio.get_running_loop()
    async with open_client(access) as client:
        seen: Document | None = None
        deadline = 0.0
        while True:
            spec = await _lease_of(client, namespace)
            pod, duration = pod_of(text(spec.get("holderIdentity"))), _seconds(spec)
            # The clock here may be another than there: what looks old is judged by whether it is seen to change.
            if pod and (_age_seconds(spec) <= duration * _FRESH if seen is None else spec != seen):
                return pod
            if not spec:
                raise _no_leader(namespace, "")
            if spec != seen:
                if seen is None:
                    tell(_waited_for(pod))
                seen, deadline = spec, loop.time() + duration + MARGIN_SECONDS
            if loop.time() >= deadline:
                raise _no_leader(namespace, pod)
            await asyncio.sleep(_LOOK_SECONDS)


async def holder_of(client: KubeClient, namespace: str) -> str:
    """The pod that the Lease names, dead or alive; empty where there is none. Raises KubeError."""
    return pod_of(text((await _lease_of(client, namespace)).get("holderIdentity")))


async def _lease_of(client: KubeClient, namespace: str) -> Document:
    """What the Lease says; nothing where there is none."""
    path = location(ObjectId("Lease", namespace, LEASE), API_VERSION)
    try:
        return section(await client.get(path, {}, timeout_seconds=_GET_SECONDS), "spec")
    except KubeError as error:
        if error.status != HTTPStatus.NOT_FOUND:
            raise
        return {}


def _seconds(spec: Document) -> int:
    found = spec.get("leaseDurationSeconds")
    return found if isinstance(found, int) else 0


def _age_seconds(spec: Document) -> float:
    """How far from now the Lease was renewed, by both clocks."""
    try:
        renewed = datetime.fromisoformat(text(spec.get("renewTime")))
        return abs((utc_now() - renewed).total_seconds())
    except (ValueError, TypeError):
        return math.inf


def _waited_for(pod: str) -> str:
    who = f"the controller that leads, {pod}, may have died: waiting for it, or for another one to lead"
    return who if pod else "no controller leads: waiting for one"


def _no_leader(namespace: str, pod: str) -> NoLeaderError:
    last = f": {pod}, which did, no longer renews Lease {LEASE}, and no other takes over" if pod else ""
    return NoLeaderError(
        f"no controller leads in namespace {namespace}{last}",
        hint=f"`kubectl get pods -n {namespace}` tells why none runs (ImagePullBackOff: its image can't be had); "
        f"where there are no pods, `federation install -n {namespace}` puts one there",
    )


def read_invocation(stream: TextIO) -> Invocation:
    """The command that comes by the standard input; raises ConfigError where it is none."""
    line = stream.readline(MAX_BYTES + 1)
    try:
        return msgspec.json.decode(line, type=Invocation)
    except msgspec.DecodeError as error:
        raise ConfigError(
            f"what came is no command: {error}", hint="this is run by `federation … --context`, not by hand"
        ) from error


@contextmanager
def laid_out(invocation: Invocation) -> Iterator[list[str]]:
    """The words of a command with its files in a private directory, for as long as the block lasts."""
    with TemporaryDirectory() as directory:
        words = list(invocation.words)
        for number, content in enumerate(invocation.files):
            path = Path(directory) / f"file{number}"
            create_private(path, content)
            words = [word.replace(placeholder(number), str(path)) for word in words]
        yield words
