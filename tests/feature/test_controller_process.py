"""The processes as a user runs them, in the foreground, and the commands that ask them."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from support import h2c
from support.admitted import Admitted, found_clusterset
from support.clusterset import (
    ADMIN_PORT,
    CLUSTERSET,
    Cluster,
    ClusterSet,
    Pod,
    Sidecar,
    all_ready,
    cli,
    get,
    identity,
    port_name,
)
from support.processes import Child, eventually

pytestmark = [pytest.mark.envoy, pytest.mark.timeout(120)]

PORT = 8080


@dataclass(frozen=True)
class Sites:
    east: Cluster
    west: Cluster
    """Serves xDS over TCP, with TLS."""
    server: Pod
    caller: Sidecar


@pytest.fixture(scope="module")
def sites(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sites]:
    """East calls, west serves."""
    with ClusterSet(tmp_path_factory.mktemp("processes")) as clusters:
        east, west = clusters.add("east", "eu"), clusters.add("west", "us")
        west.settings["xds"] = {"listen": f"{west.host(1)}:15012"}
        clusters.introduce()
        server = west.pod(11, f"http:{PORT}")
        west.export("echo", {"http": PORT}, [server.sidecar.address])
        here = east.host(21)
        outbound = [{"service": "demo/echo", "port": PORT, "listen": f"{here}:{PORT}"}]
        caller = east.sidecar("caller", here, "caller", outbound=outbound)
        for child in (east.controller, west.controller, east.gateway, west.gateway):
            child.start()
        server.start()
        caller.start()
        all_ready(east, west)
        eventually(server.sidecar.listening, "the server's sidecar listens")
        eventually(lambda: get(here, PORT)[0] == 200, "the caller reaches the service")
        yield Sites(east, west, server, caller)


def weights(sites: Sites) -> list[int]:
    """Weight of each host of the service in the caller's Envoy: one is a shard of west's endpoints."""
    for entry in sites.caller.admin.read("/clusters?format=json")["cluster_statuses"]:
        if entry["name"] == port_name("echo", PORT):
            return [host["weight"] for host in entry.get("host_statuses", ())]
    return []


def run(cluster: Cluster, command: str, *arguments: str) -> tuple[int, str]:
    """Exit code and output of a command about a cluster."""
    done = cli(command, "--dir", str(cluster.directory), *arguments)
    return done.returncode, done.stdout + done.stderr


def test_xds_over_tcp_is_encrypted_and_carries_the_sidecars_certificate(sites: Sites) -> None:
    """West's Envoys reach their controller over TLS: they have certificates, and plaintext gets no answer there."""
    nodes = {node["identity"] for node in sites.west.status()["nodes"]}
    assert nodes == {identity("west", "echo"), "gateway"}
    assert sites.server.sidecar.admin.counter(r"cluster\.xds\.ssl\.handshake") > 0
    host, _, port = sites.west.settings["xds"]["listen"].partition(":")
    with socket.create_connection((host, int(port)), 10) as plain:
        plain.sendall(h2c.PREFACE + h2c.frame(h2c.SETTINGS, 0, 0))
        with contextlib.suppress(ConnectionResetError):
            # An alert of TLS at most (content type 21), never a frame of HTTP/2.
            assert plain.recv(1024)[:1] in {b"", b"\x15"}


def test_an_endpoint_edited_in_one_cluster_is_used_by_a_sidecar_of_another(sites: Sites) -> None:
    """Each ready endpoint behind west's gateway is a shard in east, and weighs as one; without any, none is left."""
    (one,) = weights(sites)
    pod = sites.server.sidecar.address
    sites.west.export("echo", {"http": PORT}, [pod, sites.west.host(12), sites.west.host(13)])
    eventually(lambda: weights(sites) == [one] * 3, "three endpoints weigh three")
    sites.west.export("echo", {"http": PORT}, [])
    eventually(lambda: weights(sites) == [], "no endpoint, no traffic")
    sites.west.export("echo", {"http": PORT}, [pod])
    eventually(lambda: get(sites.caller.address, PORT)[0] == 200, "the service is back")


