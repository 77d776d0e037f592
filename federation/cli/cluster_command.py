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
from collections.abc import Callable, Mapping
from enum import Enum
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
_INVOKED: Final = "invoked"
_DIRECTORY: Final = "directory"
_JOINS_WITH: Final = "--token"
_JOINS_BY_FILE: Final = "token_file"
_INPUT: Final = Path("-")


def on_cluster(command: Callable[..., None]) -> Callable[..., None]:
    """The command with ``--context``, ``--kubeconfig`` and ``--namespace``: with any of them it runs in the cluster."""

    @functools.wraps(command)
    def wrapper(**given: Any) -> None:
        invoked: typer.Context = given.pop(_INVOKED)
        context, kubeconfig, namespace = (given.pop(name) for name in _OPTIONS)
        if context is None and kubeconfig is None and namespace is None:
            command(**given)
            return
        if given.get(_DIRECTORY) not in {None, Path()}:
            raise ConfigError("--dir and --context name two clusters", hint="give one of them")
        access = kube_access(kubeconfig, context)
        raise typer.Exit(_run(access, namespace or DEFAULT_NAMESPACE, invoked, given))

    hints = get_type_hints(command, include_extras=True)
    added_hints = {**_OPTIONS, _INVOKED: typer.Context}
    wrapper.__annotations__ = {**hints, **added_hints}
    own = [
        parameter.replace(annotation=hints[name]) for name, parameter in inspect.signature(command).parameters.items()
    ]
    added = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)
        for name, annotation in added_hints.items()
    ]
    wrapper.__signature__ = inspect.Signature([*own, *added])  # type: ignore[attr-defined]
    return wrapper


def kube_access(kubeconfig: Path | None, context: str | None) -> KubeAccess:
    """How a command finds the API server: as kubectl does."""
    from controllers.kube.client import KubeAccess  # noqa: PLC0415 - brings aiohttp

    named = (
        [str(kubeconfig)]
        if kubeconfig
        else list(filter(None, os.environ.get("KUBECONFIG", "").split(os.pathsep))) or ["~/.kube/config"]
    )
    found = [path for path in (Path(name).expanduser() for name in named) if path.exists()]
    if not found:
        told = os.pathsep.join(named)
        raise ConfigError(f"kubeconfig {told} is not there", hint="name one with --kubeconfig, or set KUBECONFIG")
    return KubeAccess(found[0], context, more_kubeconfigs=tuple(found[1:]))


def _run(access: KubeAccess, namespace: str, invoked: typer.Context, given: Mapping[str, Any]) -> int:
    from federation.app.kube.remote import Invocation, run_in_leader  # noqa: PLC0415 - as above

    words, files = _words(invoked, given)
    invocation = Invocation(
        words,
        files,
        sys.stdin.read() if _INPUT in given.values() else "",
        shutil.get_terminal_size().columns,
        sys.stdout.isatty() and not os.environ.get("NO_COLOR"),
    )
    out, err = (functools.partial(_print, stream) for stream in (sys.stdout, sys.stderr))
    return asyncio.run(run_in_leader(access, namespace, invocation, out=out, err=err))


def _words(invoked: typer.Context, given: Mapping[str, Any]) -> tuple[tuple[str, ...], tuple[bytes, ...]]:
    """The command as it was understood, whatever its spelling: its words, in which placeholders stand for files, and
    what these hold. What was left to its default is left to that of the pod's program."""
    from federation.app.kube.remote import placeholder  # noqa: PLC0415 - as above

    files: list[bytes] = []

    def sent(content: bytes) -> str:
        files.append(content)
        return placeholder(len(files) - 1)

    # The names that lead to the command, without the program's.
    words = invoked.command_path.split()[len(invoked.find_root().command_path.split()) :]
    for parameter in invoked.command.params:
        name = parameter.name or ""
        source = invoked.get_parameter_source(name)
        if name not in given or name == _DIRECTORY or source is None or source.name == "DEFAULT":
            continue
        option = parameter.opts[0] if parameter.param_type_name == "option" else ""
        for value in given[name] if isinstance(given[name], list | tuple) else [given[name]]:
            if option == _JOINS_WITH and given.get(_JOINS_BY_FILE) is None:
                # It must not be seen among the words.
                words.append(f"{_JOINS_WITH}-file={sent(str(value).encode())}")
            elif isinstance(value, bool):
                words += [option] if value else parameter.secondary_opts[:1]
            else:
                is_file = isinstance(value, Path) and value != _INPUT
                text = sent(_content(value)) if is_file else str(value.value if isinstance(value, Enum) else value)
                words.append(f"{option}={text}" if option else text)
    return tuple(words), tuple(files)


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path} can't be read: {error.strerror}") from error


def _print(stream: Any, content: bytes) -> None:
    stream.write(content.decode(errors="replace"))
    stream.flush()
