"""The metrics: their names, labels and values, as Prometheus reads them."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from prometheus_client import generate_latest

from controllers.dns.server import DnsCounters
from controllers.http.metrics import Numbers, registry

TYPE = "type.googleapis.com/envoy.config.cluster.v3.Cluster"
NUMBERS = Numbers(
    ready=True,
    exchange_connected=False,
    roster_serial=7,
    roster_rejected={"BadSignature": 2},
    members=3,
    exported=3,
    imported=5,
    passes=7,
    failed_passes=1,
    publications=2,
    peers_fresh={"west": True, "north": False},
    peers_up={"west": True, "north": False},
    peers_answer_seconds={"west": 0.025},
    peers_failed_probes={"west": 3},
    peers_state={"west": "Live", "north": "Dead"},
    peers_trusted={"west": True},
    rejected={("west", "TooLarge"): 4},
    xds_streams=2,
    xds_responses={TYPE: 8},
    xds_resources={TYPE: 80},
    xds_nacks={TYPE: 1},
    xds_refused=6,
    xds_denied_secrets=9,
    bundle_sequence=11,
    ca_seconds_left={"signing": 3600.5, "old": 20},
    peers_bundle_seconds_left={"west": 7200.5},
    peers_acknowledged={"north": -1, "west": 11},
    svid_seconds_left=1800.5,
)


def lines(numbers: Numbers) -> list[str]:
    text = generate_latest(registry(lambda: numbers)).decode()
    return sorted(line for line in text.splitlines() if not line.startswith("#"))


def test_every_number_has_its_metric() -> None:
    """Counters end in _total, labels are peer, reason and type, and a type is named shortly."""
    assert lines(NUMBERS) == [
        'federation_ca_seconds_left{state="old"} 20.0',
        'federation_ca_seconds_left{state="signing"} 3600.5',
        "federation_exchange_connected 0.0",
        "federation_exported_services 3.0",
        "federation_failed_passes_total 1.0",
        "federation_imported_services 5.0",
        "federation_members 3.0",
        "federation_passes_total 7.0",
        'federation_peer_acknowledged_sequence{peer="north"} -1.0',
        'federation_peer_acknowledged_sequence{peer="west"} 11.0',
        'federation_peer_bundle_seconds_left{peer="west"} 7200.5',
        'federation_peer_fresh{peer="north"} 0.0',
        'federation_peer_fresh{peer="west"} 1.0',
        'federation_peer_gateway_up{peer="north"} 0.0',
        'federation_peer_gateway_up{peer="west"} 1.0',
        'federation_peer_probe_seconds{peer="west"} 0.025',
        'federation_peer_probes_failed_total{peer="west"} 3.0',
        'federation_peer_state{peer="north",state="Dead"} 1.0',
        'federation_peer_state{peer="west",state="Live"} 1.0',
        'federation_peer_trusted{peer="west"} 1.0',
        "federation_publications_total 2.0",
        "federation_ready 1.0",
        'federation_records_rejected_total{peer="west",reason="TooLarge"} 4.0',
        'federation_roster_rejected_total{reason="BadSignature"} 2.0',
        "federation_roster_serial 7.0",
        "federation_svid_seconds_left 1800.5",
        "federation_trust_bundle_sequence 11.0",
        "federation_xds_auth_refused_total 6.0",
        "federation_xds_denied_secrets_total 9.0",
        'federation_xds_nacks_total{type="Cluster"} 1.0',
        'federation_xds_resources_sent_total{type="Cluster"} 80.0',
        'federation_xds_responses_sent_total{type="Cluster"} 8.0',
        "federation_xds_streams 2.0",
    ]


def test_a_certificate_that_is_not_there_has_no_age() -> None:
    """Without a node with a certificate the metric is absent, not zero: zero would be an alarm."""
    names = {line.split()[0] for line in lines(replace(NUMBERS, svid_seconds_left=None))}
    assert names == {line.split()[0] for line in lines(NUMBERS)} - {"federation_svid_seconds_left"}


def test_what_the_dns_server_did_is_told_where_there_is_one() -> None:
    """Its counters by type, response code and reason."""
    counters = DnsCounters(Counter({("A", "NOERROR"): 5, ("SRV", "NXDOMAIN"): 2}), Counter(flood=3), 4, 0.25, 1, 6)
    assert [line for line in lines(replace(NUMBERS, dns=counters)) if line not in lines(NUMBERS)] == [
        "federation_dns_answer_seconds_total 0.25",
        'federation_dns_dropped_total{reason="flood"} 3.0',
        'federation_dns_queries_total{rcode="NOERROR",type="A"} 5.0',
        'federation_dns_queries_total{rcode="NXDOMAIN",type="SRV"} 2.0',
        "federation_dns_slow_answers_total 1.0",
        "federation_dns_tcp_connections 6.0",
        "federation_dns_truncated_total 4.0",
    ]


def test_each_reading_asks_anew() -> None:
    """A registry keeps nothing: each reading is of the moment, and two controllers in one process don't meet."""
    held = [NUMBERS]
    found = registry(lambda: held[0])
    held[0] = replace(NUMBERS, passes=8)
    assert found.get_sample_value("federation_passes_total") == 8.0
    assert registry(lambda: NUMBERS).get_sample_value("federation_passes_total") == 7.0
