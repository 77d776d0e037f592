"""What a report says to a person."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import msgspec.structs
import pytest

from controllers.drain_report import GatewayStatus, TargetStatus
from controllers.policy_status import PolicyReport, PolicyTargetStatus
from controllers.status import (
    AuthorityStatus,
    DnsStatus,
    KubernetesStatus,
    MembershipStatus,
    MeshStatus,
    NackStatus,
    NodeStatus,
    PeerStatus,
    RejectionStatus,
    StatusReport,
)
from federation.cli.status_text import status_lines
from support.drain_reports import drain_report
from support.reports import status_report

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
IDENTITY = "spiffe://us-east.acme/ns/demo/sa/echo"
WELL = status_report(
    exported=2,
    imported=3,
    authority=AuthorityStatus("us-east.acme", 7, 2, NOW),
    peers=(PeerStatus("us-west", "Live", True, 3, "4-17"),),
    nodes=(NodeStatus(f"{IDENTITY} sidecar~demo~127.0.0.1", IDENTITY, NOW),),
)


def changed(**fields: object) -> StatusReport:
    return msgspec.structs.replace(WELL, **fields)


def lines(report: StatusReport, *, wide: bool = False) -> list[str]:
    """The lines without their colours."""
    return [re.sub("\x1b\\[[0-9;]*m", "", line) for line in status_lines(report, wide=wide)]


def peer(number: int, state: str = "Live", **fields: object) -> PeerStatus:
    return msgspec.structs.replace(PeerStatus(f"peer-{number:03}", state, True, 1), **fields)


def test_what_needs_attention_is_never_left_out() -> None:
    """Each warning has its line, after the tables."""
    assert lines(changed(warnings=("CA of us-east: it ends soon", "bundle 7: eu-west lacks it")))[-2:] == [
        "needs attention: CA of us-east: it ends soon",
        "needs attention: bundle 7: eu-west lacks it",
    ]


def test_all_is_well() -> None:
    """A cluster that is well fits on a screen: a summary, its peers, its Envoys."""
    assert lines(WELL) == [
        "Cluster    us-east of clusterset acme (region us): ready",
        "Exchange   connected",
        "Services   2 exported, 3 imported",
        "Trust      us-east.acme, bundle 7 (authorities: 2), next change 2026-01-02 03:04:05Z",
        "Peers      1: 1 live",
        "Envoys     1 connected",
        "",
        "PEER      STATE   TRUSTED   SERVICES   REJECTED",
        "us-west   Live    yes       3          0",
        "",
        "ENVOY                    CONNECTED SINCE        REFUSED",
        "sidecar~demo~127.0.0.1   2026-01-02 03:04:05Z   0",
    ]


def test_the_place_in_the_clusterset_is_told() -> None:
    """How many members by which roster; what was rejected, refused and is under way has its line."""
    well = MembershipStatus(serial=7, members=3, seat="us-east", authority="a1", member_key="b2")
    assert lines(changed(membership=well))[2] == "Members    3, roster 7 by the authority at us-east"
    troubled = msgspec.structs.replace(
        well, rejected={"BadSignature": 2, "Replayed": 1}, rekeying=True, rekey_refused="known already"
    )
    assert lines(changed(membership=troubled))[3:6] == [
        "           rosters in the exchange rejected: 2 BadSignature, 1 Replayed",
        "           another member key is asked for",
        "           another member key refused: known already",
    ]


def test_a_lost_place_is_what_is_waited_for() -> None:
    """A cluster that is no member any more is not ready, and the line says for what it waits."""
    lost = MembershipStatus(serial=7, members=2, seat="us-west", authority="a1", member_key="b2", lost=True)
    assert lines(changed(ready=False, membership=lost))[1].startswith("Waits for  a place in clusterset acme")


def test_wide_adds_columns() -> None:
    """Wide shows versions, where records come from, and identities."""
    shown = lines(changed(peers=(peer(1, version="4-17"), peer(2, saved_at=NOW))), wide=True)
    assert shown[7:10] == [
        "PEER       STATE   TRUSTED   SERVICES   REJECTED   VERSION   FROM",
        "peer-001   Live    yes       1          0          4-17      exchange",
        "peer-002   Live    yes       1          0                    disk, 2026-01-02 03:04:05Z",
    ]
    assert shown[-1].endswith(f"   {IDENTITY}")


def test_records_that_had_to_be_published_again_are_told() -> None:
    """An exchange that lost or changed our own records is named, with how often; it is connected all the same."""
    assert [lines(changed(republished=count))[1:3] for count in (1, 12)] == [
        [
            "Exchange   connected",
            f"           lost or changed our records {often} since the start: all were published again",
        ]
        for often in ("once", "12 times")
    ]


def test_not_ready_says_what_it_waits_for() -> None:
    """The same sentence as /readyz, with the peers that are missing."""
    report = changed(ready=False, exchange_connected=False, peers=(peer(1, "Unknown"), peer(2)))
    assert lines(report)[:3] == [
        "Cluster    us-east of clusterset acme (region us): not ready",
        "Waits for  the first whole read of peer-001 from the exchange, which can't be reached",
        "Exchange   can't be reached, what was read last stays in use",
    ]


def test_many_peers_are_counted_and_only_those_in_trouble_are_listed() -> None:
    """With 250 peers a screen shows whoever is not live, not trusted or rejected, and how many are well."""
    peers = [peer(number) for number in range(250)]
    peers[7] = peer(7, "Blind")
    peers[70] = peer(70, trusted=False)
    peers[100] = peer(100, rejected={"Replayed": 2, "BadSignature": 1})
    shown = lines(changed(peers=tuple(peers), nodes=()))
    assert shown[4] == "Peers      250: 1 blind, 249 live, 1 not trusted"
    assert shown[7:] == [
        "PEER       STATE   TRUSTED   SERVICES   REJECTED",
        "peer-007   Blind   yes       1          0",
        "peer-070   Live    no        1          0",
        "peer-100   Live    yes       1          1 BadSignature, 2 Replayed",
        "247 more peers are live and trusted, and nothing of them was rejected (-o wide lists all)",
    ]
    assert len([line for line in lines(changed(peers=tuple(peers)), wide=True) if line.startswith("peer-")]) == 250


def test_why_peers_are_not_live_is_told_once_for_all_alike() -> None:
    """Peers of one state and reason share a line, of which the first five are named."""
    lost, kept = "its lease is lost: kept", "the exchange is not heard"
    peers = [peer(0), peer(1, "Blind", reason=lost), *(peer(2 + number, "Unheard", reason=kept) for number in range(7))]
    shown = lines(changed(peers=tuple(peers), nodes=()))
    assert shown[-2:] == [
        f"blind: peer-001: {lost}",
        f"unheard: peer-002, peer-003, peer-004, peer-005, peer-006 and 2 more: {kept}",
    ]


def test_many_envoys_are_counted_and_only_those_that_refuse_are_listed() -> None:
    """A thousand sidecars do not push a refusal off the screen."""
    nodes = [NodeStatus(f"id sidecar-{number}", "id", NOW) for number in range(1000)]
    nodes[500] = NodeStatus("id sidecar-500", "id", NOW, (NackStatus("Cluster", "demo/echo", "no such field"),))
    shown = lines(changed(nodes=tuple(nodes)))
    assert "Envoys     1000 connected: 1 refusing configuration" in shown
    assert shown[-4:] == [
        "sidecar-500   2026-01-02 03:04:05Z   1",
        "999 more Envoys refuse nothing (-o wide lists all)",
        "",
        "refused by sidecar-500: Cluster demo/echo: no such field",
    ]


def test_long_words_of_an_envoy_are_shortened_but_in_wide() -> None:
    """An error of a thousand characters keeps its beginning; wide has all of it."""
    node = NodeStatus("id n", "id", NOW, (NackStatus("Listener", "inbound", "x" * 1000),))
    report = changed(nodes=(node,))
    assert (lines(report)[-1], lines(report, wide=True)[-1]) == (
        f"refused by n: Listener inbound: {'x' * 300}…",
        f"refused by n: Listener inbound: {'x' * 1000}",
    )


def test_rejections_are_told_by_their_last_message_and_all_in_wide() -> None:
    """Why something of a peer was rejected is said in words, with the record."""
    last = (
        RejectionStatus("BadSignature", "signature does not match", "export/demo/echo"),
        RejectionStatus("Replayed", "sequence 4 is not above 7"),
    )
    report = changed(peers=(peer(1, rejected={"BadSignature": 1, "Replayed": 1}, last_rejections=last),))
    first, second = (
        "rejected from peer-001 export/demo/echo: signature does not match (BadSignature)",
        "rejected from peer-001: sequence 4 is not above 7 (Replayed)",
    )
    assert (lines(report)[13:], lines(report, wide=True)[13:]) == ([second], [first, second])


def test_problems_are_listed_up_to_a_screenful() -> None:
    """Five thousand bad manifests are counted; wide lists all."""
    report = changed(problems=tuple(f"a.yaml document {number}: no" for number in range(5000)))
    shown = lines(report)
    assert (shown[13], shown[-1], len(lines(report, wide=True)) - len(shown)) == (
        "not used: a.yaml document 0: no",
        "4980 more are not used (-o wide lists all)",
        4979,
    )


def test_words_of_others_stay_on_their_line() -> None:
    """An Envoy or a peer can't forge a line of the report."""
    report = changed(problems=("x\nCluster    fine: ready\x1b[2J",))
    assert lines(report)[-1] == "not used: x\\nCluster    fine: ready\\x1b[2J"


