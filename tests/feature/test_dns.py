"""The DNS rows of the MCS API's conformance suite, with its objects, asked over sockets in every cluster of two.

``c0`` exports; what it states reaches ``c1`` as its records do. O6 (``cluster.local`` is as it was) is that we refuse
it: who serves it goes on. Rows O10 to O13 are about traffic, which DNS only leads to.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from ipaddress import IPv4Address

import dns.asyncquery
import dns.message
import dns.rcode

from controllers.dns.server import DnsServer
from controllers.dns.zone import Zone
from controllers.projection import meet, project_service
from federation.exchange.base import ExchangeSnapshot, MemberSnapshot
from federation.model.addresses import HostPort
from federation.model.locality import Site
from federation.model.names import GATEWAY_KEY, ClusterId, RecordKey
from federation.model.records import Record
from federation.model.state import Endpoint, ServiceState
from support.builders import endpoint, endpoint_port, endpoint_slice, gateway_record, key, port, service, service_export
from support.ports import free_port

HELLO = key("mcs-conformance/hello")
PORTS = [port(42, "tcp"), port(42, "udp", "UDP")]
C0, C1 = ClusterId("c0"), ClusterId("c1")
NOW = datetime(2026, 1, 1, tzinfo=UTC)
PODS = [endpoint("10.0.0.11"), endpoint("10.0.0.12"), endpoint("10.0.0.13", ready=False)]
STATEFUL = [endpoint("10.0.0.11", hostname="hello-0"), endpoint("10.0.0.12", hostname="hello-1")]


@dataclass(frozen=True)
class Resolver:
    """The DNS of one cluster."""

    cluster: ClusterId
    vip: IPv4Address
    listen: HostPort

    async def ask(self, name: str, kind: str) -> dns.message.Message:
        query = dns.message.make_query(name, kind, use_edns=0)
        response, _ = await dns.asyncquery.udp_with_fallback(query, self.listen.host, 10, self.listen.port)
        return response

    async def records(self, name: str, kind: str) -> list[str]:
        return [str(record) for rrset in (await self.ask(name, kind)).answer for record in rrset]


def said(cluster: ClusterId, state: ServiceState) -> dict[RecordKey, Record]:
    """What a cluster publishes of the service, and its gateway."""
    around = meet(Site(cluster, "", cluster), f"{cluster}.test", 15006, ExchangeSnapshot(), ())
    records = project_service(HELLO, state, ExchangeSnapshot(), around, NOW).records
    return {**records, GATEWAY_KEY: gateway_record("192.0.2.1")}


@asynccontextmanager
async def resolvers(*, headless: bool, pods: Iterable[Endpoint], listening: int = 42) -> AsyncIterator[list[Resolver]]:
    """c0 exports ``hello``; both clusters serve the clusterset's names, each with a clusterset IP of its own."""
    state = ServiceState(
        service(HELLO, headless=headless, ports=PORTS),
        service_export(HELLO),
        (
            endpoint_slice(
                *pods, of=HELLO, ports=[endpoint_port(listening, "tcp"), endpoint_port(listening, "udp", "UDP")]
            ),
        ),
    )
    published = said(C0, state)
    async with AsyncExitStack() as stack:
        found = []
        for number, (cluster, local) in enumerate([(C0, state), (C1, ServiceState())]):
            c0 = MemberSnapshot(C0, synced=True, fresh=True, records=published)
            peers = ExchangeSnapshot({} if cluster == C0 else {C0: c0})
            around = meet(Site(cluster, "", cluster), f"{cluster}.test", 15006, peers, [C0])
            zone, vip = Zone(), IPv4Address("240.96.0.1") + number
            zone.update([HELLO], {HELLO: project_service(HELLO, local, peers, around, NOW)}, {HELLO: vip}, 1)
            host = f"127.0.2.{number + 1}"
            listen = HostPort(host, free_port(host))
            server = DnsServer(listen, 5, partial(getattr, zone, "view"), asyncio.get_running_loop().time)
            await stack.enter_async_context(server.serving())
            found.append(Resolver(cluster, vip, listen))
        yield found


async def test_o4_a_lookup_finds_the_clusters_own_clusterset_ip() -> None:
    """A/AAAA of ``<svc>.<ns>.svc.<domain>.`` contains each IP of that cluster's import."""
    async with resolvers(headless=False, pods=PODS) as clusters:
        for one in clusters:
            assert await one.records(f"{HELLO.host}.", "A") == [str(one.vip)]
            assert await one.records(f"{HELLO.host}.", "AAAA") == []


async def test_o5_the_service_has_exactly_one_srv_record() -> None:
    """Port 42 of TCP and of UDP lead to the same target: one record."""
    async with resolvers(headless=False, pods=PODS) as clusters:
        assert [await one.records(f"{HELLO.host}.", "SRV") for one in clusters] == [[f"0 1 42 {HELLO.host}."]] * 2


async def test_o6_cluster_local_is_not_ours() -> None:
    """Refused, so that no resolver takes our word for a name of the cluster's own."""
    async with resolvers(headless=False, pods=PODS) as clusters:
        name = f"{HELLO.name}.{HELLO.namespace}.svc.cluster.local."
        assert [(await one.ask(name, "A")).rcode() for one in clusters] == [dns.rcode.REFUSED] * 2


async def test_o7_a_headless_service_has_exactly_the_ready_pods() -> None:
    """A/AAAA in every cluster are c0's real pod IPs."""
    async with resolvers(headless=True, pods=PODS) as clusters:
        found = [sorted(await one.records(f"{HELLO.host}.", "A")) for one in clusters]
        assert found == [["10.0.0.11", "10.0.0.12"]] * 2


async def test_o8_each_pod_of_a_stateful_set_has_its_name() -> None:
    """``<hostname>.<clusterid>.<svc>.<ns>.svc.<domain>.`` resolves to that endpoint's addresses."""
    async with resolvers(headless=True, pods=STATEFUL) as clusters:
        for one in clusters:
            found = [await one.records(f"{pod.hostname}.{C0}.{HELLO.host}.", "A") for pod in STATEFUL]
            assert found == [["10.0.0.11"], ["10.0.0.12"]]


async def test_o9_a_headless_service_has_one_srv_record_for_each_endpoint() -> None:
    """Targets begin with the host name, or with the address in dashes; the port is 42."""
    for pods, hosts in ((STATEFUL, ["hello-0", "hello-1"]), (PODS, ["10-0-0-11", "10-0-0-12"])):
        async with resolvers(headless=True, pods=pods) as clusters:
            for one in clusters:
                found = sorted(record.split() for record in await one.records(f"{HELLO.host}.", "SRV"))
                assert found == [["0", "1", "42", f"{host}.{C0}.{HELLO.host}."] for host in hosts]


async def test_srv_records_of_a_headless_service_have_the_ports_of_the_endpoints() -> None:
    """Where ``targetPort`` is another port than the Service's, that is where whoever connects finds the endpoint."""
    async with resolvers(headless=True, pods=STATEFUL, listening=8042) as clusters:
        for one in clusters:
            found = sorted(record.split()[2:] for record in await one.records(f"_udp._udp.{HELLO.host}.", "SRV"))
            assert found == [["8042", f"{pod.hostname}.{C0}.{HELLO.host}."] for pod in STATEFUL]
