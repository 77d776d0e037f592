"""Story 6: the conformance suite of the MCS API, as its authors publish it.

Out of a checkout of kubernetes-sigs/mcs-api that MCS_API_CHECKOUT names; it needs go. The suite writes its report,
report.yaml and report.html, into that checkout. MCS_LABELS filters its specs, for instance ``Required``.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from e2e.clusterset import ClusterSet

SUITE_SECONDS = 3600


@pytest.mark.timeout(SUITE_SECONDS)
def test_the_suite_passes(clusterset: ClusterSet) -> None:
    """East exports and west imports; ginkgo's own words are the evidence."""
    checkout = os.environ.get("MCS_API_CHECKOUT", "")
    if not (Path(checkout) / "conformance" / "go.mod").is_file() or not checkout:
        pytest.skip("MCS_API_CHECKOUT names no checkout of kubernetes-sigs/mcs-api")
    go = shutil.which("go")
    if go is None:
        pytest.skip("go is not on PATH")
    labels = os.environ.get("MCS_LABELS", "")
    chosen = [f"--label-filter={labels}"] if labels else []
    suite = [go, "-C", str(Path(checkout) / "conformance"), "run", "github.com/onsi/ginkgo/v2/ginkgo", *chosen, "."]
    told = ["--", f"--kubeconfig={clusterset.kubeconfig}", "--contexts=kind-east,kind-west"]
    ended = subprocess.run([*suite, *told], capture_output=True, text=True, check=False, timeout=SUITE_SECONDS)
    print(ended.stdout)
    assert ended.returncode == 0, ended.stdout[-6000:] + ended.stderr[-2000:]