@pytest.mark.parametrize(
    ("dns", "line"),
    [
        (DnsStatus("127.0.0.1:5353", None, 3), "DNS        127.0.0.1:5353: nothing known yet, 3 queries"),
        (
            DnsStatus("127.0.0.1:5353", 12, 4, {"flood": 7}),
            "DNS        127.0.0.1:5353: names of 12 services, 4 queries, 7 dropped for flood",
        ),
    ],
)
def test_the_dns_server_has_its_line_where_there_is_one(dns: DnsStatus, line: str) -> None:
    """Where it listens, what it knows, what it answered and what it did not."""
    assert line in lines(status_report(dns=dns))
    assert not any(line.startswith("DNS") for line in lines(status_report()))


def test_the_mesh_has_its_line_and_wide_what_its_administrator_must_set() -> None:
    """One line, wherever there is a mesh of another make."""
    settings = "trustDomain: us-east.acme\ndefaultConfig: {}\n"
    istio = MeshStatus("istio", "1.30.1", "istio-system", "us-east.acme", settings)
    told = changed(kubernetes=KubernetesStatus("pod-0", True, True, istio))
    line = "Mesh       istio 1.30.1 in istio-system, trust domain us-east.acme"
    linkerd = changed(
        kubernetes=KubernetesStatus("pod-0", True, True, MeshStatus("linkerd", "", "linkerd", "us-east.acme"))
    )

    assert f"{line} (-o wide lists what its configuration must have)" in lines(told)
    assert not any("trustDomain" in one for one in lines(told))
    wide = lines(told, wide=True)
    at = wide.index("The mesh configuration of istio must have:")
    assert wide[at + 1 : at + 3] == ["trustDomain: us-east.acme", "defaultConfig: {}"]
    assert "Mesh       linkerd in linkerd, trust domain us-east.acme" in lines(linkerd, wide=True)
    assert not any("must have" in one for one in lines(linkerd, wide=True))
    assert not any(one.startswith("Mesh") for one in lines(changed(kubernetes=KubernetesStatus("pod-0", True, True))))


