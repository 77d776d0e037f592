"""Transparent redirect: a caller that knows nothing of a mesh, in a network namespace like a pod's.

Two namespaces are the networks of two clusters. The caller is what the injection makes of a pod: its containers, with
their arguments, users and capabilities, redirect its connections and run its sidecar, which finds the controllers by
TLS. Those and the Redis stay outside of the namespaces.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import dns.message
import dns.query
import pytest

from controllers.injection.annotations import Tuning
from controllers.injection.pod_patch import Injection
from controllers.injection.policy import HEALTH_PORT
from controllers.injection.redirect_rules import REDIRECT_PORT, Redirect, parse_networks
from federation.app.redirect import Answer, remove_redirect, run_program, set_redirect
from federation.exchange.server import find_redis_server
from support.clusterset import NAMESPACE, Cluster, ClusterSet, all_ready, app_command, get
from support.injected_pod import InjectedPod
from support.namespaces import Namespace, bridged_namespaces, run, skip_without_namespaces
from support.processes import Child, eventually

pytestmark = [pytest.mark.envoy, pytest.mark.netns, pytest.mark.timeout(120)]

HTTP, TCP, PLAIN = 8080, 9000, 8090
CALLER_UID = 65534

# Speaks to a host and port and prints what comes back, as an unprivileged user: one who may not be able to read this
# Python's own files, so that everything is imported before.
_SPEAK = """
import encodings.idna, os, socket, sys
os.setuid(int(sys.argv[1]))
with socket.create_connection((sys.argv[2], int(sys.argv[3])), 10) as connection:
    connection.sendall(sys.argv[4].encode())
    if sys.argv[5:]:
        connection.shutdown(socket.SHUT_WR)
    while data := connection.recv(65536):
        sys.stdout.write(data.decode())
"""


@dataclass(frozen=True)
class Sites:
    east: Cluster
    west: Cluster
    network: Namespace
    west_network: Namespace
    caller: InjectedPod
    own: Child
    """An application in the caller's pod."""

    def speak(self, host: str, port: int, text: str, *options: str) -> str:
        """What a client in the caller's namespace is answered; with the option ``end`` it says that it has ended."""
        return self.network.run(sys.executable, "-c", _SPEAK, str(CALLER_UID), host, str(port), text, *options)

    def get(self, host: str, port: int, path: str = "/") -> dict[str, object]:
        """The JSON body of a GET."""
        request = f"GET {path} HTTP/1.1\r\nhost: echo.demo.svc.clusterset.local\r\nconnection: close\r\n\r\n"
        # The ends of lines come as text mode reads them.
        head, _, body = self.speak(host, port, request).partition("\n\n")
        if not head.startswith("HTTP/1.1 200"):
            raise ValueError(head[:200])
        # Answers that pass proxies come in chunks.
        return dict(json.loads(body[body.index("{") : body.rindex("}") + 1]))


@pytest.fixture(scope="module")
def sites(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sites]:
    """East's caller in one namespace, west's gateway and pod in the other."""
    directory = tmp_path_factory.mktemp("redirect")
    with ExitStack() as stack:
        east_network, west_network = bridged_namespaces(stack, 2)
        # As in a pod: what is nobody's neighbour goes to a router, so that a clusterset IP can be connected to.
        east_network.run("ip", "route", "add", "default", "via", west_network.host)
        here = f"{east_network.host.rpartition('.')[0]}.254"
        clusters = stack.enter_context(ClusterSet(directory))
        socket_path = directory / "exchange.sock"
        stack.callback((exchange := _redis_on(socket_path)).end)
        exchange.start()
        eventually(socket_path.exists, "the exchange is up")
        settings = {"exchange": {"url": f"unix://{socket_path}"}}
        east = clusters.add("east", "eu", prefix=east_network.prefix, **settings)
        east.settings["dns"] = {"listen": f"{east.host(1)}:15053"}
        east.settings["xds"] = {"listen": f"{here}:15012"}
        west = clusters.add("west", "us", prefix=west_network.prefix, **settings)
        west.settings["gateway"] = {"listen": f"{west_network.host}:15443", "admin": "127.0.0.1:15000"}
        clusters.introduce()
        server = west.pod_at(west_network.host, "west", f"http:{HTTP}", f"tcp:{TCP}", admin="127.0.0.1:15001")
        west.export("echo", {"http": HTTP, "tcp": TCP}, [west_network.host])
        plain, own = (
            Child(
                name,
                [*network.prefix, *app_command(name, network.host, f"http:{PLAIN}")],
                directory / f"{name}.log",
            )
            for name, network in (("plain", west_network), ("own", east_network))
        )
        caller = _caller(stack, east_network, f"{here}:15012")
        for child in (plain, own, caller.proxy):
            stack.callback(child.end)
        for child in (east.controller, west.controller, west.gateway, plain, own):
            child.start()
        server.start()
        all_ready(east, west)
        east.token(f"{NAMESPACE}.caller")
        caller.mount(east.directory / "tokens" / f"{NAMESPACE}.caller.token", east.directory / "state" / "bundle.pem")
        caller.start()
        eventually(lambda: get(east_network.host, HEALTH_PORT, "/ready")[0] == 200, "the caller's proxy is ready")
        sites = Sites(east, west, east_network, west_network, caller, own)
        eventually(lambda: sites.get(vip(east), HTTP), "the caller reaches the clusterset IP")
        yield sites


