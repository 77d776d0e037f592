"""Runs the specs that were chosen, all at once, on each plane: one clusterset for all of them."""

from __future__ import annotations

import asyncio

import pytest

from support.conformance import conducted
from support.conformance_clusters import conformance_clusters
from support.conformance_report import Outcomes, chosen
from support.kube.plane import ASSETS, REAL, STAND_IN, assets


@pytest.fixture(scope="module", params=[STAND_IN, REAL])
def outcomes(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Outcomes:
    """How each spec ended."""
    plane = request.param
    programs = assets()
    if plane == REAL and programs is None:
        pytest.skip(f"{ASSETS} names no directory with kube-apiserver and etcd")
    bodies = chosen(request.session.items, plane)

    async def run() -> Outcomes:
        async with conformance_clusters(tmp_path_factory.mktemp("conformance"), plane, programs) as clusters:
            return Outcomes(plane, await conducted(bodies, clusters))

    return asyncio.run(run()) if bodies else Outcomes(plane, {})
