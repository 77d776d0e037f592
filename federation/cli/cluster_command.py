"""Commands that work on a cluster's directory, or with ``--context`` on a cluster in Kubernetes.

There the same command runs in the pod of the controller that leads; the files that it names are read here.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, get_type_hints

import typer

from federation.model.errors import ConfigError

if TYPE_CHECKING:
    from controllers.kube.client import KubeAccess

DEFAULT_NAMESPACE: Final = "federation-system"

Context = Annotated[
    str | None, typer.Option("--context", metavar="NAME", help="A cluster in Kubernetes, by its kubeconfig context.")
]
Kubeconfig = Annotated[
    Path | None, typer.Option("--kubeconfig", metavar="FILE", help="Default: KUBECONFIG, or ~/.kube/config.")
]
Namespace = Annotated[
    str | None,
    typer.Option("--namespace", "-n", metavar="NAME", help=f"Of the installation; default: {DEFAULT_NAMESPACE}."),
]
_OPTIONS: Final = {"context": Context, "kubeconfig": Kubeconfig, "namespace": Namespace}
_FLAGS: Final = ("--context", "--kubeconfig", "--namespace", "-n")


def on_cluster(command: Callable[..., None]) -> Callable[..., None]:
    """The command with ``--context``, ``--kubeconfig`` and ``--namespace``: with any of them it runs in the cluster."""

    @functools.wraps(command)
    def wrapper(**given: Any) -> None:
        context, kubeconfig, namespace = (given.pop(name) for name in _OPTIONS)
        if context is None and kubeconfig is None and namespace is None:
            command(**given)
            return
        if given.get("directory") not in {None, Path()}:
            raise ConfigError("--dir and --context name two clusters", hint="give one of them")
        access = kube_access(kubeconfig, context)
        raise typer.Exit(_run(access, namespace or DEFAULT_NAMESPACE, _remaining(sys.argv[1:]), given))

    hints = get_type_hints(command, include_extras=True)
    wrapper.__annotations__ = {**hints, **_OPTIONS}
    own = [
        parameter.replace(annotation=hints[name]) for name, parameter in inspect.signature(command).parameters.items()
    ]
    added = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)
        for name, annotation in _OPTIONS.items()
    ]
    wrapper.__signature__ = inspect.Signature([*own, *added])  # type: ignore[attr-defined]
    return wrapper


def kube_access(kubeconfig: Path | None, context: str | None) -> KubeAccess:
    """How a command finds the API server: as kubectl does."""
    from controllers.kube.client import KubeAccess  # noqa: PLC0415 - brings aiohttp

    path = kubeconfig or Path(os.environ.get("KUBECONFIG", "").split(os.pathsep)[0] or "~/.kube/config").expanduser()
    if not path.exists():
        raise ConfigError(f"kubeconfig {path} is not there", hint="name one with --kubeconfig, or set KUBECONFIG")
    return KubeAccess(path, context)


def _remaining(words: list[str]) -> list[str]:
    """The words without those that say where to run."""
    kept: list[str] = []
    following = False
    for word in words:
        if following:
            following = False
        elif word in _FLAGS:
            following = True
        elif word.partition("=")[0] not in _FLAGS:
            kept.append(word)
    return kept


def _run(access: KubeAccess, namespace: str, words: list[str], given: dict[str, Any]) -> int:
    from federation.app.kube.remote import Invocation, placeholder, run_in_leader  # noqa: PLC0415 - as above

    contents: list[bytes] = []
    named = [value for name, value in given.items() if isinstance(value, Path) and name != "directory"]
    for path in (one for one in named if str(one) != "-"):
        words = [_replaced(word, str(path), placeholder(len(contents))) for word in words]
        contents.append(_content(path))
    if given.get("token") and "--token" not in words:
        # From the environment; as a file, for it must not be seen among the words.
        words += ["--token-file", placeholder(len(contents))]
        contents.append(str(given["token"]).encode())
    invocation = Invocation(
        tuple(words),
        tuple(contents),
        sys.stdin.read() if Path("-") in named else "",
        shutil.get_terminal_size().columns,
        sys.stdout.isatty() and not os.environ.get("NO_COLOR"),
    )
    out, err = (functools.partial(_print, stream) for stream in (sys.stdout, sys.stderr))
    return asyncio.run(run_in_leader(access, namespace, invocation, out=out, err=err))


def _replaced(word: str, path: str, stands_for: str) -> str:
    """The word, or what is assigned in it, if it names the file."""
    option, equals, value = word.partition("=")
    if equals and value == path and option.startswith("--"):
        return f"{option}={stands_for}"
    return stands_for if word == path else word


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path} can't be read: {error.strerror}") from error


def _print(stream: Any, content: bytes) -> None:
    stream.write(content.decode(errors="replace"))
    stream.flush()
