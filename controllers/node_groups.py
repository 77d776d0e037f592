"""Groups of nodes that share resources in the cache, by what their Envoys do."""

from __future__ import annotations

from gateway.nodes import GatewayNode, Node
from gateway.xds.cache import SnapshotCache
from gateway.xds.translate.shards import ShardDerivation

SIDECARS = "sidecar"
REDIRECTING = "sidecar-redirect"
"""Sidecars that take redirected traffic also have a listener per clusterset IP; filled when the first one connects."""
GATEWAYS = "gateway"
EGRESS = "gateway-egress"
"""Gateways that serve callers without a sidecar also have all imports; filled when the first one connects."""


def group_of(node: Node) -> str:
    """Whom a node shares its resources with."""
    if isinstance(node, GatewayNode):
        return EGRESS if node.egress else GATEWAYS
    return SIDECARS if node.redirect_port is None else REDIRECTING


def new_cache() -> SnapshotCache:
    """A cache for a data plane: gateways also find the shards of what is exported."""
    return SnapshotCache({GATEWAYS: ShardDerivation(), EGRESS: ShardDerivation()})
