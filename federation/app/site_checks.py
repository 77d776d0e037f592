"""Judges what is on this host: settings, files, membership, programs, manifests, and what the controller says. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path

from controllers.checks import Check
from controllers.status import StatusReport
from federation.app.preflight_lines import Line, failed, note, ok
from federation.membership.roster import KnownRoster, RosterMember
from federation.model.configuration import ClusterSettings
from federation.model.names import ClusterId, key_name
from federation.model.problems import Problem
from federation.model.wire import SCHEMA_MAJOR, SCHEMA_MINOR

_PYTHON = (3, 11)
_ENVOY = "1.40"
"""The version that the configuration was tested with."""
_FEW = 3
_VERSION = re.compile(r"/(\d+\.\d+\.\d+)")


def judge_modes(modes: Mapping[Path, int]) -> Check:
    """Keys, credentials and tokens with their permission bits: nobody but the owner may have any."""
    wide = [path for path, mode in sorted(modes.items()) if mode & 0o077]
    if not wide:
        return ok(Line.PRIVATE_FILES, f"{len(modes)} keys, passwords and tokens are their owner's alone")
    words = ", ".join(f"{path} has mode {modes[path]:04o}" for path in wide)
    return failed(
        Line.PRIVATE_FILES,
        f"{words}: others than the owner can read or write it",
        f"chmod 600 {' '.join(map(str, wide))}; whatever others may have read needs to be replaced",
    )


def judge_state_directory(path: Path, cause: str) -> Check:
    """``cause``: why nothing can be written there, empty where it can."""
    if not cause:
        return ok(Line.STATE_DIRECTORY, f"{path} is writable")
    return failed(
        Line.STATE_DIRECTORY,
        f"{path}: {cause}",
        "stateDirectory must be on a writable disk and belong to the user that the controller runs as",
    )


def judge_membership(known: KnownRoster | None, settings: ClusterSettings) -> Check:
    """The roster on disk, which is believed, against the settings."""
    if known is None:
        return failed(
            Line.MEMBERSHIP,
            f"{settings.cluster} is no member of a clusterset yet",
            "`federation join --token TOKEN` joins one, `federation init` founds one",
        )
    roster = known.roster
    own = roster.member(settings.cluster)
    if roster.clusterset != settings.clusterset:
        wrong = f"the roster is of clusterset {roster.clusterset}, the settings say {settings.clusterset}"
        return failed(Line.MEMBERSHIP, wrong, "set clusterset as it was, or join in another directory")
    if own is None:
        return failed(
            Line.MEMBERSHIP,
            f"{settings.cluster} has left clusterset {roster.clusterset} or was evicted",
            f"`federation token create --cluster {settings.cluster}` on {roster.seat}, then `federation join` here",
        )
    if own.trust_domain != settings.trust_domain:
        wrong = f"the roster has trust domain {own.trust_domain}, the settings say {settings.trust_domain}"
        return failed(Line.MEMBERSHIP, wrong, "set trustDomain as it was, or leave and join anew")
    return ok(Line.MEMBERSHIP, f"{own.cluster} is one of {len(roster.members)} members of {roster.clusterset}")


def judge_member_key(present: bytes, prepared: bytes | None, own: RosterMember, now: datetime) -> Check:
    """The public halves of the key here and of the next one against the roster's."""
    if own.public_key not in (present, prepared):
        return failed(
            Line.MEMBER_KEY,
            f"is not the one that the roster names for {own.cluster}",
            "restore the key from a backup, or evict the cluster and let it join again",
        )
    words = f"{key_name(own.public_key)} is the one that the roster names"
    if own.retiring_until is not None and now < own.retiring_until:
        words += f"; the one before it is believed until {own.retiring_until:%Y-%m-%d %H:%M:%SZ}"
    return ok(Line.MEMBER_KEY, words)


def judge_controller(report: StatusReport | None, version: str, *, hangs: bool) -> Check:
    """What the running controller says; None: none answers, ``hangs``: though one is there. ``version`` is this
    program's."""
    if hangs:
        return failed(Line.CONTROLLER, "runs, and does not answer", "its log says why; if it is frozen, start it again")
    if report is None:
        return note(Line.CONTROLLER, "does not run", "run `federation controller`")
    if not report.ready:
        return note(Line.CONTROLLER, "runs, and is not ready", "`federation status` tells what it waits for")
    if report.version != version:
        return note(Line.CONTROLLER, f"runs version {report.version}, this is {version}", "restart it")
    live = sum(1 for peer in report.peers if peer.state == "Live")
    words = f"runs version {version}, is ready, {live} of {len(report.peers)} peers are live"
    if report.problems or report.warnings:
        count = len(report.problems) + len(report.warnings)
        return note(Line.CONTROLLER, f"{words}; problems: {count}", "`federation status` names them")
    return ok(Line.CONTROLLER, words)


def judge_python(version: tuple[int, int, int]) -> Check:
    """The interpreter's version."""
    words = ".".join(map(str, version))
    if version[:2] < _PYTHON:
        return failed(Line.PYTHON, f"{words} is too old", "use Python 3.11 or later")
    return ok(Line.PYTHON, words)


def judge_envoy(told: str) -> Check:
    """What ``envoy --version`` printed."""
    found = _VERSION.search(told)
    if found is None:
        return failed(Line.ENVOY, "does not tell its version", "is it Envoy that FEDERATION_ENVOY or PATH names?")
    version = found[1]
    if not version.startswith(f"{_ENVOY}."):
        return note(Line.ENVOY, f"{version} was not tested with this version", f"use Envoy {_ENVOY}")
    return ok(Line.ENVOY, version)


def judge_peer_versions(schemas: Mapping[ClusterId, tuple[int, int]]) -> Check:
    """The schema that each peer writes, against the one that is read here."""
    own = f"{SCHEMA_MAJOR}.{SCHEMA_MINOR}"
    unreadable = sorted(cluster for cluster, (major, _) in schemas.items() if major > SCHEMA_MAJOR)
    newer = sorted(
        cluster for cluster, (major, minor) in schemas.items() if (major, minor) > (SCHEMA_MAJOR, SCHEMA_MINOR)
    )
    if unreadable:
        return failed(
            Line.PEER_VERSIONS,
            f"{', '.join(unreadable)} writes a schema that is not read here, which is {own}",
            "upgrade this cluster",
        )
    if newer:
        return ok(
            Line.PEER_VERSIONS, f"{', '.join(newer)} writes a newer schema than {own}, which is read all the same"
        )
    return ok(Line.PEER_VERSIONS, f"{len(schemas)} peers write schema {own} or an earlier one, which is read")


def judge_manifests(services: int, problems: Sequence[Problem]) -> Check:
    """What a controller would say of the manifests."""
    if not problems:
        return ok(Line.MANIFESTS, f"{services} services, no problems")
    more = len(problems) - _FEW
    words = "; ".join(str(problem) for problem in sorted(problems)[:_FEW]) + (f"; and {more} more" if more > 0 else "")
    return note(Line.MANIFESTS, words, "correct the manifests: what is named is not used")