def _caller(stack: ExitStack, network: Namespace, xds: str) -> InjectedPod:
    # A token of a file is for nobody in particular.
    injection = Injection("", "", "east", "eu", "east.test", xds)
    facts = {
        "metadata.name": "caller-1",
        "metadata.namespace": NAMESPACE,
        "status.podIP": network.host,
        "spec.serviceAccountName": "caller",
        "spec.nodeName": "node-1",
        "metadata.labels['topology.kubernetes.io/zone']": "",
    }
    return InjectedPod(stack, network, injection, Tuning(), facts)


def _redis_on(path: Path) -> Child:
    program = find_redis_server(os.environ)
    command = [str(program), "--port", "0", "--unixsocket", str(path), "--save", "", "--daemonize", "no"]
    return Child("exchange", command, path.with_suffix(".log"))


def vip(cluster: Cluster) -> str:
    """The clusterset IP of the service; ValueError while it has none."""
    found = cluster.services().get("echo", {}).get("vip")
    if not found:
        raise ValueError("no clusterset IP yet")
    return str(found)


def test_http_to_a_clusterset_ip_arrives_with_the_callers_identity(sites: Sites) -> None:
    """A plain connection to the clusterset IP becomes a call by mutual TLS through west's gateway."""
    seen = sites.get(vip(sites.east), HTTP, "/transparent")
    assert (seen["app"], seen["path"]) == ("west", "/transparent")
    assert "URI=spiffe://east.test/ns/demo/sa/caller" in str(seen["headers"])


def test_tcp_to_a_clusterset_ip_arrives(sites: Sites) -> None:
    """Bytes pass both ways, the end of one direction by itself."""
    assert sites.speak(vip(sites.east), TCP, "some bytes", "end") == "some bytes|west 10"


def test_the_address_that_dns_answers_leads_to_the_service(sites: Sites) -> None:
    """A caller that looks the name up and connects, as any program does, is answered by west."""
    host, _, port = sites.east.settings["dns"]["listen"].partition(":")
    query = dns.message.make_query("echo.demo.svc.clusterset.local", "A")
    (found,) = dns.query.udp(query, host, 10, int(port)).answer[0]
    (service,) = dns.query.udp(
        dns.message.make_query("_tcp._tcp.echo.demo.svc.clusterset.local", "SRV"), host, 10, int(port)
    ).answer[0]

    assert sites.get(str(found), HTTP, "/by-name")["path"] == "/by-name"
    assert sites.speak(str(found), service.port, "some bytes", "end") == "some bytes|west 10"


def test_other_destinations_pass_through_untouched(sites: Sites) -> None:
    """What is no clusterset IP reaches where it was sent: no identity is added, nothing is changed."""
    seen = sites.get(sites.west_network.host, PLAIN, "/elsewhere")
    assert (seen["app"], seen["path"]) == ("plain", "/elsewhere")
    assert "x-forwarded-client-cert" not in str(seen["headers"])


@pytest.fixture
def spare() -> Iterator[Namespace]:
    """A network namespace with nothing in it."""
    skip_without_namespaces()
    network = Namespace(f"fgs{os.getpid() % 100_000}", "")
    with ExitStack() as stack:
        try:
            run("ip", "netns", "add", network.name)
            stack.callback(run, "ip", "netns", "del", network.name)
        except OSError as error:
            pytest.skip(f"no network namespaces here: {error}")
        yield network


@pytest.mark.parametrize("variant", ["", "-legacy"])
def test_redirecting_again_changes_nothing_and_undoing_leaves_nothing(variant: str, spare: Namespace) -> None:
    """A restarted init step writes the same rules, of both families; rules of others stay, whatever is done."""
    programs = tuple(f"{name}{variant}" for name in ("iptables", "ip6tables"))

    def only(command: tuple[str, ...], text: str) -> Answer:
        if not command[0].startswith(
            tuple(f"{program}-{half}" for program in programs for half in ("save", "restore"))
        ):
            return Answer(1, "", "not this one")
        return run_program((*spare.prefix, *command), text)

    def rules() -> list[list[str]]:
        saved = [spare.run(f"{program}-save", "-t", "nat") for program in programs]
        return [[line for line in text.splitlines() if line.startswith("-A")] for text in saved]

    redirect = Redirect(exclude=parse_networks(["10.0.0.1", "fd00::1"], ""), exclude_ports=(53, 5432))
    try:
        for program in programs:
            spare.run(program, "-t", "nat", "-A", "OUTPUT", "-p", "udp", "-j", "RETURN")
    except OSError as error:
        pytest.skip(f"no {programs[0]} here: {error}")
    others = rules()
    used = set_redirect(redirect, (4, 6), only)
    once = rules()
    set_redirect(redirect, (4, 6), only)
    twice = rules()
    remove_redirect(only)

    assert used == programs
    assert [len(after) - len(before) for before, after in zip(others, once, strict=True)] == [8, 8]
    assert twice == once
    assert rules() == others


def test_the_sidecars_own_port_leads_nowhere(sites: Sites) -> None:
    """Who connects to the redirect port itself is cut off: passed on, the connection would come back for ever."""
    words = (sites.network.host, str(REDIRECT_PORT), "GET / HTTP/1.1\r\n\r\n")
    assert sites.west_network.run(sys.executable, "-c", _SPEAK, str(CALLER_UID), *words) == ""


def test_probes_and_neighbours_find_the_application_where_it_was(sites: Sites) -> None:
    """What arrives is not redirected: the kubelet's probes, and plain calls within the cluster, need no change."""
    status, body = get(sites.network.host, PLAIN, "/probe")
    assert (status, json.loads(body)["app"]) == (200, "own")


def test_the_proxy_has_no_rights(sites: Sites) -> None:
    """As the restricted profile of pod security asks: no capability, nor a way to one."""
    assert sites.caller.capabilities() == {""}
