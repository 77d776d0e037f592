"""Fields of an object that is ours alone: what the object may not have is refused, and values have units.

Other kinds of objects carry much that concerns others, so what is unknown there is passed over (``fields``). Of a
TrafficPolicy nobody else knows anything: an unknown field is one that somebody misspelt and relies on.
"""

from __future__ import annotations

from collections.abc import Collection
from difflib import get_close_matches

from controllers.sources.fields import Fields
from federation.model.durations import parse_duration

MAX_DURATION_MS = 24 * 3600 * 1000


def note_unknown(section: Fields, known: Collection[str]) -> None:
    """Note every field of a section that is not among those ``known``."""
    for key in section.names:
        if key not in known:
            near = get_close_matches(key, known, 1)
            meant = f", did you mean {near[0]}?" if near else f"; there are {', '.join(sorted(known))}"
            section.note(key, "UnknownField", f"is no field{meant}")


def read_milliseconds(section: Fields, key: str, default: int, low: int = 0, high: int = MAX_DURATION_MS) -> int:
    """A duration of GEP-2257 (``500ms``, ``1h30m``) in milliseconds, within bounds."""
    text = section.optional_text(key)
    if text is None:
        return default
    try:
        value = round(parse_duration(text).total_seconds() * 1000)
    except ValueError as error:
        section.note(key, "InvalidValue", str(error))
        return default
    if not low <= value <= high:
        section.note(key, "InvalidValue", f"{text!r} is not from {_spelt(low)} to {_spelt(high)}")
        return default
    return value


def read_integer(section: Fields, key: str, default: int, low: int, high: int) -> int:
    """An integer in a range, bounds included; the default where the field is absent or wrong."""
    value = section.integer(key, low, high)
    return default if value is None else value


def _spelt(milliseconds: int) -> str:
    for unit, size in (("h", 3_600_000), ("m", 60_000), ("s", 1000)):
        if milliseconds and milliseconds % size == 0:
            return f"{milliseconds // size}{unit}"
    return f"{milliseconds}ms" if milliseconds else "0s"
