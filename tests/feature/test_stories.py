"""The tools of the stories in e2e/: the caller counts right, and nothing is skipped in silence."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

from e2e.clusterset import Calls

ROOT = Path(__file__).parents[2]


@contextmanager
def echo(answers: list[str]) -> Iterator[str]:
    """A server whose answers are the clusters in the list, the last one for ever; an empty one is an error 503."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            name = answers.pop(0) if len(answers) > 1 else answers[0]
            self.send_response(200 if name else 503)
            self.end_headers()
            self.wfile.write(json.dumps({"cluster": name}).encode())

        def log_message(self, *args: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/"
        finally:
            server.shutdown()
            thread.join()


def test_the_caller_counts_answers_and_failures() -> None:
    """By the cluster that answers; it ends when it is told to, with all that it has counted."""
    script = ROOT / "e2e" / "steady_calls.py"
    with echo(["west", "", "west", "north"]) as url:
        words = [sys.executable, "-u", str(script), url, "200"]
        with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            calls = Calls(process)
            while calls.counts["north"] < 10:
                os.sched_yield()
            calls.end()
    assert (calls.counts["west"], calls.failed) == (2, 1)
    assert calls.total == sum(calls.counts.values())
    assert "north" in calls.now


def test_without_kind_the_stories_say_that_nothing_was_tested(tmp_path: Path) -> None:
    """All are skipped, and the last line is no praise."""
    # Neither our settings nor plugins: they take longer to load than the stories to be skipped.
    settings = ["-c", os.devnull, "--rootdir", str(ROOT), "-o", f"pythonpath={ROOT}", "--import-mode=importlib"]
    words = [sys.executable, "-m", "pytest", *settings, "-p", "no:cacheprovider", "e2e/test_05_leave.py"]
    environment = {**os.environ, "PATH": str(tmp_path), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    ended = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout
    assert " passed" not in ended.stdout
    assert "NOTHING WAS TESTED ON KIND: docker and kind and kubectl not on PATH" in ended.stdout
