"""Report: the numbers of a run as JSON, and its verdict in words."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from federation.demo.calls import Call, Stream
from federation.demo.phases import HARMLESS, Phase, PhaseNumbers, PhaseRecord
from federation.demo.report import RunReport, build_report, save_report, summary_lines
from federation.model.errors import FederationError

PHASE = Phase("normal", "all is well", "", HARMLESS, {}, seconds=1.0)


def numbers(*, failed: int = 0) -> PhaseNumbers:
    calls = [Call(Stream.GET, 1.0, 1.002, "us-east")] * 8 + [Call(Stream.TCP, 1.0, 1.1, "us-west")] * 2
    calls += [Call(Stream.GET, 1.0, 1.7, error="503")] * failed
    return PhaseRecord(PHASE, 0.0, struck_at=0.5, fault_done_at=0.6, calls=calls).numbers(now=4.0)


def test_a_good_run() -> None:
    """The report has calls, failures, answering clusters and latencies of each phase, and of each stream in it."""
    report = build_report(RunReport((numbers(),), 12.34, 200.0))
    assert (report["ok"], report["violations"], report["seconds"], report["rate"]) == (True, [], 12.3, 200.0)
    (phase,) = report["phases"]
    assert {name: phase[name] for name in ("phase", "calls", "failures", "answered_by", "p50_ms", "p99_ms")} == {
        "phase": "normal",
        "calls": 8,
        "failures": 0,
        "answered_by": {"us-east": 8},
        "p50_ms": 2.0,
        "p99_ms": 2.0,
    }
    assert set(phase["streams"]) == {str(stream) for stream in Stream}
    assert phase["streams"]["ledger TCP"]["answered_by"] == {"us-west": 2}


def test_a_bad_run_names_what_was_lost() -> None:
    """Every violation is in the report and in the summary, and so is trouble that broke the story off."""
    run = RunReport((numbers(failed=2),), 12.0, 200.0, trouble="us-east-gateway ended with 1")
    lost = "all is well: echo GET lost 2 of 10 calls, none may be (503)"
    assert build_report(run)["violations"] == [lost, "us-east-gateway ended with 1"]
    assert build_report(run)["phases"][0]["back_to_normal_seconds"] == 1.2
    assert summary_lines(run) == [
        "FAILED: 12 calls in 1 phases, 2 failed (2 echo GET).",
        f"  - {lost}",
        "  - us-east-gateway ended with 1",
    ]


def test_a_run_that_never_began_is_no_success() -> None:
    """Trouble before the first call is a failed run."""
    assert not RunReport((), 1.0, 200.0, trouble="no answer").ok


def test_saved_as_json(tmp_path: Path) -> None:
    """The file holds the report; a path that can't be written is an error that names it."""
    run = RunReport((numbers(),), 12.0, 200.0)
    save_report(tmp_path / "report.json", run)
    assert json.loads((tmp_path / "report.json").read_text()) == build_report(run)
    with pytest.raises(FederationError, match=r"missing/report\.json can't be written"):
        save_report(tmp_path / "missing" / "report.json", run)
