"""What the end of a run says about the API servers that it used."""

from __future__ import annotations

from support.kube.plane import told_servers


def test_the_run_says_which_servers_it_used() -> None:
    """What was skipped for want of a real server stands out; a run without such tests says nothing."""
    ran, left = ["a.py::test_a[stand-in]", "a.py::test_b[stand-in]"], ["a.py::test_a[real-api-server]"]

    assert told_servers({"passed": ["a.py::test_c"], "skipped": ["a.py::test_d"]}) == []
    assert told_servers({"passed": ran[:1], "failed": [*ran[1:], *left]}) == [
        "kubernetes: 2 tests on the stand-in, 1 tests on the real-api-server"
    ]
    (line,) = told_servers({"passed": ran, "skipped": left})
    assert line.endswith("stand-in, 1 SKIPPED: KUBEBUILDER_ASSETS names no directory with kube-apiserver and etcd")
