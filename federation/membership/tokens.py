"""Tokens by which proxies prove who they are to their control plane; TokenStore: those of a site without Kubernetes.

TokenStore is an edge over one directory: ``<namespace>.<service-account>.token`` for a sidecar, ``gateway.token`` for
the gateways. It keeps digests, never tokens, and must not put a token into any message.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Literal, Protocol

from federation.model.names import is_dns_label
from federation.model.problems import Problem
from federation.storage.private_file import create_private, read_private, replace_private

TOKEN_BYTES = 32
_SUFFIX = ".token"
_GATEWAY = "gateway"
# 32 bytes take 43 characters of unpadded base64url.
_TOKEN = re.compile(r"[A-Za-z0-9_-]{43,1024}")

_Signature = tuple[tuple[str, int, int, int, int], ...]


@dataclass(frozen=True, slots=True, order=True)
class NodePrincipal:
    """Who a proxy is, as its token proves."""

    role: Literal["sidecar", "gateway"]
    namespace: str = ""
    """Of the workload; empty for a gateway."""
    service_account: str = ""
    pod: str = ""
    """That the token is bound to; empty where it is bound to none."""


class NodeTokens(Protocol):
    """What proves who a proxy is. Tokens are remembered by their ``fingerprint``."""

    @property
    def problems(self) -> tuple[Problem, ...]:
        """Why tokens are not used, sorted."""

    async def authenticate(self, token: str) -> NodePrincipal | None:
        """Who holds this token, or None; raises FederationError where that can't be told now."""

    def withdrawn(self, held: Collection[str]) -> frozenset[str]:
        """Which of these tokens, once proved and held by nodes that are known, prove nothing any more."""


@dataclass(frozen=True, slots=True)
class _TokenFile:
    name: str
    principal: NodePrincipal
    digest: bytes


def create_token(path: Path) -> None:
    """Write a new token to a new file of mode 0600; raises FileExistsError where one is there, OSError
    otherwise.

    The file is put in its place whole: only that is seen by an Envoy that runs (its SDS watches files for moves).
    """
    create_private(path, b"")
    try:
        replace_private(path, f"{secrets.token_urlsafe(TOKEN_BYTES)}\n".encode())
    except OSError:
        path.unlink()
        raise


def fingerprint(token: str) -> str:
    """What a token may be remembered by: its SHA-256, in hex."""
    return _digest(token.encode(errors="replace")).hex()


class TokenStore:
    """The tokens of one directory. A file that can't be used is refused with a problem and harms no other."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._signature: _Signature | None = None
        self._principals: Mapping[bytes, NodePrincipal] = {}
        self._problems: tuple[Problem, ...] = ()
        self.refresh()

    @classmethod
    def load(cls, directory: Path) -> TokenStore:
        """The store with what the directory holds now."""
        return cls(directory)

    @property
    def problems(self) -> tuple[Problem, ...]:
        """Files that are not used, and why, sorted."""
        return self._problems

    async def authenticate(self, token: str) -> NodePrincipal | None:
        """Who holds this token, or None; files are looked at anew, so that a new one works at once.

        Time tells nothing of the tokens: only digests are looked up.
        """
        self.refresh()
        return self._principals.get(_digest(token.encode(errors="replace")))

    def withdrawn(self, held: Collection[str]) -> frozenset[str]:
        """Those of these tokens whose file is gone or holds another one."""
        self.refresh()
        return frozenset(fingerprint for fingerprint in held if bytes.fromhex(fingerprint) not in self._principals)

    def refresh(self) -> bool:
        """Read the directory again if anything about its files has changed; returns whether it had."""
        try:
            paths = sorted(path for path in self._directory.iterdir() if path.name.endswith(_SUFFIX))
        except OSError as error:
            return self._unreadable(error)
        signature = _signature(paths)
        if signature == self._signature:
            return False
        read = [_read(path) for path in paths]
        self._principals, ambiguous = _by_digest(entry for entry in read if isinstance(entry, _TokenFile))
        unreadable = [entry for entry in read if isinstance(entry, Problem)]
        self._problems = tuple(sorted([*unreadable, *ambiguous]))
        self._signature = signature
        return True

    def _unreadable(self, error: OSError) -> bool:
        problem = Problem(str(self._directory), "TokensUnreadable", f"tokens can't be read: {error.strerror}")
        before = self._principals, self._problems
        # A directory that is gone holds no tokens; of one that can't be read now, what was read last counts.
        if isinstance(error, FileNotFoundError | NotADirectoryError):
            self._principals = {}
        self._problems = (problem,)
        self._signature = None
        return before != (self._principals, self._problems)


def _signature(paths: Iterable[Path]) -> _Signature:
    """What changes when a file is written, replaced, removed or given another mode."""
    signature = []
    for path in paths:
        try:
            seen = path.stat()
        except OSError:
            signature.append((path.name, 0, 0, 0, 0))
        else:
            signature.append((path.name, seen.st_ino, seen.st_mode, seen.st_size, seen.st_ctime_ns))
    return tuple(signature)


def _digest(token: bytes) -> bytes:
    return sha256(token).digest()


def _read(path: Path) -> _TokenFile | Problem:
    principal = _principal(path.name.removesuffix(_SUFFIX))
    if principal is None:
        return Problem(path.name, "BadTokenName", "name is neither gateway.token nor NAMESPACE.SERVICE-ACCOUNT.token")
    try:
        content = read_private(path)
    except OSError as error:
        return Problem(path.name, "TokenUnreadable", f"token is not used: {error.strerror or error}")
    token = content.strip()
    if _TOKEN.fullmatch(token.decode(errors="replace")) is None:
        return Problem(path.name, "BadToken", f"token is no base64url text of {TOKEN_BYTES} bytes or more")
    return _TokenFile(path.name, principal, _digest(token))


def _principal(stem: str) -> NodePrincipal | None:
    if stem == _GATEWAY:
        return NodePrincipal("gateway")
    # A namespace is one label, an account may hold dots.
    namespace, _, account = stem.partition(".")
    if not is_dns_label(namespace) or not all(is_dns_label(label) for label in account.split(".")):
        return None
    return NodePrincipal("sidecar", namespace, account)


def _by_digest(files: Iterable[_TokenFile]) -> tuple[dict[bytes, NodePrincipal], list[Problem]]:
    """Principals by digest. A token in several files proves none of their names, so none of them counts."""
    found: dict[bytes, list[_TokenFile]] = {}
    for file in files:
        found.setdefault(file.digest, []).append(file)
    problems = [
        Problem(file.name, "SharedToken", f"token is the same in {' and '.join(other.name for other in same)}")
        for same in found.values()
        if len(same) > 1
        for file in same
    ]
    return {digest: same[0].principal for digest, same in found.items() if len(same) == 1}, problems
