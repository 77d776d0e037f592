"""Whether this host can have the clusters: programs, versions, memory, limits. Pure: facts in, findings out."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from federation.app.kind.commands import Ended

OLDEST_DOCKER: Final = (20, 10)
OLDEST_KIND: Final = (0, 24)
"""The first whose network plugin enforces NetworkPolicies."""
OLDEST_KUBECTL: Final = (1, 29)
MEMORY_PER_NODE: Final = 700 * 1024**2
"""Bytes; a node with its system pods, controllers and gateways."""
INSTANCES_PER_NODE: Final = 64
"""Inotify instances; kind's known issues ask for 512 for clusters of many nodes."""
WATCHES_PER_NODE: Final = 50_000
_VERSION: Final = re.compile(r"(\d+)\.(\d+)(?:\.\d+)?")


@dataclass(frozen=True, slots=True)
class HostFacts:
    """This host as it was found; None where a program is missing."""

    docker: Ended | None
    """``docker version`` of the engine."""
    memory: Ended | None
    """``docker info``: bytes that the engine has."""
    kind: Ended | None
    kubectl: Ended | None
    limits: Mapping[str, int]
    """``fs.inotify`` limits by name; empty where the host has none to be read, as on a Mac."""


@dataclass(frozen=True, slots=True)
class Lack:
    """Something that is missing, and the next step."""

    what: str
    fix: str


def judge_host(facts: HostFacts, nodes: int) -> tuple[Lack, ...]:
    """All that keeps ``nodes`` nodes from running here; nothing where all is well."""
    return (*_docker(facts, nodes), *_kind(facts), *_kubectl(facts), *_limits(facts.limits, nodes))


def _docker(facts: HostFacts, nodes: int) -> Iterator[Lack]:
    if facts.docker is None:
        yield Lack("docker is not on PATH", "install Docker Engine or Docker Desktop: docs.docker.com/engine/install")
        return
    if facts.docker.code:
        yield Lack(
            f"docker's engine does not answer: {_last(facts.docker)}",
            "start it (`sudo systemctl start docker`, or Docker Desktop); where it is refused, `newgrp docker`",
        )
        return
    yield from _old("docker", facts.docker.stdout, OLDEST_DOCKER)
    needed = nodes * MEMORY_PER_NODE
    told = facts.memory.stdout.strip() if facts.memory is not None else ""
    if told.isdigit() and int(told) < needed:
        yield Lack(
            f"docker has {int(told) / 1024**3:.1f} GiB of memory, {nodes} nodes need {needed / 1024**3:.1f} GiB",
            "give it more (Docker Desktop: Settings, Resources), or make fewer clusters with --clusters",
        )


def _kind(facts: HostFacts) -> Iterator[Lack]:
    if facts.kind is None:
        yield Lack("kind is not on PATH", "install kind: kind.sigs.k8s.io/docs/user/quick-start")
    else:
        yield from _old("kind", facts.kind.stdout, OLDEST_KIND)


def _kubectl(facts: HostFacts) -> Iterator[Lack]:
    if facts.kubectl is None:
        yield Lack("kubectl is not on PATH", "install kubectl: kubernetes.io/docs/tasks/tools")
        return
    try:
        told = json.loads(facts.kubectl.stdout)["clientVersion"]["gitVersion"]
    except (ValueError, LookupError, TypeError):
        told = ""
    yield from _old("kubectl", str(told), OLDEST_KUBECTL)


def _limits(limits: Mapping[str, int], nodes: int) -> Iterator[Lack]:
    for name, needed in (
        ("max_user_instances", nodes * INSTANCES_PER_NODE),
        ("max_user_watches", nodes * WATCHES_PER_NODE),
    ):
        if limits.get(name, needed) < needed:
            yield Lack(
                f"fs.inotify.{name} is {limits[name]}, {nodes} nodes need {needed}",
                f"sudo sysctl fs.inotify.{name}={needed}",
            )


def _old(program: str, told: str, oldest: tuple[int, int]) -> Iterator[Lack]:
    found = _VERSION.search(told)
    wanted = ".".join(map(str, oldest))
    if found is None:
        yield Lack(f"{program} does not tell its version: {told.strip()[:80]!r}", f"{wanted} or later is needed")
    elif (int(found[1]), int(found[2])) < oldest:
        yield Lack(f"{program} {found[0]} is too old", f"install {wanted} or later")


def _last(ended: Ended) -> str:
    return ended.last_lines.splitlines()[-1] if ended.last_lines else f"exit code {ended.code}"
