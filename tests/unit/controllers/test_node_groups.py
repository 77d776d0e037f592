"""Which nodes share what."""

from __future__ import annotations

import pytest

from controllers.node_groups import EGRESS, GATEWAYS, REDIRECTING, SIDECARS, group_of, new_cache
from federation.model.names import shard_sni, sni
from gateway.ir.model import ExportedPort, Upstream
from gateway.nodes import GatewayNode, Listen, Node, SidecarNode
from gateway.xds import protos as pb
from gateway.xds.translate.services import export_resources
from support.builders import ECHO

LISTEN = Listen("127.0.0.1", 15443)


@pytest.mark.parametrize(
    ("node", "group"),
    [
        (SidecarNode("10.0.0.1", 15006), SIDECARS),
        (SidecarNode("10.0.0.1", 15006, redirect_port=15001), REDIRECTING),
        (GatewayNode(LISTEN), GATEWAYS),
        (GatewayNode(LISTEN, egress=True), EGRESS),
    ],
)
def test_nodes_share_with_those_that_do_the_same(node: Node, group: str) -> None:
    """What one of them is sent, all of the group are."""
    assert group_of(node) == group


@pytest.mark.parametrize(("group", "found"), [(GATEWAYS, True), (EGRESS, True), (SIDECARS, False)])
def test_gateways_alone_find_shards(group: str, found: bool) -> None:
    """Of what their own cluster exports."""
    cache = new_cache()
    cache.add_node("node", group)
    cache.update_group(group, export_resources(ExportedPort(ECHO, 80, (Upstream("10.0.0.1", 15006),))))
    assert (cache.view("node").get(pb.ENDPOINT, shard_sni(sni(ECHO, 80), 0)) is not None) == found
