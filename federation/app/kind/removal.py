"""Deletes the clusters of a topology, and no others. An edge."""

from __future__ import annotations

import asyncio

from federation.app.kind.commands import delete
from federation.app.kind.flow import Tell
from federation.app.kind.look import Look
from federation.app.kind.programs import output
from federation.app.kind.topology import KindCluster
from federation.model.errors import FederationError


async def remove(look: Look, tell: Tell) -> tuple[FederationError, ...]:
    """Side by side; returns why some are still there. Raises where docker or kind itself does not work."""
    existing = await look.existing()
    clusters = look.topology.clusters
    errors = await asyncio.gather(*(_removed(look, one, tell) for one in clusters if one.name in existing))
    for cluster in clusters:
        if cluster.name not in existing:
            tell(f"{cluster.name}: is not there")
    return tuple(error for error in errors if error is not None)


async def _removed(look: Look, cluster: KindCluster, tell: Tell) -> FederationError | None:
    try:
        await look.take_kubeconfig(cluster)
        # Raises where it is none of ours, or does not say.
        await look.nodes(cluster)
        await output(delete(cluster))
    except FederationError as error:
        return error
    tell(f"{cluster.name}: deleted")
    return None
