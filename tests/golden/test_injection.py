"""Documents with pods: sidecars where they belong, the patch that puts them there, and what is told of each pod."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from msgspec import field

from controllers.injection.json_patch import diff
from controllers.injection.pod_patch import Injection
from controllers.injection.policy import NamespaceFacts
from controllers.injection.redirect_rules import parse_networks
from controllers.injection.workloads import Outcome, inject_document, uninject_document
from support.golden import StrictInput, cases, check_golden, name, read_input, to_yaml

ROOT = Path(__file__).parent / "injection"


class Namespace(StrictInput):
    labels: dict[str, str] = field(default_factory=dict)
    annotations: dict[str, str] = field(default_factory=dict)


class Input(StrictInput):
    documents: tuple[dict[str, Any], ...]
    namespaces: dict[str, Namespace] = field(default_factory=dict)
    """Those that are not here are labelled for injection."""
    native: bool = True
    include: tuple[str, ...] = ()
    shows: tuple[str, ...] = ("injected", "patch")


@pytest.mark.parametrize("case", cases(ROOT), ids=name)
def test_injection(case: Path, update_golden: bool) -> None:
    """Every document as it is afterwards, the patches, and the outcomes; taken away again, all is as before."""
    given = read_input(case, Input)
    injection = Injection(
        image="federation-gateway:1.2.3",
        clusterset="acme",
        cluster="us-east",
        region="us",
        trust_domain="us-east.acme",
        native=given.native,
        include=parse_networks(given.include, "include"),
    )

    def facts(name_: str) -> NamespaceFacts:
        known = given.namespaces.get(name_, Namespace({"federation-gateway.dev/injection": "enabled"}))
        return NamespaceFacts(name_, known.labels, known.annotations)

    done = [inject_document(document, injection, facts, "demo") for document in given.documents]
    changed = [(before, after) for before, (after, _) in zip(given.documents, done, strict=True) if after != before]
    outputs = {"outcomes.yaml": to_yaml([_told(one) for _, outcomes in done for one in outcomes])}
    if changed and "injected" in given.shows:
        outputs["injected.yaml"] = to_yaml([after for _, after in changed])
    if changed and "patch" in given.shows:
        outputs["patch.yaml"] = to_yaml([[*diff(before, after)] for before, after in changed])
    check_golden(case, outputs, update=update_golden)

    assert [uninject_document(after, "demo")[0] for _, after in changed] == [before for before, _ in changed]


def _told(outcome: Outcome) -> Mapping[str, object]:
    decision = outcome.decision
    told: dict[str, object] = {"subject": outcome.subject, "injected": outcome.changed}
    if decision.reason is not None:
        told |= {"reason": str(decision.reason), "message": decision.message}
    if decision.warnings:
        told["warnings"] = list(decision.warnings)
    return told
