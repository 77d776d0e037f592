"""Runs in the caller's pod: calls a URL at a steady rate until its standard input ends.

Prints a JSON line each second: how many answers each cluster gave, and how many calls failed.
"""

import json
import select
import sys
import time
import urllib.request

LIMIT_SECONDS = 10


def main(url: str, per_second: float) -> None:
    counts: dict[str, int] = {}
    begun = time.monotonic()
    due = begun
    while True:
        due += 1 / per_second
        if select.select([sys.stdin], [], [], max(0.0, due - time.monotonic()))[0]:
            break
        # After a call that took long there is no burst: that would be another load than the one that is told.
        due = max(due, time.monotonic() - 1.0)
        try:
            with urllib.request.urlopen(url, timeout=LIMIT_SECONDS) as answer:
                name = json.load(answer)["cluster"]
        except (OSError, ValueError):
            name = "failed"
        counts[name] = counts.get(name, 0) + 1
        if time.monotonic() - begun >= 1.0:
            print(json.dumps(counts), flush=True)
            counts, begun = {}, time.monotonic()
    print(json.dumps(counts), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]))
