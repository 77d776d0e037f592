"""What a gateway is sent for one shard of a service port, derived from the resources of the port when it is asked for.

A service port has a cluster and endpoints under its SNI; the same for each of its shards would be up to sixteen times
as much, of which gateways use what callers call. So the cache holds none of it: a view derives it.
"""

from __future__ import annotations

from collections.abc import Iterable

from federation.model.names import parse_shard_sni, shard_sni
from gateway.ir.shards import SHARDS
from gateway.xds import protos as pb
from gateway.xds.references import Reference
from gateway.xds.resources import Resource, ResourceSet, make_resource, message_of


class ShardDerivation:
    """Clusters and endpoints of shards (``gateway.xds.cache.Derivation``)."""

    def derive(self, shared: ResourceSet, key: Reference) -> Resource | None:
        """The resource of a shard; None where ``key`` names none, or its service port isn't there.

        A shard leads to its own endpoints, and to the port's others while those can't be reached: what callers know of
        the number of endpoints may be a moment old.
        """
        found = parse_shard_sni(key.name)
        if found is None or found[1] >= SHARDS:
            return None
        name, shard = found
        port = shared.get(key.type_url, name)
        if port is None:
            return None
        if key.type_url == pb.CLUSTER:
            # The port's own, metadata of its service among it, under another name.
            cluster = message_of(port)
            cluster.name = key.name
            return make_resource(pb.CLUSTER, key.name, cluster)
        if key.type_url == pb.ENDPOINT:
            return make_resource(pb.ENDPOINT, key.name, _shard_assignment(message_of(port), key.name, shard))
        return None

    def derived_from(self, key: Reference) -> Iterable[Reference]:
        """The resources of all shards that follow from ``key``."""
        if key.type_url in {pb.CLUSTER, pb.ENDPOINT} and parse_shard_sni(key.name) is None:
            for shard in range(SHARDS):
                yield Reference(key.type_url, shard_sni(key.name, shard))


def _shard_assignment(port: pb.Message, name: str, shard: int) -> pb.Message:
    hosts = [host for locality in port.endpoints for host in locality.lb_endpoints]
    own = [host for slot, host in enumerate(hosts) if slot % SHARDS == shard]
    others = [host for slot, host in enumerate(hosts) if slot % SHARDS != shard]
    levels = [level for level in (own, others) if level]
    return pb.ClusterLoadAssignment(
        cluster_name=name,
        endpoints=[
            pb.LocalityLbEndpoints(lb_endpoints=level, priority=priority) for priority, level in enumerate(levels)
        ],
    )
