"""What a controller's report says to a person: lines, with whatever needs attention never left out.

Pure. A clusterset has up to 250 peers and a cluster thousands of sidecars: without ``wide``, those that are well are
counted where they are many.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import typer

from controllers.drain_report import TargetStatus
from controllers.drains import WHOLE
from controllers.status import DnsStatus, MembershipStatus, MeshStatus, NodeStatus, PeerStatus, StatusReport
from federation.app.readiness import names_of, waited_for, waited_for_place
from federation.cli.drain_progress import share_words
from federation.cli.output import printable, table_lines

# A screenful: up to here all are listed.
_MANY = 20
_WORDS = 300

T = TypeVar("T")


def status_lines(report: StatusReport, *, wide: bool) -> Iterator[str]:
    """The report, styled for a terminal."""
    yield from _summary(report)
    if report.peers:
        yield ""
        yield from _peers(report.peers, wide=wide)
    if report.nodes:
        yield ""
        yield from _nodes(report.nodes, wide=wide)
    if wide and (settings := _mesh_settings(report)):
        yield ""
        yield from settings
    trouble = [
        *_drains(report),
        *_reasons(report.peers),
        *_refusals(report.nodes, wide=wide),
        *_rejections(report.peers, wide=wide),
        *(f"{_bad('needs attention')}: {_words(warning, wide=wide)}" for warning in report.warnings),
        *_shaded(report, wide=wide),
        *_problems(report, wide=wide),
    ]
    if trouble:
        yield ""
        yield from trouble


def _summary(report: StatusReport) -> Iterator[str]:
    ready = _good("ready") if report.ready else _bad("not ready")
    yield f"Cluster    {report.cluster} of clusterset {report.clusterset} (region {report.region}): {ready}"
    if not report.ready:
        unknown = [peer.cluster for peer in report.peers if peer.state == "Unknown"]
        what = waited_for(
            source_synced=report.source_synced, exchange_connected=report.exchange_connected, unknown_peers=unknown
        )
        lost = report.membership is not None and report.membership.lost
        yield f"Waits for  {waited_for_place(report.clusterset) if lost else what}"
    yield "Exchange   " + (
        _good("connected") if report.exchange_connected else _bad("can't be reached, what was read last stays in use")
    )
    if report.republished:
        yield (
            f"           {_bad('lost or changed our records')} {_times(report.republished)} since the start: "
            "all were published again"
        )
    if report.membership is not None:
        yield from _membership(report.membership)
    yield f"Services   {report.exported} exported, {report.imported} imported"
    if report.policies:
        yield f"Policies   {len(report.policies)}"
    if report.dns is not None:
        yield _dns(report.dns)
    if report.kubernetes is not None:
        yield "Leader     " + (report.kubernetes.leader or _bad("none is elected: nothing is written"))
        if report.kubernetes.mesh is not None:
            yield _mesh(report.kubernetes.mesh)
    if report.authority is not None:
        authority = report.authority
        yield (
            f"Trust      {authority.trust_domain}, bundle {authority.sequence} (authorities: {authority.authorities}), "
            f"next change {authority.next_change:%Y-%m-%d %H:%M:%SZ}"
        )
    states = Counter(peer.state for peer in report.peers)
    counts = [f"{count} {state.lower()}" for state, count in sorted(states.items())]
    untrusted = sum(1 for peer in report.peers if not peer.trusted)
    yield f"Peers      {len(report.peers)}" + _listed([*counts, *([f"{untrusted} not trusted"] if untrusted else [])])
    refusing = sum(1 for node in report.nodes if node.nacks)
    yield f"Envoys     {len(report.nodes)} connected" + _listed(
        [f"{refusing} refusing configuration"] if refusing else []
    )


def _shaded(report: StatusReport, *, wide: bool) -> Iterator[str]:
    """The policies that do not count everywhere that they say."""
    for policy in report.policies:
        for target in policy.targets:
            if not target.accepted:
                words = _words(f"{target.message} ({target.reason})", wide=wide)
                yield f"TrafficPolicy {policy.namespace}/{policy.name} for {target.kind} {target.name}: {words}"


def _mesh(mesh: MeshStatus) -> str:
    version = f" {printable(mesh.version)}" if mesh.version else ""
    found = f"{mesh.kind}{version} in {mesh.namespace}, trust domain {printable(mesh.trust_domain)}"
    return f"Mesh       {found}" + (" (-o wide lists what its configuration must have)" if mesh.settings else "")


def _mesh_settings(report: StatusReport) -> list[str]:
    mesh = None if report.kubernetes is None else report.kubernetes.mesh
    if mesh is None or not mesh.settings:
        return []
    return [f"The mesh configuration of {mesh.kind} must have:", *mesh.settings.splitlines()]


def _dns(dns: DnsStatus) -> str:
    known = "nothing known yet" if dns.services is None else f"names of {dns.services} services"
    dropped = [f"{count} dropped for {reason}" for reason, count in sorted(dns.dropped.items())]
    return f"DNS        {dns.listen}: " + ", ".join([known, f"{dns.queries} queries", *dropped])


def _membership(membership: MembershipStatus) -> Iterator[str]:
    yield f"Members    {membership.members}, roster {membership.serial} by the authority at {membership.seat}"
    if membership.rejected:
        reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(membership.rejected.items()))
        yield f"           {_bad('rosters in the exchange rejected')}: {reasons}"
    if membership.rekeying:
        yield "           another member key is asked for"
    if membership.rekey_refused:
        yield f"           {_bad('another member key refused')}: {printable(membership.rekey_refused)}"


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


def _listed(parts: Sequence[str]) -> str:
    return f": {', '.join(parts)}" if parts else ""


def _peers(peers: Sequence[PeerStatus], *, wide: bool) -> Iterator[str]:
    shown = list(peers) if wide else _of_interest(peers, lambda peer: not _is_well(peer))
    headers = ["peer", "state", "trusted", "services", "rejected", *(["version", "from"] if wide else [])]
    if shown:
        yield from table_lines(headers, [_peer_row(peer, wide=wide) for peer in shown])
    yield from _left_out(len(peers) - len(shown), "peers are live and trusted, and nothing of them was rejected")


def _reasons(peers: Sequence[PeerStatus]) -> Iterator[str]:
    """Why peers are not live, those of one kind together."""
    alike: dict[tuple[str, str], list[str]] = {}
    for peer in peers:
        if peer.reason:
            alike.setdefault((peer.state, peer.reason), []).append(peer.cluster)
    for (state, reason), clusters in sorted(alike.items()):
        yield f"{_bad(state.lower())}: {names_of(clusters)}: {reason}"


def _drains(report: StatusReport) -> Iterator[str]:
    """What is drained, here and at the peers."""
    if (own := report.drains) is not None:
        targets = [(own.cluster, own.drain), *((gateway.address, gateway.drain) for gateway in own.gateways)]
        for name, status in targets:
            if (status.share, status.goal) != (WHOLE, WHOLE):
                yield f"{_bad('drained')}: {name} takes {share_words(status)}"
        if waiting := (*own.waiting_for, *own.silent):
            yield f"{_bad('drained')}: not acknowledged by {names_of(waiting)}"
        for address in (*(one.address for one in own.gateways if one.leaving), *own.leaving_workloads):
            yield f"{_bad('leaving')}: {address} is about to end, or has ended, and is not called until it is back"
    for peer in report.peers:
        if peer.share < WHOLE:
            yield f"{_bad('drained')}: {peer.cluster} takes {share_words(TargetStatus(peer.share, peer.share))}"


def _is_well(peer: PeerStatus) -> bool:
    return peer.state == "Live" and peer.trusted and not peer.rejected


def _peer_row(peer: PeerStatus, *, wide: bool) -> list[str]:
    rejected = ", ".join(f"{count} {reason}" for reason, count in sorted(peer.rejected.items()))
    row = [peer.cluster, peer.state, "yes" if peer.trusted else "no", str(peer.services), rejected or "0"]
    if wide:
        row += [peer.version, "exchange" if peer.saved_at is None else f"disk, {peer.saved_at:%Y-%m-%d %H:%M:%SZ}"]
    return row


def _nodes(nodes: Sequence[NodeStatus], *, wide: bool) -> Iterator[str]:
    shown = list(nodes) if wide else _of_interest(nodes, lambda node: bool(node.nacks))
    rows = [
        [
            _node_id(node),
            f"{node.since:%Y-%m-%d %H:%M:%SZ}",
            str(len(node.nacks)),
            *([node.identity] if wide else []),
        ]
        for node in shown
    ]
    if shown:
        yield from table_lines(["envoy", "connected since", "refused", *(["identity"] if wide else [])], rows)
    yield from _left_out(len(nodes) - len(shown), "Envoys refuse nothing")


def _node_id(node: NodeStatus) -> str:
    """What the Envoy calls itself; the view's name has its identity before it, which is a column of its own."""
    return node.node.removeprefix(f"{node.identity} ")


