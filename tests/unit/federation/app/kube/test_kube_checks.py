"""What the preflight says of a cluster's API server, and of gateways that somebody else answers for."""

from __future__ import annotations

from pathlib import Path

import pytest

from controllers.checks import Check, Level
from federation.app.kube.kube_checks import judge_published_gateways, kubernetes_checks
from federation.app.network_checks import Reach
from federation.model.addresses import HostPort
from federation.model.configuration import KubernetesSettings
from support.kube.server import running

ONE, OTHER = HostPort("192.0.2.1", 15443), HostPort("192.0.2.2", 15443)


async def found(settings: KubernetesSettings) -> list[tuple[str, Level]]:
    checks: list[Check] = [check async for check in kubernetes_checks(settings)]
    assert all(check.fix for check in checks if check.level is Level.FAILED)
    return [(check.name, check.level) for check in checks]


async def test_an_api_server_answers_and_serves_the_mcs_api_or_not(tmp_path: Path) -> None:
    """Each is told by itself, with the next step."""
    async with running() as server, running(definitions=()) as bare:
        for name, one in (("whole", server), ("bare", bare)):
            one.write_kubeconfig(tmp_path / name)
        outcomes = [await found(KubernetesSettings(kubeconfig=tmp_path / name)) for name in ("whole", "bare")]
        await server.vanish()
        outcomes.append(await found(KubernetesSettings(kubeconfig=tmp_path / "whole")))

    assert outcomes == [
        [("API server", Level.OK), ("MCS API", Level.OK)],
        [("API server", Level.OK), ("MCS API", Level.FAILED)],
        [("API server", Level.FAILED)],
    ]


@pytest.mark.parametrize(
    ("addresses", "reached", "level"),
    [
        ((), {}, Level.FAILED),
        ((ONE,), {ONE: Reach.ANSWERS}, Level.OK),
        ((ONE, OTHER), {ONE: Reach.ANSWERS, OTHER: Reach.CLOSED}, Level.NOTE),
    ],
)
def test_gateways_that_do_not_answer_from_here_may_answer_elsewhere(
    addresses: tuple[HostPort, ...], reached: dict[HostPort, Reach], level: Level
) -> None:
    """Only that there are none is a fault."""
    assert judge_published_gateways("federation-gateway", addresses, reached).level is level
