"""SharedState: the lasting files of a cluster's directory, kept in one Secret that all its controllers share.

A pod's disk goes with the pod. What must not (member key, roster, CA, ledger of the authority, journal) is written to
the directory as on any other site, and the controller that leads carries it to the Secret; the others take it from
there, and so does a pod that starts. Nothing else is in the Secret: copies of the peers' records are read again.

An edge. A write names the version of the Secret that it replaces, so that of two controllers that believe they lead one
is refused; whoever leads by then is right, because it took over all that was there before it led.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager, suppress
from http import HTTPStatus
from pathlib import Path
from typing import Final, Protocol

import structlog

from controllers.kube.client import KubeError
from controllers.kube.locations import location
from controllers.mcs.objects import Document, section, text
from controllers.sources.manifests import ObjectId
from federation.model.problems import Problem
from federation.storage.private_file import replace_private

_log = structlog.get_logger(__name__)

SECRET: Final = "federation-state"  # noqa: S105 - a name

JOURNAL: Final = "state/journal.json"
_FILES: Final = (
    "cluster.yaml",
    "member.key",
    "member.key.next",
    "exchange.credentials",
    "exchange-ca.pem",
    "authority/*",
    "state/ca/*",
    JOURNAL,
    "state/own-bundle.json",
    "state/roster",
    "state/leaving",
)
_LIST: Final = "files"
"""Key of the Secret with the names of all that its writer had: one with less was edited, or restored in part."""
_SEPARATOR: Final = "__"
"""In the place of the slash, which no key of a Secret may have."""

_LOOK_SECONDS: Final = 0.25
"""How often the directory is looked at: what a controller that dies has made since then is lost."""
_FOLLOW_SECONDS: Final = 2.0
CHECK_SECONDS: Final = 30.0
"""How often whoever leads looks whether the Secret is still what it wrote: somebody may edit or delete it."""
_TIMEOUT_SECONDS: Final = 10.0


class Client(Protocol):
    """What is needed of a client of the API server; see ``controllers.kube.client.KubeClient``."""

    async def get(self, path: str, query: Mapping[str, str], *, timeout_seconds: float) -> Document: ...

    async def create(self, document: Document, *, timeout_seconds: float = ...) -> Document: ...

    async def replace(self, document: Document, *, timeout_seconds: float = ...) -> Document: ...


class _OvertakenError(KubeError):
    """Another controller has written the Secret since this one took it over."""


class SharedState:
    """The Secret in ``namespace`` and the files in ``directory`` (a cluster's)."""

    def __init__(
        self, opened: Callable[[], AbstractAsyncContextManager[Client]], namespace: str, directory: Path
    ) -> None:
        self._opened = opened
        self._id = ObjectId("Secret", namespace, SECRET)
        self._directory = directory
        self._version = ""
        """Of the Secret as it was last read or written; empty: there is none."""
        self._stored: Mapping[str, bytes] = {}
        self._stored_names: frozenset[str] = frozenset()
        """What it does hold."""
        self._listed: frozenset[str] | None = None
        """What the Secret says that it holds; None where it does not say."""
        self._unheard: set[str] = set()
        """Files that a ``restore`` which failed half way has changed."""
        self._tried: Mapping[str, bytes] | None = None
        """What was last written; whether it arrived is not always known."""
        self._trouble = ""
        self._check_at = 0.0
        self._wake = asyncio.Event()
        self._turned = asyncio.Event()
        self.taken_over = False
        """Whether this process leads and has all that was there before it led."""

    @property
    def problems(self) -> tuple[Problem, ...]:
        """Why the Secret is not as it should be."""
        return (Problem(str(self._id), "NotShared", self._trouble),) if self._trouble else ()

    async def restore(self) -> frozenset[str]:
        """Have the directory hold what the Secret holds; returns the files that changed. Raises KubeError, OSError.

        Where there is no Secret nothing is changed: what is in the directory may be all that is left. The same goes for
        files that the Secret lacks unless it says itself that it is whole. Raises KubeError where it lacks files that
        are not in the directory either: whoever led with what is left would make the loss last.
        """
        async with self._opened() as client:
            stored = await self._read(client)
        if not self._version:
            self._stored, self._trouble = {}, ""
            return frozenset()
        known = shared_files(self._directory)
        if lost := (self._listed or frozenset()) - {*stored, *known}:
            raise KubeError(
                f"the Secret lacks {', '.join(sorted(lost))}, which whoever wrote it had",
                hint="restore it whole, or delete it while a controller that has these files leads",
            )
        found = {*stored} if self._edited else {*stored, *known}
        for name in sorted(name for name in found if stored.get(name) != known.get(name)):
            path = self._directory / name
            self._unheard.add(name)
            if name in stored:
                path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                replace_private(path, stored[name])
            else:
                path.unlink(missing_ok=True)
        self._stored = stored
        kept = sorted({*known} - {*stored}) if self._edited else []
        self._tell(f"somebody has edited the Secret: it lacks {', '.join(kept)}, kept here" if kept else "")
        changed, self._unheard = frozenset(self._unheard), set()
        return changed

    @property
    def _edited(self) -> bool:
        """Whether the Secret is none that a controller wrote whole."""
        return self._listed != frozenset(self._stored_names)

    async def held(self) -> Mapping[str, bytes]:
        """What the Secret holds now, whoever wrote it. Raises KubeError."""
        async with self._opened() as client:
            return await self._read(client)

    def in_secret(self) -> bool:
        """Whether the Secret is known to hold what the directory holds. Raises OSError."""
        return self.taken_over and not self._edited and shared_files(self._directory) == self._stored

    async def save(self, *, seconds_left: float) -> bool:
        """Have the Secret hold what the directory holds, within so many seconds; returns whether it had to be written.

        Raises KubeError, OSError. Only whoever leads may call it, and only once it has restored.
        """
        files = shared_files(self._directory)
        if files == self._stored and (not self._edited if self._version else not files):
            return False
        data = {name.replace("/", _SEPARATOR): base64.b64encode(content).decode() for name, content in files.items()}
        data[_LIST] = base64.b64encode("\n".join(files).encode()).decode()
        document = {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"namespace": self._id.namespace, "name": self._id.name},
            "type": "Opaque",
            "data": data,
        }
        self._tried = files
        limit = min(_TIMEOUT_SECONDS, seconds_left)
        async with self._opened() as client:
            if self._version:
                document["metadata"] = {**section(document, "metadata"), "resourceVersion": self._version}
                written = await client.replace(document, timeout_seconds=limit)
            else:
                written = await client.create(document, timeout_seconds=limit)
        self._version = text(section(written, "metadata").get("resourceVersion"))
        self._stored = files
        self._listed = self._stored_names = frozenset(files)
        return True

    async def run(
        self,
        leads: Callable[[], bool],
        seconds_left: Callable[[], float],
        on_change: Callable[[frozenset[str]], None],
    ) -> None:
        """Carry to the Secret what changes here while this process leads, and else take from it what others have
        written, of which ``on_change`` hears; until cancelled."""
        while True:
            leading = leads()
            try:
                if not (leading and self.taken_over):
                    self.taken_over = False
                    changed = await self.restore()
                    self.taken_over = leading
                    # Also without a change: whoever has waited for its turn to lead hears that it has come.
                    if changed or leading:
                        on_change(changed)
                else:
                    await self._check()
                    await self.save(seconds_left=seconds_left())
                    self._trouble = ""
            except _OvertakenError as error:
                self._fail(error)
                self.taken_over = False
                continue
            except KubeError as error:
                self._fail(error)
            except OSError as error:
                self._tell(f"{self._directory} can't be read or written: {error.strerror or error}")
            turned, self._turned = self._turned, asyncio.Event()
            turned.set()
            wait = _LOOK_SECONDS if self.taken_over and not self._trouble else _FOLLOW_SECONDS
            self._wake.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await self._wake.wait()

    async def saved(self) -> None:
        """Return once the Secret holds what the directory holds, which only whoever leads brings about; while ``run``
        runs. Raises OSError."""
        # Once: an API server that refuses must not be asked again at once.
        self._wake.set()
        while not self.in_secret():
            await self._turned.wait()

    def hurry(self) -> None:
        """Who leads has changed: look now."""
        self.taken_over = False
        self._wake.set()

    async def _check(self) -> None:
        """Read the Secret once in a while: the next write then replaces what is there by then."""
        now = asyncio.get_running_loop().time()
        if now < self._check_at:
            return
        before = self._stored
        async with self._opened() as client:
            self._stored = await self._read(client)
        self._check_at = now + CHECK_SECONDS
        if self._version and not self._edited and self._stored not in (before, self._tried):
            # Another controller has led meanwhile, or somebody has put a whole one in its place: that is taken over.
            self._stored = before
            raise _OvertakenError(f"{self._id} is not what this controller wrote")

    def _fail(self, error: KubeError) -> None:
        self._tell(f"{error}{f'; {error.hint}' if error.hint else ''}")
        if error.status in {HTTPStatus.CONFLICT, HTTPStatus.NOT_FOUND}:
            self._check_at = 0.0

    def _tell(self, cause: str) -> None:
        if cause and cause != self._trouble:
            _log.warning("state is not shared", secret=str(self._id), reason=cause)
        self._trouble = cause

    async def _read(self, client: Client) -> Mapping[str, bytes]:
        try:
            secret = await client.get(location(self._id, "v1"), {}, timeout_seconds=_TIMEOUT_SECONDS)
        except KubeError as error:
            if error.status != HTTPStatus.NOT_FOUND:
                raise
            self._version = ""
            self._listed, self._stored_names = None, frozenset()
            return {}
        self._version = text(section(secret, "metadata").get("resourceVersion"))
        found = {name.replace(_SEPARATOR, "/"): _decoded(content) for name, content in section(secret, "data").items()}
        names = found.get(_LIST)
        listed = None if names is None else frozenset(filter(_is_shared, names.decode(errors="replace").split("\n")))
        stored = {name: content for name, content in found.items() if _is_shared(name)}
        self._listed, self._stored_names = listed, frozenset(stored)
        return stored


def shared_files(directory: Path) -> dict[str, bytes]:
    """What a cluster's directory has that its controllers share, by name. Raises OSError."""
    paths = (path for pattern in _FILES for path in directory.glob(pattern))
    return {
        name: path.read_bytes()
        for path in sorted(paths)
        if path.is_file() and _is_shared(name := str(path.relative_to(directory)))
    }


def _is_shared(name: str) -> bool:
    """Whether a file is one of those that are shared; a name that leads elsewhere, or is of a file that is just being
    written, is none."""
    parts = Path(name).parts
    hidden = any(part.startswith(".") for part in parts)
    return not hidden and any(
        len(parts) == len(Path(pattern).parts) and Path(name).match(pattern) for pattern in _FILES
    )


def _decoded(content: object) -> bytes:
    try:
        return base64.b64decode(text(content), validate=True)
    except binascii.Error as error:
        raise KubeError("a value of the Secret is not base64") from error
