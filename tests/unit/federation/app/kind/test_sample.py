"""The sample: what is deployed where, and how it is called."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from federation.app.kind.commands import Kit
from federation.app.kind.sample import PROGRAM_DIRECTORY, call, deployments, sample_manifests
from federation.app.kind.topology import load_topology
from federation.demo.workloads import parse_arguments
from support.fake_kind import CONFIGS

TOPOLOGY = load_topology(CONFIGS)
EAST, WEST, NORTH = TOPOLOGY.clusters


def items(cluster: Any) -> list[Mapping[str, Any]]:
    found: list[Mapping[str, Any]] = json.loads(sample_manifests(TOPOLOGY, cluster, "image:1"))["items"]
    return found


def test_echo_is_exported_by_two_and_called_by_the_third() -> None:
    """Namespace demo is in all of them: that is where an import appears."""
    kinds = {one.name: [item["kind"] for item in items(one)] for one in TOPOLOGY.clusters}
    served = ["Namespace", "ServiceAccount", "Deployment", "Service", "ServiceExport"]
    assert kinds == {"east": ["Namespace", "ServiceAccount", "Deployment"], "west": served, "north": served}
    assert [deployments(TOPOLOGY, one) for one in TOPOLOGY.clusters] == [("caller",), ("echo",), ("echo",)]
    assert items(EAST)[0]["metadata"]["labels"] == {"federation-gateway.dev/injection": "enabled"}


def test_the_server_is_the_sample_application_of_the_demo() -> None:
    """Its arguments are parsed by it, and its ports are those of the Service."""
    deployment, service = items(NORTH)[2:4]
    container = deployment["spec"]["template"]["spec"]["containers"][0]
    module, *arguments = container["command"][3:]
    workload = parse_arguments(arguments)

    assert module == "federation.demo.workloads"
    assert (workload.cluster, workload.http[0].listen.port) == ("north", 8080)
    assert service["spec"]["ports"][0]["targetPort"] == container["ports"][0]["containerPort"] == 8080
    assert service["spec"]["selector"] == deployment["spec"]["template"]["metadata"]["labels"]


def test_the_image_has_what_the_sample_runs() -> None:
    """Its packages are where Python is told to look, and its Python is on PATH."""
    dockerfile = (CONFIGS.parent / "deploy" / "image" / "Dockerfile").read_text()
    assert f"COPY federation {PROGRAM_DIRECTORY}/federation\n" in dockerfile
    assert "PATH=/opt/federation/bin:" in dockerfile
    container = items(WEST)[2]["spec"]["template"]["spec"]["containers"][0]
    assert {"name": "PYTHONPATH", "value": PROGRAM_DIRECTORY} in container["env"]


def test_pods_need_no_privilege() -> None:
    """What Kubernetes calls restricted."""
    for cluster in TOPOLOGY.clusters:
        (pod,) = [item["spec"]["template"]["spec"] for item in items(cluster) if item["kind"] == "Deployment"]
        assert pod["securityContext"]["runAsNonRoot"]
        assert pod["containers"][0]["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        assert not pod["containers"][0]["securityContext"]["allowPrivilegeEscalation"]


def test_the_call_is_a_program_that_runs() -> None:
    """In the caller's container; it prints what it gets."""
    words = call(Kit(Path("/work"), ("federation",)), EAST).words
    code, url = words[words.index("-c") + 1 :]
    assert url == "http://echo.demo.svc.clusterset.local:8080/"
    assert words[words.index("exec") : words.index("--")] == (
        *("exec", "--namespace", "demo", "deployment/caller", "--container", "caller"),
    )
    ran = subprocess.run([sys.executable, "-c", code, "data:,hello"], capture_output=True, text=True, check=True)
    assert ran.stdout == "hello\n"
