"""Commands of the operator's, run where the cluster's lasting files are: in the pod of the controller that leads.

So keys are made where they stay, and whoever may run programs in that pod, and nobody else, may found, join, admit and
rotate. What a command is told travels by the program's standard input, as one line: an API server writes arguments to
its audit log. An edge.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, TextIO

import msgspec

from controllers.kube.client import KubeAccess, KubeError, open_client
from controllers.kube.execution import execute
from controllers.kube.leadership import API_VERSION
from controllers.kube.locations import location
from controllers.mcs.objects import section, text
from controllers.sources.manifests import ObjectId
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
    """Run it in the pod that leads; returns its exit code. Raises KubeError, and NoLeaderError where none leads."""
    pod = await _leader(access, namespace)
    command = ["federation", IN_POD, "--dir", POD_DIRECTORY]
    line = msgspec.json.encode(invocation) + b"\n"
    if len(line) > MAX_BYTES:
        raise ConfigError(f"what the command is given is larger than {MAX_BYTES} bytes")
    return await execute(access, namespace, pod, CONTAINER, command, line, out=out, err=err)


async def _leader(access: KubeAccess, namespace: str) -> str:
    path = location(ObjectId("Lease", namespace, LEASE), API_VERSION)
    try:
        async with open_client(access) as client:
            lease = await client.get(path, {}, timeout_seconds=_GET_SECONDS)
    except KubeError as error:
        if error.status != HTTPStatus.NOT_FOUND:
            raise
        lease = {}
    pod = pod_of(text(section(lease, "spec").get("holderIdentity")))
    if not pod:
        raise NoLeaderError(
            f"no controller leads in namespace {namespace}",
            hint=f"`kubectl get pods -n {namespace}` tells why none runs (ImagePullBackOff: its image can't be had); "
            f"where there are no pods, `federation install -n {namespace}` puts one there",
        )
    return pod


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
