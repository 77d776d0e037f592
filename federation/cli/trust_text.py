"""What a report on trust says to a person: tables, and how far a rotation is. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

import typer

from controllers.trust_report import AuthorityReport, DomainReport, RotationReport, TrustReport
from federation.app.readiness import names_of
from federation.cli.output import printable, table_lines


def trust_lines(report: TrustReport, *, wide: bool) -> Iterator[str]:
    """The trust domains, then their authorities, then what goes on."""
    headers = ["trust domain", "cluster", "bundle", "trusted", "has ours", *(["source", "services"] if wide else [])]
    yield from table_lines(headers, [_domain_row(domain, report, wide=wide) for domain in report.domains])
    yield ""
    rows = [
        _authority_row(domain, one, report.now, wide=wide) for domain in report.domains for one in domain.authorities
    ]
    headers = ["authority", "trust domain", "state", "ends in", *(["from", "until"] if wide else [])]
    yield from table_lines(headers, rows)
    if report.rotation.step != "none":
        yield ""
        yield f"Own CA: {progress(report.rotation)}"
    for domain in report.domains:
        if domain.problem:
            yield f"{typer.style('refused', fg='red')}: {printable(domain.problem)}"


def _domain_row(domain: DomainReport, report: TrustReport, *, wide: bool) -> list[str]:
    row = [
        domain.trust_domain,
        domain.cluster,
        "none" if domain.sequence is None else str(domain.sequence),
        "own" if domain.own else "yes" if domain.trusted else "no",
        _published(report) if domain.own else _acknowledged(domain),
    ]
    return [*row, domain.source, ", ".join(domain.services)] if wide else row


def _published(report: TrustReport) -> str:
    return "not published" if report.published is None else f"published: {report.published}"


def _acknowledged(domain: DomainReport) -> str:
    if domain.acknowledged is None:
        return "not known"
    return "none" if domain.acknowledged < 0 else str(domain.acknowledged)


def _authority_row(domain: DomainReport, authority: AuthorityReport, now: datetime, *, wide: bool) -> list[str]:
    row = [authority.id, domain.trust_domain, authority.state, span(authority.not_after - now)]
    if wide:
        row += [f"{moment:%Y-%m-%d %H:%M:%SZ}" for moment in (authority.not_before, authority.not_after)]
    return row


def span(left: timedelta) -> str:
    """A time to come in its two largest units; what is over is ``ended``."""
    seconds = int(left.total_seconds())
    if seconds < 0:
        return "ended"
    days, rest = divmod(seconds, 86_400)
    hours, rest = divmod(rest, 3_600)
    minutes, rest = divmod(rest, 60)
    if days:
        return f"{days}d {hours}h"
    return f"{hours}h {minutes}m" if hours else f"{minutes}m {rest}s"


def progress(rotation: RotationReport) -> str:
    """What the life of the CA waits for, in words."""
    names = names_of(rotation.waiting_for) if rotation.waiting_for else ""
    match rotation.step:
        case "prepare":
            return "the next CA is being made"
        case "publish":
            return "the next CA is made; the exchange has to take the bundle that holds it"
        case "acknowledge":
            return f"the bundle with the next CA is published; waiting for {names} to verify by it"
        case "wait":
            return "the next CA is known to all; it signs when its time has come"
        case "reissue":
            what = f"nodes have to accept new certificates: {names}" if names else "nodes are getting new certificates"
            return f"the next CA signs; {what}, then the tainted one is gone"
        case _:
            return "nothing is under way"
