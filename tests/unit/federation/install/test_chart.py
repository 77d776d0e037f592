"""The files of the chart."""

from __future__ import annotations

import json

from federation import __version__
from federation.install.chart import chart_files
from federation.install.definitions import definition_texts
from federation.install.values import default_values_text
from federation.model.documents import read_yaml


def test_the_chart_has_the_version_of_the_program() -> None:
    """Chart and image are released together."""
    chart = read_yaml(chart_files()["Chart.yaml"])
    assert isinstance(chart, dict)
    assert (chart["version"], chart["appVersion"]) == (__version__, __version__)


def test_defaults_and_definitions_are_those_of_the_program() -> None:
    """One home for each: the chart has copies."""
    files = chart_files()
    assert files["values.yaml"] == default_values_text()
    assert {name.removeprefix("crds/"): text for name, text in files.items() if name.startswith("crds/")} == (
        definition_texts()
    )
    assert json.loads(files["values.schema.json"])["additionalProperties"] is False


def test_the_webhook_never_states_its_ca() -> None:
    """The controllers fill it in; a chart that stated it would take it away with every upgrade."""
    assert "caBundle" not in "".join(chart_files().values())
