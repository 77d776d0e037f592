"""Looks at a cluster of kind with kubectl, and changes nothing. An edge."""

from __future__ import annotations

import asyncio

from federation.app.kind.commands import NAMESPACE, Command, Kit, kind
from federation.app.kind.programs import ProgramError, output, run
from federation.app.kind.sample import SAMPLE_NAMESPACE, deployments
from federation.app.kind.sight import (
    ClusterSight,
    Nodes,
    Share,
    forwards,
    is_member,
    read_deployments,
    read_nodes,
)
from federation.app.kind.topology import KindCluster, Topology
from federation.install.vocabulary import CONTROLLER, DNS, GATEWAY, STATE
from federation.model.errors import FederationError
from federation.storage.private_file import replace_private


class Look:
    """The clusters of a topology, as they are. ``kit`` is where the kubeconfigs are kept that this takes."""

    def __init__(self, topology: Topology, kit: Kit) -> None:
        self.topology = topology
        self.kit = kit

    async def existing(self) -> frozenset[str]:
        """Names of all clusters of kind on this host."""
        return frozenset((await output(kind("get", "clusters"))).split())

    async def take_kubeconfig(self, cluster: KindCluster) -> None:
        """From kind, which keeps it in the cluster."""
        printed = await output(kind("get", "kubeconfig", "--name", cluster.name))
        replace_private(self.kit.kubeconfig(cluster), printed.encode())

    async def nodes(self, cluster: KindCluster) -> Nodes:
        """Raises ProgramError where the cluster does not answer, or is none of ours."""
        printed = await run(self.kit.kubectl(cluster, "get", "nodes", "--output", "json", "--request-timeout=20s"))
        by_hand = f"kind delete cluster --name {cluster.name}"
        if printed.code:
            raise ProgramError(
                f"cluster {cluster.name} of kind is there, but its API does not answer: {printed.last_lines}",
                hint=f"`docker start {cluster.control_plane}` if it is stopped; if it was left half made, `{by_hand}`",
            )
        nodes = read_nodes(printed.stdout)
        if not nodes.ours:
            raise ProgramError(
                f"there is a cluster {cluster.name} of kind that `federation kind` did not make: it is left alone",
                hint=f"if it is not needed any more, `{by_hand}`",
            )
        return nodes

    async def found(self, command: Command) -> str:
        """What a command prints; empty where it fails, as for an object that is not there."""
        ended = await run(command)
        return "" if ended.code else ended.stdout

    async def workload(self, cluster: KindCluster, namespace: str, *names: str) -> Share:
        """The pods of Deployments together."""
        words = ("get", "deployments", "--namespace", namespace, "--output", "json")
        shares = read_deployments(await self.found(self.kit.kubectl(cluster, *words)))
        named = [shares.get(name, Share(0, 1)) for name in names]
        return Share(sum(share.ready for share in named), sum(share.wanted for share in named))

    async def is_member(self, cluster: KindCluster) -> bool:
        """Whether the cluster has a roster."""
        words = ("get", "secret", STATE, "--namespace", NAMESPACE, "--output", "json")
        return is_member(await self.found(self.kit.kubectl(cluster, *words)))

    async def forwards(self, cluster: KindCluster) -> bool:
        """Whether its CoreDNS asks us."""
        corefile = ("get", "configmap", "coredns", "--namespace", "kube-system", "--output", "json")
        service = ("get", "service", DNS, "--namespace", NAMESPACE, "--output", "json")
        printed = [await self.found(self.kit.kubectl(cluster, *words)) for words in (corefile, service)]
        return forwards(printed[0], printed[1])

    async def sample(self, cluster: KindCluster) -> Share:
        """The pods of the sample."""
        return await self.workload(cluster, SAMPLE_NAMESPACE, *deployments(self.topology, cluster))

    async def clusters(self) -> tuple[ClusterSight, ...]:
        """All of them, side by side; raises what is wrong with docker or kind itself."""
        existing = await self.existing()
        return tuple(await asyncio.gather(*(self._cluster(one, existing) for one in self.topology.clusters)))

    async def _cluster(self, cluster: KindCluster, existing: frozenset[str]) -> ClusterSight:
        if cluster.name not in existing:
            return ClusterSight(cluster.name, exists=False)
        try:
            await self.take_kubeconfig(cluster)
            nodes = await self.nodes(cluster)
        except FederationError as error:
            return ClusterSight(cluster.name, exists=True, trouble=f"{error}; {error.hint}")
        return ClusterSight(
            cluster.name,
            exists=True,
            nodes=Share(nodes.ready, max(len(nodes.names), cluster.nodes)),
            controllers=await self.workload(cluster, NAMESPACE, CONTROLLER),
            gateways=await self.workload(cluster, NAMESPACE, GATEWAY),
            member=await self.is_member(cluster),
            dns=await self.forwards(cluster),
            sample=await self.sample(cluster),
        )
