"""What a host lacks for clusters of kind, each with its next step."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from federation.app.kind.commands import Ended
from federation.app.kind.host_checks import MEMORY_PER_NODE, HostFacts, judge_host


def said(text: str) -> Ended:
    return Ended(0, text, "")


def kubectl(version: str) -> Ended:
    return said(json.dumps({"clientVersion": {"gitVersion": version}}))


GOOD = HostFacts(
    said("28.2.2\n"),
    said(f"{16 * 1024**3}\n"),
    said("kind v0.30.0 go1.24.6 linux/amd64\n"),
    kubectl("v1.34.1"),
    {"max_user_instances": 8192, "max_user_watches": 524288},
)


def test_a_good_host_lacks_nothing() -> None:
    """Nor one that has just enough, nor one that has no limits to be read."""
    assert judge_host(GOOD, 7) == ()
    enough = {"max_user_instances": 448, "max_user_watches": 350_000}
    assert judge_host(replace(GOOD, memory=said(str(7 * MEMORY_PER_NODE)), limits=enough), 7) == ()
    assert judge_host(replace(GOOD, limits={}), 7) == ()


@pytest.mark.parametrize(
    ("facts", "what", "fix"),
    [
        (replace(GOOD, docker=None), "docker is not on PATH", "install Docker"),
        (replace(GOOD, docker=Ended(1, "", "Cannot connect\n")), "does not answer: Cannot connect", "systemctl start"),
        (replace(GOOD, docker=Ended(1, "", "")), "does not answer: exit code 1", "systemctl start"),
        (replace(GOOD, docker=said("19.03.8")), "docker 19.03.8 is too old", "20.10"),
        (replace(GOOD, kind=None), "kind is not on PATH", "install kind"),
        (replace(GOOD, kind=said("kind v0.9.0 go1.15")), "kind 0.9.0 is too old", "0.24"),
        (replace(GOOD, kind=said("(devel)")), "kind does not tell its version", "0.24"),
        (replace(GOOD, kubectl=None), "kubectl is not on PATH", "install kubectl"),
        (replace(GOOD, kubectl=kubectl("v1.20.0")), "kubectl 1.20.0 is too old", "1.29"),
        (replace(GOOD, kubectl=said("no JSON")), "kubectl does not tell", "1.29"),
        (replace(GOOD, memory=said(str(7 * MEMORY_PER_NODE - 1))), "7 nodes need 4.8 GiB", "--clusters"),
        (replace(GOOD, limits={"max_user_instances": 128}), "is 128, 7 nodes need 448", "sudo sysctl"),
        (replace(GOOD, limits={"max_user_watches": 8192}), "max_user_watches is 8192", "sudo sysctl"),
    ],
)
def test_each_lack_is_one_line_with_its_fix(facts: HostFacts, what: str, fix: str) -> None:
    """And it is the only one."""
    (lack,) = judge_host(facts, 7)
    assert what in lack.what
    assert fix in lack.fix
    assert "\n" not in lack.what + lack.fix


def test_all_that_is_missing_is_told_together() -> None:
    """Nobody wants to be told the next thing after each repair."""
    bare = HostFacts(None, None, None, None, {"max_user_instances": 1, "max_user_watches": 1})
    assert len(judge_host(bare, 7)) == 5
