"""`federation install`: what it prints without a cluster; with one, tests/feature/test_install.py."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from federation.cli.main import app
from federation.install.definitions import definitions
from federation.install.values import default_values_text
from federation.model.errors import ConfigError
from support.installation import rendered


def printed(*words: str) -> list[Any]:
    result = CliRunner().invoke(app, ["install", "--print", *words], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return list(yaml.safe_load_all(result.stdout))


def test_printed_is_what_is_installed() -> None:
    """Namespace, CRDs and all the rest, in the order in which they are made."""
    namespace, *rest = rendered("clusterset=acme", namespace="elsewhere")
    assert printed("-n", "elsewhere", "--set", "clusterset=acme") == [namespace, *definitions(), *rest]


def test_files_of_values_and_words_are_taken(tmp_path: Path) -> None:
    """The later file wins, and words win over files."""
    (tmp_path / "one.yaml").write_text("controller: {replicas: 3}\ngateway: {replicas: 4}\nclusterset: acme\n")
    (tmp_path / "two.yaml").write_text("gateway: {replicas: 5}\n")
    files = ["-f", str(tmp_path / "one.yaml"), "--values", str(tmp_path / "two.yaml")]
    found = {
        document["metadata"]["name"]: document["spec"]["replicas"]
        for document in printed(*files, "--set", "controller.replicas=6")
        if document["kind"] == "Deployment"
    }
    assert found == {"federation-controller": 6, "federation-gateway": 5}


def test_defaults_can_be_seen() -> None:
    """--print-values prints values.yaml as it is."""
    assert CliRunner().invoke(app, ["install", "--print-values"]).stdout == default_values_text()


@pytest.mark.parametrize(
    ("words", "cause"),
    [
        (["-n", "Not_A_Name"], "is no namespace"),
        (["-f", "nowhere.yaml"], "values nowhere.yaml can't be read: No such file"),
        (["--set", "settings.region=a b"], "values are unusable: settings.region: "),
    ],
)
def test_what_is_wrong_is_told_before_any_cluster_is_asked(words: list[str], cause: str) -> None:
    """Names, files, values and settings."""
    with pytest.raises(ConfigError, match=cause):
        CliRunner().invoke(app, ["install", "--print", *words], catch_exceptions=False)