def test_a_bad_manifest_is_reported_and_harms_no_other_object(sites: Sites) -> None:
    """A broken port and a half-written file are named with file and field; what was good keeps serving."""
    bad = sites.west.directory / "bad.yaml"
    bad.write_text(
        yaml.safe_dump(
            {
                "apiVersion": "v1",
                "kind": "Service",
                "metadata": {"name": "bad", "namespace": "demo"},
                "spec": {"ports": [{"name": "http", "port": 99999}]},
            }
        )
    )
    torn = sites.west.directory / "torn.yaml"
    torn.write_text('kind: "Serv')
    eventually(lambda: len(sites.west.status()["problems"]) == 2, "both are reported")
    code, text = run(sites.west, "status")
    assert code == 0
    assert "bad.yaml" in text
    assert "spec.ports[0].port" in text
    assert "torn.yaml" in text
    assert get(sites.caller.address, PORT)[0] == 200
    bad.unlink()
    torn.unlink()
    eventually(lambda: sites.west.status()["problems"] == [], "nothing is wrong any more")


def test_what_an_envoy_refuses_is_shown_in_its_own_words(sites: Sites) -> None:
    """A local port that another program has can't be bound: the sidecar says so, and its other listeners serve."""
    with socket.create_server((sites.east.host(22), PORT)) as taken:
        host, port = taken.getsockname()
        free = PORT + 1
        outbound = [
            {"service": "demo/echo", "port": PORT, "listen": f"{host}:{port}"},
            {"service": "demo/echo", "port": PORT, "listen": f"{host}:{free}"},
        ]
        sidecar = sites.east.sidecar("unlucky", host, "caller", outbound=outbound)
        sidecar.start()

        def nacks() -> list[dict[str, str]]:
            return [nack for node in sites.east.status()["nodes"] for nack in node["nacks"]]

        eventually(lambda: len(nacks()) == 1, "the refusal is known")
        refusal = nacks()[0]
        assert (refusal["type"], refusal["name"]) == ("Listener", f"local|{host}|{port}")
        assert "Address already in use" in refusal["error"]
        assert "Address already in use" in run(sites.east, "status")[1]
        assert sites.east.metric("xds_nacks_total", type="Listener") > 0
        eventually(lambda: get(host, free)[0] == 200, "the good listener serves")
        assert sidecar.child.terminate() == 0


def test_a_killed_envoy_is_started_again(sites: Sites) -> None:
    """The sidecar's process outlives its Envoy, and the new one serves."""
    child = sites.caller.child
    first = child.child("envoy")
    os.kill(first, signal.SIGKILL)
    eventually(lambda: child.child("envoy") != first, "there is another Envoy")
    eventually(lambda: get(sites.caller.address, PORT)[0] == 200, "it serves")


def test_health_readiness_and_metrics_are_served(sites: Sites) -> None:
    """Read-only, over HTTP, for anyone who may reach the port; the owner's questions are not answered there."""
    assert sites.east.public("/healthz") == (200, "ok\n")
    assert sites.east.public("/readyz")[0] == 200
    assert sites.east.metric("ready") == 1
    assert sites.east.metric("peer_trusted", peer="west") == 1
    assert sites.east.metric("imported_services") == 1
    assert sites.east.public("/v1/status")[0] == 404


def test_a_controller_that_knows_nothing_of_its_peers_is_not_ready_and_says_why(sites: Sites, tmp_path: Path) -> None:
    """Where the exchange was never reached, nothing is known of the peers: not ready, and status exits with 1."""
    lonely = Cluster("lonely", "eu", sites.east.host(1).rpartition(".")[0], tmp_path / "lonely", {})
    lonely.settings |= {
        "gateway": {"listen": f"{sites.east.host(31)}:15443", "admin": f"{sites.east.host(31)}:{ADMIN_PORT}"},
        "http": {"listen": f"{sites.east.host(31)}:15014"},
        "exchange": {"url": "redis://127.0.0.1:1"},
    }
    stranger = Admitted(tmp_path / "west", "west", sites.west.trust_domain, sites.west.key)
    found_clusterset(
        CLUSTERSET,
        [Admitted(lonely.directory, "lonely", lonely.trust_domain, lonely.key), stranger],
    )
    lonely.write_settings()
    lonely.controller.start()
    try:
        eventually(lambda: lonely.public("/healthz")[0] == 200, "the process turns")
        eventually(lambda: lonely.status()["sourceSynced"], "the manifests are read")
        status, reason = lonely.public("/readyz")
        assert (status, "exchange" in reason) == (503, True)
        assert run(lonely, "status")[0] == 1
        assert lonely.controller.terminate() == 0
    finally:
        lonely.controller.end()