def _refusals(nodes: Sequence[NodeStatus], *, wide: bool) -> Iterator[str]:
    for node in nodes:
        for nack in node.nacks:
            yield (
                f"{_bad('refused')} by {printable(_node_id(node))}: {nack.type} {printable(nack.name)}: "
                f"{_words(nack.error, wide=wide)}"
            )


def _rejections(peers: Sequence[PeerStatus], *, wide: bool) -> Iterator[str]:
    for peer in peers:
        # The newest is enough to begin with.
        for rejection in peer.last_rejections if wide else peer.last_rejections[-1:]:
            record = f" {printable(rejection.record)}" if rejection.record else ""
            yield (
                f"{_bad('rejected')} from {peer.cluster}{record}: {_words(rejection.message, wide=wide)} "
                f"({rejection.reason})"
            )


def _problems(report: StatusReport, *, wide: bool) -> Iterator[str]:
    shown = report.problems if wide else report.problems[:_MANY]
    for problem in shown:
        yield f"{_bad('not used')}: {_words(problem, wide=wide)}"
    yield from _left_out(len(report.problems) - len(shown), "are not used")


def _of_interest(items: Sequence[T], interesting: Callable[[T], bool]) -> list[T]:
    return list(items) if len(items) <= _MANY else [item for item in items if interesting(item)]


def _left_out(count: int, what: str) -> Iterator[str]:
    if count:
        yield f"{count} more {what} (-o wide lists all)"


def _words(text: str, *, wide: bool) -> str:
    text = printable(text)
    return text if wide or len(text) <= _WORDS else f"{text[:_WORDS]}…"


def _good(text: str) -> str:
    return typer.style(text, fg="green")


def _bad(text: str) -> str:
    return typer.style(text, fg="red")
