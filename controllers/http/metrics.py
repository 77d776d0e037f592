"""Prometheus metrics: plain numbers of the running parts, read when somebody asks. All names are here."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from controllers.dns.server import DnsCounters


@dataclass(frozen=True, slots=True)
class Numbers:
    """What the metrics are made of, at one moment."""

    ready: bool
    exchange_connected: bool
    roster_serial: int
    roster_rejected: Mapping[str, int]
    """By reason."""
    members: int
    exported: int
    imported: int
    passes: int
    failed_passes: int
    publications: int
    peers_fresh: Mapping[str, bool]
    peers_up: Mapping[str, bool]
    """Of those whose gateways were probed."""
    peers_answer_seconds: Mapping[str, float]
    """Of those that answer."""
    peers_failed_probes: Mapping[str, int]
    peers_state: Mapping[str, str]
    peers_trusted: Mapping[str, bool]
    rejected: Mapping[tuple[str, str], int]
    """By peer and reason."""
    xds_streams: int
    xds_responses: Mapping[str, int]
    """By type, as are the next two."""
    xds_resources: Mapping[str, int]
    xds_nacks: Mapping[str, int]
    xds_refused: int
    xds_denied_secrets: int
    bundle_sequence: int
    ca_seconds_left: Mapping[str, float]
    """Of the own CAs, by state; of several in one state, the one that ends first."""
    peers_bundle_seconds_left: Mapping[str, float]
    """Of those with an accepted bundle: until its last authority ends."""
    peers_acknowledged: Mapping[str, int]
    """Of those that say so: the sequence of the own bundle that they verify by, -1 for none."""
    svid_seconds_left: float | None
    """Of the connected node whose certificate ends first; None where no node has one."""
    dns: DnsCounters | None = None
    """None where there is no DNS server."""


class ControllerCollector(Collector):
    """Turns Numbers into metric families. No pod name and no address is ever a label."""

    def __init__(self, read: Callable[[], Numbers]) -> None:
        self._read = read

    def collect(self) -> Iterator[Metric]:
        now = self._read()
        yield _gauge("ready", "1 once own source and every peer are known and nodes are answered", now.ready)
        yield _gauge("exchange_connected", "1 while the exchange is heard", now.exchange_connected)
        yield _gauge("members", "Members of the clusterset by the roster, this cluster among them", now.members)
        yield _gauge("roster_serial", "Serial number of the roster that is believed", now.roster_serial)
        yield _counted("roster_rejected", "Rosters in the exchange that were refused", "reason", now.roster_rejected)
        yield _gauge("exported_services", "Services of this cluster that are exported", now.exported)
        yield _gauge("imported_services", "Services of the clusterset that are known here", now.imported)
        yield _counter("passes", "Passes of the control loop", now.passes)
        yield _counter("failed_passes", "Passes that ended in an error of ours", now.failed_passes)
        yield _counter("publications", "Times that everything was published", now.publications)
        yield _by("peer_fresh", "1 while the peer renews its lease", "peer", now.peers_fresh)
        yield _by("peer_gateway_up", "1 while a gateway of the peer answers this cluster", "peer", now.peers_up)
        yield _by(
            "peer_probe_seconds",
            "Time of the last answer of the peer's quickest gateway, two round trips",
            "peer",
            now.peers_answer_seconds,
        )
        yield _counted(
            "peer_probes_failed", "Probes of the peer's gateways without an answer", "peer", now.peers_failed_probes
        )
        state = GaugeMetricFamily(
            "federation_peer_state", "1 for the state that the peer is in for this cluster", labels=["peer", "state"]
        )
        for peer, word in sorted(now.peers_state.items()):
            state.add_metric([peer, word], 1)
        yield state
        yield _by("peer_trusted", "1 while the peer's bundle is accepted", "peer", now.peers_trusted)
        rejected = CounterMetricFamily(
            "federation_records_rejected", "Statements of peers that were refused", labels=["peer", "reason"]
        )
        for (peer, reason), count in sorted(now.rejected.items()):
            rejected.add_metric([peer, reason], count)
        yield rejected
        yield _gauge("xds_streams", "Connected xDS streams", now.xds_streams)
        yield _counted("xds_responses_sent", "xDS responses sent", "type", now.xds_responses)
        yield _counted("xds_resources_sent", "xDS resources sent", "type", now.xds_resources)
        yield _counted("xds_nacks", "xDS responses that an Envoy refused", "type", now.xds_nacks)
        yield _counter("xds_auth_refused", "Nodes refused for want of a valid token", now.xds_refused)
        yield _counter(
            "xds_denied_secrets", "Secrets asked for by a node that may not have them", now.xds_denied_secrets
        )
        yield _gauge("trust_bundle_sequence", "Sequence number of the own trust bundle", now.bundle_sequence)
        yield _by("ca_seconds_left", "Life left of the own CA in that state", "state", now.ca_seconds_left)
        yield _by(
            "peer_bundle_seconds_left",
            "Life left of the last authority in the peer's bundle",
            "peer",
            now.peers_bundle_seconds_left,
        )
        yield _by(
            "peer_acknowledged_sequence",
            "Sequence number of the own trust bundle that the peer verifies by",
            "peer",
            now.peers_acknowledged,
        )
        if now.svid_seconds_left is not None:
            yield _gauge("svid_seconds_left", "Life left of the certificate that ends first", now.svid_seconds_left)
        if now.dns is not None:
            yield from _dns(now.dns)


def _dns(counters: DnsCounters) -> Iterator[Metric]:
    queries = CounterMetricFamily("federation_dns_queries", "DNS queries that were answered", labels=["type", "rcode"])
    for labels, count in sorted(counters.queries.items()):
        queries.add_metric(labels, count)
    yield queries
    yield _counted("dns_dropped", "DNS packets and connections that were not answered", "reason", counters.dropped)
    yield _counter("dns_truncated", "DNS answers too long for UDP, to be asked for by TCP", counters.truncated)
    yield _counter("dns_answer_seconds", "Time spent on DNS answers", counters.seconds)
    yield _counter("dns_slow_answers", "DNS answers that took more than a millisecond", counters.slow)
    yield _gauge("dns_tcp_connections", "TCP connections to the DNS server", counters.connections)


def registry(read: Callable[[], Numbers]) -> CollectorRegistry:
    """A registry of its own: nothing is global."""
    found = CollectorRegistry(auto_describe=False)
    found.register(ControllerCollector(read))
    return found


def _gauge(name: str, text: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"federation_{name}", text, value=float(value))


def _counter(name: str, text: str, value: float) -> CounterMetricFamily:
    return CounterMetricFamily(f"federation_{name}", text, value=value)


def _by(name: str, text: str, label: str, values: Mapping[str, float]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(f"federation_{name}", text, labels=[label])
    for key, value in sorted(values.items()):
        family.add_metric([key], float(value))
    return family


def _counted(name: str, text: str, label: str, values: Mapping[str, int]) -> CounterMetricFamily:
    family = CounterMetricFamily(f"federation_{name}", text, labels=[label])
    for key, value in sorted(values.items()):
        family.add_metric([key.rpartition(".")[2]], value)
    return family
