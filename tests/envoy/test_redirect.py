"""Transparent redirect: a caller that knows nothing of a mesh, in a network namespace like a pod's.

Two namespaces joined by a veth pair are the networks of two clusters; no address outside them is touched. The caller's
connections are redirected to its sidecar by `federation redirect`, the sidecar's own are not: caller and sidecar are
different users. The controllers and the Redis stay outside: their Unix sockets are reached from every namespace.
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

from federation.exchange.server import find_redis_server
from support.clusterset import Cluster, ClusterSet, Pod, Sidecar, all_ready, app_command
from support.namespaces import Namespace, run, skip_without_namespaces
from support.processes import Child, eventually, federation_command

pytestmark = [pytest.mark.envoy, pytest.mark.netns, pytest.mark.timeout(120)]

HTTP, TCP, PLAIN = 8080, 9000, 8090
REDIRECT_PORT = 15001
CALLER_UID = 65534
PROXY_UID = 0
"""Sidecars run as whoever runs the tests."""
REDIRECT = federation_command("redirect", "--uid", str(PROXY_UID), "--port", str(REDIRECT_PORT))
EAST_HOST, WEST_HOST = "10.201.7.1", "10.201.7.2"

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
    caller: Sidecar
    server: Pod

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


def namespaces(stack: ExitStack) -> tuple[Namespace, Namespace]:
    """The networks of east and west, gone at the end; skips where they can't be had."""
    skip_without_namespaces()
    suffix = os.getpid() % 100_000
    made = Namespace(f"fge{suffix}", EAST_HOST), Namespace(f"fgw{suffix}", WEST_HOST)
    try:
        for namespace in made:
            run("ip", "netns", "add", namespace.name)
            stack.callback(run, "ip", "netns", "del", namespace.name)
        inside = f"fgv{suffix}"
        run(
            "ip",
            "-n",
            made[0].name,
            "link",
            "add",
            inside,
            "type",
            "veth",
            "peer",
            "name",
            inside,
            "netns",
            made[1].name,
        )
        for namespace, other in zip(made, reversed(made), strict=True):
            namespace.run("ip", "link", "set", "lo", "up")
            namespace.run("ip", "address", "add", f"{namespace.host}/24", "dev", inside)
            namespace.run("ip", "link", "set", inside, "up")
            # As in a pod: what is nobody's neighbour goes to a router, so that a clusterset IP can be connected to.
            namespace.run("ip", "route", "add", "default", "via", other.host)
        made[0].run(*REDIRECT)
    except OSError as error:
        pytest.skip(f"no network namespaces with iptables here: {error}")
    return made


@pytest.fixture(scope="module")
def sites(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sites]:
    """East's caller in one namespace, west's gateway and pod in the other."""
    directory = tmp_path_factory.mktemp("redirect")
    with ExitStack() as stack:
        east_network, west_network = namespaces(stack)
        clusters = stack.enter_context(ClusterSet(directory))
        socket_path = directory / "exchange.sock"
        stack.callback((exchange := _redis_on(socket_path)).end)
        exchange.start()
        eventually(socket_path.exists, "the exchange is up")
        settings = {"exchange": {"url": f"unix://{socket_path}"}}
        east = clusters.add("east", "eu", prefix=east_network.prefix, **settings)
        east.settings["dns"] = {"listen": f"{east.host(1)}:15053"}
        west = clusters.add("west", "us", prefix=west_network.prefix, **settings)
        west.settings["gateway"] = {"listen": f"{WEST_HOST}:15443", "admin": "127.0.0.1:15000"}
        clusters.introduce()
        server = west.pod_at(WEST_HOST, "west", f"http:{HTTP}", f"tcp:{TCP}", admin="127.0.0.1:15001")
        west.export("echo", {"http": HTTP, "tcp": TCP}, [WEST_HOST])
        plain = Child(
            "plain", [*west_network.prefix, *app_command("plain", WEST_HOST, f"http:{PLAIN}")], directory / "plain.log"
        )
        stack.callback(plain.end)
        caller = east.sidecar("caller", EAST_HOST, "caller", admin="127.0.0.1:15000", redirectPort=REDIRECT_PORT)
        for child in (east.controller, west.controller, west.gateway, plain):
            child.start()
        server.start()
        caller.start()
        all_ready(east, west)
        sites = Sites(east, west, east_network, west_network, caller, server)
        eventually(lambda: sites.get(vip(east), HTTP), "the caller reaches the clusterset IP")
        yield sites


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
    seen = sites.get(WEST_HOST, PLAIN, "/elsewhere")
    assert (seen["app"], seen["path"]) == ("plain", "/elsewhere")
    assert "x-forwarded-client-cert" not in str(seen["headers"])


def rules_of(network: Namespace) -> list[str]:
    """The rules of table nat, without counters and comments."""
    lines = network.run("iptables-save", "-t", "nat").splitlines()
    return [line for line in lines if line.startswith("-A")]


@pytest.fixture
def spare() -> Iterator[Namespace]:
    """A network namespace with nothing in it."""
    skip_without_namespaces()
    network = Namespace(f"fgs{os.getpid() % 100_000}", "")
    with ExitStack() as stack:
        try:
            run("ip", "netns", "add", network.name)
            stack.callback(run, "ip", "netns", "del", network.name)
            rules_of(network)
        except OSError as error:
            pytest.skip(f"no network namespaces with iptables here: {error}")
        yield network


def test_redirecting_again_changes_nothing_and_undoing_leaves_nothing(spare: Namespace) -> None:
    """A restarted init step writes the same rules; rules of others stay, whatever is done."""
    network = spare
    network.run("iptables", "-t", "nat", "-A", "OUTPUT", "-p", "udp", "-j", "RETURN")
    others = rules_of(network)
    network.run(*REDIRECT)
    once = rules_of(network)
    network.run(*REDIRECT)
    twice = rules_of(network)
    network.run(*federation_command("redirect", "--undo"))

    assert len(once) > len(others)
    assert twice == once
    assert rules_of(network) == others


def test_the_sidecars_own_port_leads_nowhere(sites: Sites) -> None:
    """Who connects to the redirect port itself is cut off: passed on, the connection would come back for ever."""
    client = (sys.executable, "-c", _SPEAK, str(CALLER_UID), EAST_HOST, str(REDIRECT_PORT), "GET / HTTP/1.1\r\n\r\n")
    assert sites.west_network.run(*client) == ""
