"""What Envoy's log says of why it ended: one line, safe to repeat elsewhere.

Pure. A bootstrap that Envoy can't parse stands in its log as a whole, token included, so nothing of that log may be
passed on but through here.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

MAX_CHARACTERS = 400

# [2026-01-31 12:47:30.010][28354][critical][main] [source/server/server.cc:449] message
_PREFIX = re.compile(r"^\[[^]]*\]\[\d+\]\[(?P<level>\w+)\]\[\w+\] (?:\[[^]]*\] )?")
_BEARER = "Bearer "


def last_words(log: str, secrets: Collection[str]) -> str:
    """Why Envoy ended, at most MAX_CHARACTERS and without ``secrets``; empty where it said nothing.

    That is its first critical message (a crash writes its backtrace below it), else its last error, else its last line.
    """
    by_level: dict[str, list[str]] = {}
    for line in filter(str.strip, log.splitlines()):
        prefix = _PREFIX.match(line)
        level = "" if prefix is None else prefix["level"]
        by_level.setdefault(level, []).append(_PREFIX.sub("", line).strip())
    critical, errors, plain = (by_level.get(level, []) for level in ("critical", "error", ""))
    words = (critical[:1] or errors[-1:] or plain[-1:] or [""])[0]
    # Where it does not start: error `<why>` initializing config '<its file>'
    words = words.removeprefix("error `").partition("` initializing config ")[0]
    for secret in secrets:
        words = words.replace(secret, "<redacted>")
    return words if len(words) <= MAX_CHARACTERS else f"{words[:MAX_CHARACTERS]}…"


def bearer_tokens(bootstrap: object) -> frozenset[str]:
    """The tokens in a bootstrap document."""
    if isinstance(bootstrap, str):
        return frozenset({bootstrap.removeprefix(_BEARER)} if bootstrap.startswith(_BEARER) else ())
    if isinstance(bootstrap, Mapping):
        bootstrap = list(bootstrap.values())
    if isinstance(bootstrap, list | tuple):
        return frozenset().union(*(bearer_tokens(item) for item in bootstrap))
    return frozenset()
