"""What Envoy's log says of why it ended: one line, short enough to repeat elsewhere.

Pure. A bootstrap that Envoy can't parse stands in its log as a whole.
"""

from __future__ import annotations

import re

MAX_CHARACTERS = 400

# [2026-01-31 12:47:30.010][28354][critical][main] [source/server/server.cc:449] message
_PREFIX = re.compile(r"^\[[^]]*\]\[\d+\]\[(?P<level>\w+)\]\[\w+\] (?:\[[^]]*\] )?")


def last_words(log: str) -> str:
    """Why Envoy ended, at most MAX_CHARACTERS; empty where it said nothing.

    That is its first critical message (a crash writes its backtrace below it), else its last error, else its last line.
    """
    by_level: dict[str, list[str]] = {}
    for line in filter(str.strip, log.splitlines()):
        if line.startswith("{"):
            # Of an access log.
            continue
        prefix = _PREFIX.match(line)
        level = "" if prefix is None else prefix["level"]
        by_level.setdefault(level, []).append(_PREFIX.sub("", line).strip())
    critical, errors, plain = (by_level.get(level, []) for level in ("critical", "error", ""))
    words = (critical[:1] or errors[-1:] or plain[-1:] or [""])[0]
    # Where it does not start: error `<why>` initializing config '<its file>'
    words = words.removeprefix("error `").partition("` initializing config ")[0]
    return words if len(words) <= MAX_CHARACTERS else f"{words[:MAX_CHARACTERS]}…"
