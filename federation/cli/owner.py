"""Asking a running controller over its Unix socket: who may open it is the controller's owner."""

from __future__ import annotations

from http import HTTPStatus
from http.client import HTTPException
from pathlib import Path
from typing import TypeVar

import msgspec

from federation.app.owner_socket import ADMIN_SOCKET, exchange
from federation.app.sites import from_outside, load_cluster, waits_hint
from federation.model.errors import FederationError

_TIMEOUT_SECONDS = 10.0

T = TypeVar("T")


class RefusedError(FederationError):
    """The controller will not do what it is asked; its words."""


class _Refusal(msgspec.Struct):
    message: str
    hint: str


class StillUnderWayError(FederationError):
    """What was asked for is not done yet; the controller goes on with it."""


class ControllerUnavailableError(FederationError):
    """The controller does not answer."""

    exit_code = 3


def ask(
    directory: Path, path: str, answer: type[T], *, method: str = "GET", timeout_seconds: float = _TIMEOUT_SECONDS
) -> T:
    """The controller's answer; raises ControllerUnavailableError, RefusedError where it says that it can't be done, and
    ConfigError where the settings are unusable."""
    address = load_cluster(directory).state_directory / ADMIN_SOCKET
    try:
        status, body = exchange(address, method, path, timeout_seconds)
        if status == HTTPStatus.CONFLICT:
            refusal = msgspec.json.decode(body, type=_Refusal)
            raise RefusedError(refusal.message, hint=refusal.hint)
        if status != HTTPStatus.OK:
            raise ControllerUnavailableError(
                f"controller at {address} answers {method} {path} with {status} {HTTPStatus(status).phrase}",
                hint="its log says why",
            )
        return msgspec.json.decode(body, type=answer)
    except PermissionError as error:
        raise ControllerUnavailableError(
            f"controller at {address} can't be asked: {error.strerror}", hint="only the user that it runs as may ask it"
        ) from error
    except msgspec.DecodeError as error:
        raise ControllerUnavailableError(
            f"controller at {address} gives an answer that is not understood: {error}",
            hint="is it of another version? `federation --version` tells this one's",
        ) from error
    except (HTTPException, OSError) as error:
        raise ControllerUnavailableError(
            f"no controller answers at {address}: {getattr(error, 'strerror', None) or error}",
            hint=_start_hint(directory),
        ) from error


def _start_hint(directory: Path) -> str:
    if outside := from_outside(directory):
        return f"{waits_hint(outside)}; where it is a member, the log of its pod says why"
    return f"`federation controller --dir {directory}` starts it"
