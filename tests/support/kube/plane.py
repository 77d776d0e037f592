"""The API server that a test runs on: the stand-in, or a real kube-apiserver with etcd from KUBEBUILDER_ASSETS."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from support.kube.caller import Caller
from support.kube.real import RealServer
from support.kube.server import StandIn

ASSETS = "KUBEBUILDER_ASSETS"
STAND_IN, REAL = "stand-in", "real-api-server"


@dataclass(frozen=True, slots=True)
class Plane:
    """How a test reaches its API server as the administrator, and what is there beside it."""

    server: StandIn | RealServer
    has_controllers: bool
    """Whether somebody empties namespaces and collects garbage."""

    @property
    def url(self) -> str:
        return self.server.url

    @property
    def ca_pem(self) -> str:
        return self.server.ca_pem

    @property
    def token(self) -> str:
        return self.server.admin_token

    def caller(self, token: str | None = None, headers: Mapping[str, str] | None = None) -> Caller:
        """A client with this token, the administrator's if none is given."""
        return Caller(self.url, self.ca_pem, self.token if token is None else token, headers)


def plane_of(server: StandIn | RealServer) -> Plane:
    return Plane(server, isinstance(server, StandIn) or server.has_controllers)


def assets() -> Path | None:
    """Where kube-apiserver and etcd are, None where they are not."""
    named = os.environ.get(ASSETS)
    found = named and all((Path(named) / name).is_file() for name in ("kube-apiserver", "etcd"))
    return Path(named) if named and found else None


def told_servers(outcomes: Mapping[str, Sequence[str]]) -> list[str]:
    """Which API servers the tests ran on, one line, from the test ids by outcome; nothing where none wanted one."""
    ran = [test for outcome in ("passed", "failed") for test in outcomes.get(outcome, ())]
    skipped = [test for test in outcomes.get("skipped", ()) if REAL in test]
    counts = [(name, sum(name in test for test in ran)) for name in (STAND_IN, REAL)]
    told = [f"{count} tests on the {name}" for name, count in counts if count]
    if skipped:
        missing = f"{ASSETS} names no directory with kube-apiserver and etcd"
        wanting = "no controllers run beside it" if counts[1][1] else missing
        told.append(f"{len(skipped)} SKIPPED: {wanting}")
    return [f"kubernetes: {', '.join(told)}"] if told else []
