"""`federation trust` shows, judges and revokes what the controller of a directory has in force."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from controllers.trust_report import AuthorityReport, TrustReport
from federation.cli import trust, trust_progress
from federation.cli.main import app
from support.clock import START
from support.trust_reports import DAY, PEER, SIGNING, own, peer, trust_report

TAINTED = AuthorityReport("cccccccccccc", "tainted", START - DAY, START + DAY)


class Controller:
    """Answers with these reports, the last one again and again, and notes what it was asked to do."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *reports: TrustReport) -> None:
        self.reports = list(reports)
        self.posted: list[str] = []
        monkeypatch.setattr(trust_progress, "ask", self.tell)
        monkeypatch.setattr(trust, "ask", self.do)
        monkeypatch.setattr(trust_progress.time, "sleep", lambda _: None)

    def tell(self, directory: Path, path: str, answer: type) -> TrustReport:
        assert (directory, path, answer) == (Path("clusters/us-east"), "/v1/trust", TrustReport)
        return self.reports.pop(0) if len(self.reports) > 1 else self.reports[0]

    def do(self, directory: Path, path: str, answer: type, *, method: str) -> dict[str, str]:
        assert method == "POST"
        self.posted.append(path)
        return {"authority": TAINTED.id}


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["trust", *arguments, "--dir", "clusters/us-east"])


def test_trust_is_shown_for_people_and_for_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a table, and as data that has every field."""
    Controller(monkeypatch, trust_report())
    assert "us-east.acme" in run("show").stdout
    domains = json.loads(run("show", "-o", "json").stdout)["domains"]
    assert [domain["trustDomain"] for domain in domains] == ["us-east.acme", "eu-west.acme"]


def test_a_check_that_fails_is_exit_code_1(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a line for each finding; all well is 0."""
    Controller(monkeypatch, trust_report())
    well = run("check")
    Controller(monkeypatch, trust_report(domains=(own(), peer(trusted=False, sequence=None, authorities=()))))
    ill = run("check")
    data = json.loads(run("check", "-o", "json").stdout)
    assert (well.exit_code, ill.exit_code) == (0, 1)
    assert "failed  peer eu-west" in ill.stdout
    assert [check["name"] for check in data if check["level"] == "failed"] == ["peer eu-west"]


@pytest.mark.parametrize(
    ("arguments", "path"),
    [((), "/v1/taints"), (("ccc",), "/v1/taints?authority=ccc"), (("a/b",), "/v1/taints?authority=a%2Fb")],
)
def test_a_taint_is_over_when_the_ca_is_gone(
    monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], path: str
) -> None:
    """It is asked for once, followed, and ends with the bundle that no longer holds the CA."""
    during = trust_report(domains=(own(authorities=(TAINTED, SIGNING)), PEER))
    after = trust_report(domains=(own(sequence=9), PEER))
    controller = Controller(monkeypatch, during, after)
    result = run("taint", *arguments)
    assert (result.exit_code, controller.posted) == (0, [path])
    assert "CA cccccccccccc is gone from bundle 9" in result.stdout
