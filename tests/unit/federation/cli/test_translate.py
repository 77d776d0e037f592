"""`federation translate`; what it prints of whole directories is in tests/golden/cli."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from federation.cli.main import app
from federation.model.errors import ConfigError
from support.manifests import exported_service, write_manifests


@pytest.fixture
def site(tmp_path: Path) -> Path:
    (tmp_path / "cluster.yaml").write_text(
        "{clusterset: acme, cluster: us-east, region: us, trustDomain: us-east.acme, memberKeyFile: k,"
        " exchange: {url: 'redis://h'}, xds: {listen: '127.0.0.1:15012'}}"
    )
    write_manifests(tmp_path / "echo.yaml", exported_service("demo", "echo", {"http": 80}, ["127.0.0.2"]))
    return tmp_path


def translate(*arguments: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, ["translate", *arguments], catch_exceptions=False)
    return result.exit_code, result.stdout, result.stderr


def test_json_is_for_programs(site: Path) -> None:
    """With -o json standard output is one JSON document and nothing else."""
    code, out, err = translate("-f", str(site), "-o", "json")
    assert (code, [one["key"]["name"] for one in json.loads(out)], err) == (0, ["echo"], "")


def test_what_is_not_used_is_on_standard_error(site: Path) -> None:
    """A bad manifest leaves the rest of the output whole; the exit code tells."""
    whole = translate("-f", str(site))[1]
    (site / "bad.yaml").write_text("kind: [\x1b")
    code, out, err = translate("-f", str(site))
    assert (code, out, err.startswith("not used: bad.yaml"), "\x1b" in err) == (1, whole, True, False)


def test_a_table_is_no_form_of_it(site: Path) -> None:
    """Only data is printed; a wrong form is a wrong command line."""
    code, _, err = translate("-f", str(site), "-o", "wide")
    assert (code, "Invalid value for '--output'" in err) == (2, True)


def test_one_cluster_twice_is_refused_whatever_is_shown(site: Path) -> None:
    """Records too are shown only of directories that go together."""
    with pytest.raises(ConfigError, match="two of the directories are cluster us-east"):
        translate("-f", str(site), "-f", str(site), "--show", "records")
