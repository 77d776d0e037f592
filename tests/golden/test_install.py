"""What is installed: the plain manifests for values of several sites, and the chart, made from the same templates."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from federation.install.chart import NAME, chart_files
from federation.install.manifests import FIELD_MANAGER, render, render_namespace
from federation.install.values import InstallValues, parse_values
from support.golden import StrictInput, cases, check_golden, name, read_input

ROOT = Path(__file__).parent / "install"
CHART = Path(__file__).parents[2] / "deploy" / "chart" / NAME


class Input(StrictInput):
    values: str
    """Text of a file of values."""
    namespace: str = "federation-system"

    @property
    def parsed(self) -> InstallValues:
        return parse_values([("in.yaml", self.values)])


@pytest.mark.parametrize("case", cases(ROOT), ids=name)
def test_install(case: Path, update_golden: bool) -> None:
    """These are the manifests, in the order in which they are applied."""
    given = read_input(case, Input)
    documents = (render_namespace(given.parsed, given.namespace), *render(given.parsed, given.namespace))
    text = yaml.safe_dump_all(documents, sort_keys=False, width=120)
    check_golden(case, {"manifests.yaml": text}, update=update_golden)


def test_chart(update_golden: bool) -> None:
    """The chart in deploy/ is made from the templates, and from nothing else."""
    check_golden(CHART, chart_files(), update=update_golden)


def helm() -> str:
    """The program ``helm``: HELM, or that on PATH; the test is skipped where there is none."""
    found = os.environ.get("HELM") or shutil.which("helm")
    if not found:
        pytest.skip("HELM names no program, and there is no helm on PATH")
    return found


def by_name(documents: list[Any]) -> dict[tuple[str, str], Any]:
    found = {(one["kind"], one["metadata"]["name"]): one for one in documents}
    assert len(found) == len(documents)
    return found


@pytest.mark.parametrize("case", cases(ROOT), ids=name)
def test_helm_renders_the_same(case: Path, tmp_path: Path) -> None:
    """`helm template` makes of the chart what `federation install --print` prints, but for who installs it."""
    given = read_input(case, Input)
    (tmp_path / "values.yaml").write_text(given.values)
    words = [helm(), "template", "release", str(CHART), "-n", given.namespace, "-f", str(tmp_path / "values.yaml")]
    printed = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    documents = [one for one in yaml.safe_load_all(printed) if one is not None]
    ours = json.loads(json.dumps(render(given.parsed, given.namespace)).replace(f'"{FIELD_MANAGER}"', '"Helm"'))
    assert by_name(documents) == by_name(ours)


def test_helm_finds_nothing_to_complain_of() -> None:
    """`helm lint --strict` is clean."""
    done = subprocess.run([helm(), "lint", "--strict", str(CHART)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("word", ["gateway.kind=Pod", "nonsense=1", "controller.replicas=0", "clusterset=Ac_me"])
def test_helm_refuses_what_we_refuse(word: str) -> None:
    """The schema of the chart knows what the values may be."""
    words = [helm(), "template", "release", str(CHART), "--set", word]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert word.partition("=")[0].rpartition(".")[2] in done.stderr
