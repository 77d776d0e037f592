"""What the stories do and see: kubectl, our own command line, and a caller that never stops."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

ROOT = Path(__file__).parents[1]
FEDERATION = (sys.executable, "-P", "-m", "federation.cli.main")
CLUSTERS = ("east", "west", "north")
SYSTEM = "federation-system"
URL = "http://echo.demo.svc.clusterset.local:8080/"
PATIENCE_SECONDS = 180.0
UP_SECONDS = 1800.0

Found = TypeVar("Found")


class ClusterSet:
    """The clusters, by their contexts in a kubeconfig of the run's own."""

    def __init__(self) -> None:
        self._directory = tempfile.TemporaryDirectory(prefix="federation-e2e-")
        self.kubeconfig = Path(self._directory.name) / "kubeconfig"

    def close(self) -> None:
        self._directory.cleanup()

    def up(self) -> dict[str, str]:
        """`federation kind up`; what became of each step, as ``west join``: ``there``."""
        words = ("kind", "up", "--configs", str(ROOT / "kind-configs"), "-o", "json")
        ended = run(*FEDERATION, *words, seconds=UP_SECONDS)
        for cluster in CLUSTERS:
            run("kind", "export", "kubeconfig", "--name", cluster, "--kubeconfig", str(self.kubeconfig))
        steps = json.loads(ended)["steps"]
        return {f"{one['cluster']} {one['step']}".strip(): one["outcome"] for one in steps}

    def federation(self, cluster: str, *words: str, stdin: str = "") -> str:
        """One of our own commands on a cluster; fails with its words."""
        access = ("--kubeconfig", str(self.kubeconfig), "--context", f"kind-{cluster}")
        return run(*FEDERATION, *words, *access, stdin=stdin, seconds=PATIENCE_SECONDS)

    def kubectl(self, cluster: str, *words: str, stdin: str = "") -> str:
        return run(*self._kubectl(cluster), *words, stdin=stdin, seconds=PATIENCE_SECONDS)

    def get(self, cluster: str, *words: str) -> dict[str, Any]:
        """An object, or a list of them."""
        found: dict[str, Any] = json.loads(self.kubectl(cluster, "get", *words, "--output", "json"))
        return found

    def in_caller(self, code: str, *arguments: str) -> str:
        """What a Python program prints in the caller's pod."""
        return run(*self._in_caller("python3", "-c", code, *arguments), seconds=PATIENCE_SECONDS)

    def scale(self, cluster: str, namespace: str, workload: str, replicas: int) -> None:
        self.kubectl(cluster, "scale", workload, "--namespace", namespace, f"--replicas={replicas}")
        self.kubectl(cluster, "rollout", "status", workload, "--namespace", namespace, "--timeout=180s")

    @contextmanager
    def calls(self, *, per_second: int = 20) -> Iterator[Calls]:
        """The caller in east calls echo as long as the block lasts."""
        code = (Path(__file__).parent / "steady_calls.py").read_text()
        words = self._in_caller("python3", "-u", "-c", code, URL, str(per_second), stdin=True)
        with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            calls = Calls(process)
            try:
                until(lambda: calls.total > 0, "the first answer")
                yield calls
            finally:
                calls.end()

    def _kubectl(self, cluster: str) -> tuple[str, ...]:
        return ("kubectl", "--kubeconfig", str(self.kubeconfig), "--context", f"kind-{cluster}")

    def _in_caller(self, *words: str, stdin: bool = False) -> tuple[str, ...]:
        where = ("exec", *(["--stdin"] if stdin else []), "--namespace", "demo", "deployment/caller")
        return (*self._kubectl("east"), *where, "--container", "caller", "--", *words)


class Calls:
    """What became of the calls, second by second."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self._seconds: list[dict[str, int]] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def counts(self) -> Counter[str]:
        """Answers by cluster; ``failed`` counts those that had none."""
        return sum((Counter(second) for second in list(self._seconds)), Counter())

    @property
    def total(self) -> int:
        return self.counts.total()

    @property
    def failed(self) -> int:
        return self.counts["failed"]

    @property
    def now(self) -> set[str]:
        """Who answered in the last two seconds."""
        return {name for second in self._seconds[-2:] for name in second}

    def end(self) -> None:
        """Let it end its last call."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._reader.join(30.0)

    def _read(self) -> None:
        for line in self._process.stdout or ():
            self._seconds.append(json.loads(line))


def until(found: Callable[[], Found], what: str) -> Found:
    """Ask once a second until the answer is true; returns it. Fails with what was waited for."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not (answer := found()):
        assert time.monotonic() < deadline, f"waited {PATIENCE_SECONDS:.0f} s for {what}"
        time.sleep(1.0)
    return answer


def run(*words: str, stdin: str = "", seconds: float = PATIENCE_SECONDS) -> str:
    """What a program prints; fails with its last words, of which the standard input is none."""
    ended = subprocess.run(words, input=stdin, capture_output=True, text=True, check=False, timeout=seconds)
    shown = " ".join(words[:4])
    assert ended.returncode == 0, f"`{shown} …` failed with {ended.returncode}:\n{ended.stderr[-2000:]}"
    return ended.stdout
