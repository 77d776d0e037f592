"""`federation inject`: what is printed, what is told, and that what the containers are told is understood."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner, Result

from controllers.injection.annotations import Probe, Tuning
from controllers.injection.pod_patch import Injection, bootstrap_arguments, redirect_arguments
from controllers.injection.redirect_rules import parse_networks
from federation.cli.main import app

POD: dict[str, Any] = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "caller"},
    "spec": {"containers": [{"name": "caller", "image": "caller:1"}]},
}
NETWORKS = parse_networks(["10.96.0.0/12", "10.0.0.0/8"], "")


def inject(tmp_path: Path, *documents: dict[str, Any], options: str = "--clusterset acme") -> Result:
    file = tmp_path / "app.yaml"
    file.write_text(yaml.safe_dump_all(documents))
    return CliRunner().invoke(app, ["inject", "-f", str(file), *options.split()])


@pytest.mark.parametrize(
    "tuning",
    [
        Tuning(),
        Tuning(redirect=False),
        Tuning(exclude=NETWORKS, exclude_ports=(53, 80), probe=Probe(8080, "/healthz"), include=NETWORKS),
    ],
)
@pytest.mark.parametrize(
    "injection", [Injection("i", "acme"), Injection("i", "acme", "us-east", "us", "us-east.acme", include=NETWORKS)]
)
def test_what_containers_are_told_is_understood(injection: Injection, tuning: Tuning) -> None:
    """Their arguments are commands of this program: help is asked for after all is parsed."""
    for arguments in (bootstrap_arguments(injection, tuning), redirect_arguments(injection, tuning)):
        told = CliRunner().invoke(app, [*arguments, "--help"], env={"POD_IP": "10.0.0.1", "POD_NAMESPACE": "demo"})
        assert told.exit_code == 0, told.output


def test_pods_get_their_sidecar_and_the_rest_is_printed_as_it_is(tmp_path: Path) -> None:
    """What became of each is told on standard error; what was added can be taken away again."""
    service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"}}
    done = inject(tmp_path, service, POD)
    first, second = yaml.safe_load_all(done.stdout)
    (tmp_path / "injected.yaml").write_text(done.stdout)
    back = CliRunner().invoke(app, ["inject", "-f", str(tmp_path / "injected.yaml"), "--uninject", "-o", "json"])

    assert (done.exit_code, first) == (0, service)
    assert [one["name"] for one in second["spec"]["initContainers"]][-1] == "federation-proxy"
    assert done.stderr == "sidecar added: Pod default/caller\n"
    assert json.loads(back.stdout)["items"] == [service, POD]
    assert back.stderr == "sidecar taken away: Pod default/caller\n"


def test_a_pod_that_should_have_it_and_can_not_fails(tmp_path: Path) -> None:
    """It is printed all the same; one that wants none does not."""
    host = {**POD, "spec": {**POD["spec"], "hostNetwork": True}}
    quiet = {**POD, "metadata": {"name": "caller", "labels": {"federation-gateway.dev/inject": "false"}}}
    refused, left = inject(tmp_path, host), inject(tmp_path, quiet)

    assert (refused.exit_code, left.exit_code) == (1, 0)
    assert yaml.safe_load(refused.stdout) == host
    assert refused.stderr.startswith("no change: Pod default/caller: the pod uses its node's network")


def test_the_files_own_namespaces_count_before_the_option(tmp_path: Path) -> None:
    """Of others the option says what their label is."""
    manual = {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": "shop", "labels": {"federation-gateway.dev/injection": "manual"}},
    }
    there = {**POD, "metadata": {"name": "there", "namespace": "shop"}}
    words = [
        [line.partition(":")[0] for line in inject(tmp_path, manual, there, POD, options=options).stderr.splitlines()]
        for options in ("--clusterset acme", "--clusterset acme --namespace-injection none")
    ]
    assert words == [["no change", "sidecar added"], ["no change", "no change"]]


def test_options_make_the_sidecar(tmp_path: Path) -> None:
    """The clusterset's controllers are whom the token is for; a warning does not fail."""
    options = "--clusterset acme --image x:2 --system-namespace sys --include 10.96.0.0/12 --plain-sidecars -n demo"
    pod = {**POD, "metadata": {"name": "caller", "annotations": {"federation-gateway.dev/proxy-colour": "blue"}}}
    done = inject(tmp_path, pod, options=options)
    spec = yaml.safe_load(done.stdout)["spec"]
    steps = {one["name"]: one for one in spec["initContainers"]}

    assert done.exit_code == 0
    assert "federation-controller.sys.svc:15012" in steps["federation-bootstrap"]["args"]
    assert steps["federation-init"]["args"][-2:] == ["--include", "10.96.0.0/12"]
    assert [(one["name"], one["image"]) for one in spec["containers"]][1] == ("federation-proxy", "x:2")
    assert done.stderr.splitlines()[1].startswith(
        "  warning: annotation federation-gateway.dev/proxy-colour is unknown"
    )


def test_standard_input_is_a_file_too() -> None:
    """And manifests without pods are told of."""
    done = CliRunner().invoke(app, ["inject", "-f", "-", "--clusterset", "acme"], input="{kind: Service}")
    assert (done.stdout, done.stderr) == ("kind: Service\n", "no pods in the manifests\n")