def test_what_is_drained_is_told_of_us_and_of_peers() -> None:
    """With who has not acknowledged, and whose process is away; nothing where nothing is drained."""
    gateways = (
        GatewayStatus("192.0.2.1:15443", TargetStatus(0, 0)),
        GatewayStatus("192.0.2.2:15443", TargetStatus(100, 100), leaving=True),
    )
    own = drain_report(gateways=gateways, waiting_for=("eu-west",), leaving_workloads=("10.0.0.9:15006",))
    peer = PeerStatus("north", "Live", trusted=True, services=1, share=40)
    told = lines(status_report(drains=own, peers=(peer,)))
    away = "is about to end, or has ended, and is not called until it is back"
    assert [line for line in told if line.startswith(("drained", "leaving"))] == [
        "drained: 192.0.2.1:15443 takes no calls of other clusters",
        "drained: not acknowledged by eu-west",
        f"leaving: 192.0.2.2:15443 {away}",
        f"leaving: 10.0.0.9:15006 {away}",
        "drained: north takes 40 % of its calls",
    ]
    assert not any("drained" in line for line in lines(status_report()))


def test_policies_are_counted_and_those_that_do_not_count_are_told() -> None:
    """With who says what counts instead."""
    shaded = PolicyTargetStatus("Service", "echo", False, "Conflicted", "TrafficPolicy demo/old says what counts")
    counts = PolicyTargetStatus("Service", "web", True, "Accepted", "counts for service demo/web")
    told = lines(changed(policies=(PolicyReport("demo", "new", (shaded, counts)),)))

    assert "Policies   1" in told
    assert [one for one in told if one.startswith("TrafficPolicy")] == [
        "TrafficPolicy demo/new for Service echo: TrafficPolicy demo/old says what counts (Conflicted)"
    ]
    assert not any("Polic" in one for one in lines(changed()))
