"""`federation status` and `federation services`: what a running controller knows."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
import typer

from controllers.status import ServiceStatus, StatusReport
from federation.cli.output import Format, console, print_data, print_table
from federation.cli.owner import ask
from federation.cli.processes import Directory

Output = Annotated[Format, typer.Option("--output", "-o", help="How to print it.")]


def status(directory: Directory = Path(), output: Output = Format.TABLE) -> None:
    """Show a cluster's state: peers, connected Envoys, refused configuration and manifests that are not used.

    Exits with 1 while the controller is not ready.

    Example: federation status --dir clusters/us-east -o wide
    """
    report = msgspec.json.decode(ask(directory, "/v1/status"), type=StatusReport)
    if output in {Format.JSON, Format.YAML}:
        print_data(report, output)
    else:
        _print_status(report, wide=output is Format.WIDE)
    if not report.ready:
        raise typer.Exit(1)


def _print_status(report: StatusReport, *, wide: bool) -> None:
    out = console()
    state = "[green]ready[/]" if report.ready else "[yellow]not ready[/]"
    exchange = "[green]connected[/]" if report.exchange_connected else "[red]not reachable, last good in use[/]"
    out.print(f"Cluster    {report.cluster} of clusterset {report.clusterset} (region {report.region}): {state}")
    out.print(f"Exchange   {exchange}")
    out.print(f"Services   {report.exported} exported, {report.imported} imported")
    if report.authority is not None:
        authority = report.authority
        out.print(
            f"Trust      {authority.trust_domain}, bundle {authority.sequence} ({authority.authorities} authorities), "
            f"next change {authority.next_change:%Y-%m-%d %H:%M:%S}Z"
        )
    out.print()
    headers = ["peer", "state", "trusted", "services", "rejected"]
    rows = [
        [
            peer.cluster,
            peer.state,
            "yes" if peer.trusted else "no",
            str(peer.services),
            ", ".join(f"{reason} {count}" for reason, count in sorted(peer.rejected.items())) or "0",
            *([peer.version, "" if peer.saved_at is None else f"disk {peer.saved_at:%H:%M:%S}Z"] if wide else []),
        ]
        for peer in report.peers
    ]
    print_table([*headers, *(["version", "from"] if wide else [])], rows)
    out.print()
    print_table(
        ["node", "since", "refused"],
        [[node.node, f"{node.since:%H:%M:%S}Z", str(len(node.nacks)) if node.nacks else "0"] for node in report.nodes],
    )
    for node in report.nodes:
        for nack in node.nacks:
            out.print(f"[red]refused by {node.node}[/]: {nack.type} {nack.name}: {nack.error}", markup=True)
    for problem in report.problems:
        out.print("[yellow]not used[/]: ", end="")
        out.print(problem, markup=False)


def services(directory: Directory = Path(), output: Output = Format.TABLE) -> None:
    """List the services of the clusterset: who backs each, in the order in which calls go there.

    Example: federation services --dir clusters/us-east
    """
    found = msgspec.json.decode(ask(directory, "/v1/services"), type=tuple[ServiceStatus, ...])
    if output in {Format.JSON, Format.YAML}:
        print_data(found, output)
        return
    wide = output is Format.WIDE
    rows = [
        [
            service.namespace,
            service.name,
            service.type,
            ", ".join(service.ports),
            _backends(service),
            *([service.host, service.vip, service.conflict] if wide else ["yes" if service.conflict else "no"]),
        ]
        for service in found
    ]
    headers = ["namespace", "name", "type", "ports", "backends (ready)"]
    print_table([*headers, *(["host", "vip", "conflict"] if wide else ["conflict"])], rows)


def _backends(service: ServiceStatus) -> str:
    """``us-east(2) > us-west(2) > eu-west(1)``; clusters that get no calls come last, in brackets."""
    called: dict[int, list[str]] = {}
    for backend in service.backends:
        if backend.priority is not None:
            called.setdefault(backend.priority, []).append(f"{backend.cluster}({backend.ready})")
    order = " > ".join(", ".join(names) for _, names in sorted(called.items()))
    idle = [f"{backend.cluster}({backend.ready})" for backend in service.backends if backend.priority is None]
    return " ".join(part for part in (order, f"[{', '.join(idle)}]" if idle else "") if part) or "none"
