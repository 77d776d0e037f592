"""docs/injection.md speaks of reasons, annotations, containers and defaults as they are."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from controllers.injection.annotations import INJECT, KNOWN, Tuning
from controllers.injection.pod_patch import TOKEN_SECONDS, TRUST_CONFIG_MAP, with_sidecar
from controllers.injection.policy import PROXY_PORTS, Reason
from controllers.injection.redirect_rules import PROXY_UID, REDIRECT_PORT
from controllers.injection.trust_objects import SELECTED
from controllers.sources.pod_accounts import INJECTED_LABEL
from support.injection import INJECTION

PAGE = (Path(__file__).parents[3] / "docs" / "injection.md").read_text()


def first_cells(header: str) -> set[str]:
    """What stands between backquotes in the first column of the table with this header."""
    _, _, table = PAGE.partition(f"| {header} |")
    rows = [line for line in table.partition("\n\n")[0].splitlines() if line.startswith("| `")]
    return {word for row in rows for word in re.findall(r"`([^`]+)`", row.split("|")[1])}


def test_every_reason_is_told() -> None:
    """Each for which a pod gets none that wants one."""
    assert first_cells("reason") == {*Reason} - {Reason.NOT_WANTED}


def test_every_annotation_is_told() -> None:
    """Besides the one that says whether at all, which is told above."""
    assert first_cells("annotation") == KNOWN - {INJECT}
    assert f"`{INJECT}`" in PAGE


def test_labels_of_namespaces_are_told() -> None:
    """Each with which pods may be injected."""
    assert first_cells("label `federation-gateway.dev/injection` of the namespace") == SELECTED


def test_containers_and_defaults_are_those_of_the_program() -> None:
    """Names, users, ports, resources and what the token is for."""
    pod: Any = with_sidecar({"spec": {}}, INJECTION, Tuning())
    steps = {one["name"]: one for one in pod["spec"]["initContainers"]}
    resources = steps["federation-proxy"]["resources"]

    assert first_cells("container") == steps.keys()
    assert "uses 15000, 15001, 15006, 15020 or 15021" in PAGE
    assert {15000, 15001, 15006, 15020, 15021} == PROXY_PORTS
    assert f"federation redirect --uid {PROXY_UID} --port {REDIRECT_PORT}" in PAGE
    assert resources == {"requests": {"cpu": "50m", "memory": "96Mi"}, "limits": {"memory": "512Mi"}}
    assert "50m by default, no limit" in PAGE
    assert "96Mi and 512Mi by default" in PAGE
    assert (TOKEN_SECONDS, "one hour" in PAGE) == (3600, True)
    assert f"`{TRUST_CONFIG_MAP}`" in PAGE
    assert f'`{INJECTED_LABEL}: "true"`' in PAGE
