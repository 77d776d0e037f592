"""What status says of peers and services."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import msgspec

from controllers.liveness import UNJUDGED, State, Verdict
from controllers.projection import ServiceResult, meet, project_service
from controllers.status import (
    AuthorityStatus,
    BackendStatus,
    NackStatus,
    NodeStatus,
    RejectionStatus,
    StatusReport,
    peer_status,
    service_status,
)
from federation.exchange.base import ExchangeSnapshot, MemberSnapshot, Rejected
from federation.model.export import Exported
from federation.model.locality import Site
from federation.model.names import export_key
from federation.model.records import Version
from support.builders import (
    CREATED,
    EAST,
    ECHO,
    NORTH,
    WEST,
    bundle_record,
    endpoint,
    endpoint_slice,
    endpoints_record,
    export_record,
    exported_state,
    gateway_record,
    port,
    spiffe_id,
)
from support.clock import START
from support.reports import status_report

LIVE = MemberSnapshot(WEST, version=Version(1700000000000, 3), synced=True, fresh=True)


WELL = Verdict(State.LIVE)


def test_the_state_of_a_peer_is_what_it_was_judged() -> None:
    """State and reason are those of the verdict."""
    verdict = Verdict(State.BLIND, "its lease is lost", lost_since=1.0)
    found = peer_status(LIVE, verdict=verdict, trusted=True, rejected={}, recent=[])
    assert (found.state, found.reason) == ("Blind", "its lease is lost")


def test_a_peer_with_all_that_is_known_of_it() -> None:
    """Services are counted by their exports, versions read as epoch and sequence, rejections are its own last five."""
    records = [export_record(), endpoints_record(), gateway_record(), bundle_record(WEST)]
    member = replace(LIVE, records={each.record_key: each for each in records}, saved_at=START)
    recent = [Rejected(WEST, "TooLarge", f"number {number}", export_key(ECHO)) for number in range(6)]
    recent.append(Rejected(NORTH, "BadSignature", "not of west"))
    found = peer_status(member, verdict=WELL, trusted=False, rejected={"TooLarge": 6}, recent=recent)

    assert (found.services, found.version, found.saved_at, found.trusted) == (1, "1700000000000-3", START, False)
    assert found.rejected == {"TooLarge": 6}
    assert found.last_rejections == tuple(
        RejectionStatus("TooLarge", f"number {number}", "export/demo/echo") for number in range(1, 6)
    )


def test_a_peer_that_said_nothing_has_no_version() -> None:
    """An absent peer has an empty version, not a made-up one."""
    found = peer_status(MemberSnapshot(WEST, synced=True), verdict=UNJUDGED, trusted=False, rejected={}, recent=[])
    assert (found.version, found.services, found.last_rejections) == ("", 0, ())


def result(*, trusted: bool = True, port_name: str = "http") -> ServiceResult:
    """The sample service, exported by us, West, and by East in another region."""
    records = [
        export_record(ports=[port(name=port_name)], identities=[spiffe_id(EAST)]),
        endpoints_record(zones={"a": 3}),
        gateway_record("192.0.2.1", region="us"),
    ]
    peers = ExchangeSnapshot({EAST: MemberSnapshot(EAST, records={each.record_key: each for each in records})})
    around = meet(Site(WEST, "eu", "west"), "west.test", 15006, peers, {EAST} if trusted else set())
    return project_service(ECHO, exported_state(endpoint_slice(endpoint("10.0.0.1"))), peers, around, CREATED)


def test_a_service_shows_who_is_called_first() -> None:
    """Backends stand in the order in which they are called, each with its ready endpoints."""
    status = service_status(result(), "240.96.0.1")
    assert status is not None
    assert status.backends == (BackendStatus(WEST, 1, 0), BackendStatus(EAST, 3, 1))
    assert (status.host, status.vip, status.type) == ("echo.demo.svc.clusterset.local", "240.96.0.1", "ClusterSetIP")
    assert (status.ports, status.conflict) == (("80/TCP (http)",), "")


def test_a_backend_that_is_not_called_has_no_priority() -> None:
    """An untrusted exporter is shown, last, and without a priority."""
    status = service_status(result(trusted=False), "")
    assert status is not None
    assert status.backends == (BackendStatus(WEST, 1, 0), BackendStatus(EAST, 3, None))


def test_a_conflict_is_told_in_its_own_words() -> None:
    """Where exporters disagree, the condition's message is shown."""
    status = service_status(result(port_name="web"), "")
    assert status is not None
    assert status.conflict.startswith("ports: 1 of 2 clusters disagrees with the oldest export, of cluster east")


def test_a_service_that_nobody_exports_is_not_shown() -> None:
    """An invalid export has a condition, and no place among the imported services."""
    assert service_status(ServiceResult(Exported(), None, (), ()), "240.96.0.1") is None


def test_a_report_survives_json() -> None:
    """The report that the owner's face sends is read back by the CLI as it was, in camel case."""
    report = status_report(
        exported=1,
        imported=2,
        authority=AuthorityStatus("east.test", 1, 1, START + timedelta(hours=1)),
        peers=(peer_status(LIVE, verdict=WELL, trusted=True, rejected={"TooLarge": 1}, recent=[]),),
        nodes=(NodeStatus("web", spiffe_id(EAST), START, (NackStatus("Cluster", "c", "no"),)),),
        problems=("Service demo/echo: unusable (Bad)",),
    )
    text = msgspec.json.encode(report)
    assert b'"exchangeConnected":true' in text
    assert msgspec.json.decode(text, type=StatusReport) == report