def test_status_and_services_are_printed_for_people_and_for_programs(sites: Sites) -> None:
    """Tables by default, JSON and YAML on request, of the same facts."""
    code, text = run(sites.east, "status")
    assert code == 0
    assert "west" in text
    assert "Live" in text
    code, text = run(sites.east, "status", "-o", "json")
    assert (code, json.loads(text)["peers"][0]["state"]) == (0, "Live")
    code, text = run(sites.east, "services")
    assert (code, "west(1)" in text) == (0, True)
    code, text = run(sites.east, "services", "-o", "yaml")
    assert (code, yaml.safe_load(text)[0]["host"]) == (0, "echo.demo.svc.clusterset.local")


def test_translate_prints_records_imports_and_xds_without_a_controller(sites: Sites) -> None:
    """Offline, from the directories alone."""
    here, there = str(sites.east.directory), str(sites.west.directory)
    records = cli("translate", "-f", there, "--show", "records", "-o", "json")
    assert (records.returncode, "export/demo/echo" in json.loads(records.stdout)) == (0, True)
    imports = cli("translate", "-f", here, "-f", there, "-o", "json")
    assert [service["key"]["name"] for service in json.loads(imports.stdout)] == ["echo"]
    node = str(sites.east.directory / "sidecar-caller.yaml")
    resources = cli("translate", "-f", here, "-f", there, "--show", "xds", "--node", node, "-o", "json")
    clusters = {cluster["name"] for cluster in json.loads(resources.stdout)["Cluster"]}
    assert (resources.returncode, port_name("echo", PORT) in clusters) == (0, True)


def test_translate_names_what_it_does_not_use_and_fails(tmp_path: Path, sites: Sites) -> None:
    """A continuous integration that runs it over manifests sees the mistake."""
    (tmp_path / "cluster.yaml").write_text((sites.west.directory / "cluster.yaml").read_text())
    (tmp_path / "bad.yaml").write_text("apiVersion: v1\nkind: Servise\nmetadata: {name: x, namespace: demo}\n")
    done = cli("translate", "-f", str(tmp_path))
    assert (done.returncode, "bad.yaml" in done.stderr, "Servise" in done.stderr) == (1, True, True)


def test_a_node_token_is_made_private_and_never_replaced(sites: Sites) -> None:
    """Readable by its owner alone; a second try is refused and changes nothing."""
    token = sites.east.directory / "tokens" / "demo.fresh.token"
    arguments = ("credentials", "node-token", "demo/fresh", "--dir", str(sites.east.directory))
    made = cli(*arguments)
    assert (made.returncode, token.stat().st_mode & 0o777) == (0, 0o600), made.stderr
    content = token.read_text()
    assert content.strip() not in made.stdout
    again = cli(*arguments)
    assert (again.returncode == 0, "already" in again.stderr, token.read_text()) == (False, True, content)


def test_the_ca_rotates_on_request_and_calls_go_on(sites: Sites) -> None:
    """`federation rotate ca` publishes a next CA at once, and no call fails of it."""
    before = sites.west.status()["authority"]["sequence"]
    assert run_rotation(sites.west) == 0
    eventually(lambda: sites.west.status()["authority"]["sequence"] > before, "the bundle has grown")
    assert sites.west.status()["authority"]["authorities"] == 2
    assert get(sites.caller.address, PORT)[0] == 200


def run_rotation(cluster: Cluster) -> int:
    return cli("rotate", "ca", "--dir", str(cluster.directory)).returncode


def test_asking_where_no_controller_runs_fails_with_a_hint(tmp_path: Path, sites: Sites) -> None:
    """Exit code 3 where nobody answers, 2 where there are no settings; both say what to do."""
    (tmp_path / "cluster.yaml").write_text((sites.west.directory / "cluster.yaml").read_text())
    for arguments, code in ((("--dir", str(tmp_path)), 3), (("--dir", str(tmp_path / "nowhere")), 2)):
        done = cli("status", *arguments)
        assert (done.returncode, "hint: " in done.stderr) == (code, True), done.stderr


def test_sigterm_ends_every_process_cleanly(sites: Sites) -> None:
    """Controller, gateway and sidecar end with 0 and leave no child; the last test here, for it stops them."""
    east = sites.east
    eventually(lambda: sites.caller.child.child("envoy"), "the sidecar has an Envoy")
    children: list[Child] = [sites.caller.child, east.gateway, east.controller]
    assert [(child.name, child.terminate()) for child in children] == [(child.name, 0) for child in children]
    for child in children:
        eventually(child.group_is_empty, f"nothing is left of {child.name}", seconds=5)
    assert not (east.directory / "state" / "xds.sock").exists()
