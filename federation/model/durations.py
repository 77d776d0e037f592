"""Durations as people write them: ``500ms``, ``90s``, ``1h30m``. Used by the settings; knows nothing of clocks."""

from __future__ import annotations

import re
from datetime import timedelta

# Kubernetes Gateway API, GEP-2257: one to four parts, no sign, no fraction, no bare number.
_DURATION = re.compile(r"([0-9]{1,5}(h|m|s|ms)){1,4}")
_PART = re.compile(r"([0-9]+)(ms|h|m|s)")
_UNIT = {
    "h": timedelta(hours=1),
    "m": timedelta(minutes=1),
    "s": timedelta(seconds=1),
    "ms": timedelta(milliseconds=1),
}


def parse_duration(text: str) -> timedelta:
    """Read a duration of GEP-2257 (``500ms``, ``1h30m``); raises ValueError for anything else."""
    if _DURATION.fullmatch(text) is None:
        raise ValueError(f"{text!r} is not a duration such as 500ms, 90s or 1h30m")
    return sum((int(count) * _UNIT[unit] for count, unit in _PART.findall(text)), timedelta())
