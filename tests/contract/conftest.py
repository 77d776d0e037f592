"""Where the tests of a Kubernetes API server stand."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator

import pytest

from support.kube.plane import Plane
from support.kube.site import CORE, Site


@pytest.fixture
async def site(kube_plane: Plane) -> AsyncIterator[Site]:
    """A namespace of the test's own."""
    async with kube_plane.caller() as admin:
        name = f"contract-{uuid.uuid4().hex[:8]}"
        reply = await admin.post(f"{CORE}/namespaces", {"metadata": {"name": name}})
        assert reply.code == 201, reply
        yield Site(kube_plane, admin, name)
        await admin.delete(f"{CORE}/namespaces/{name}")


@pytest.fixture
async def reconciled(site: Site) -> Site:
    """A site where somebody collects garbage and empties namespaces."""
    if not site.plane.has_controllers:
        pytest.skip("no kube-controller-manager runs beside this real-api-server")
    return site
