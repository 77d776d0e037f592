"""Checks: what an examination says, one finding each, with its fix. Values only; whoever judges makes them."""

from __future__ import annotations

from enum import StrEnum

import msgspec


class Level(StrEnum):
    """How a check ended."""

    OK = "ok"
    NOTE = "note"
    """Nothing fails by it; it says what to look at, or what would break."""
    FAILED = "failed"


class Check(msgspec.Struct, frozen=True, rename="camel"):
    """One finding."""

    name: str
    level: Level
    message: str
    fix: str = ""
    """The next step; empty where none is needed."""
