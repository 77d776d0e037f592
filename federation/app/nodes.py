"""NodeDesk: where an Envoy that connects proves who it is and gets its view and its certificate."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

import structlog

from controllers.dataplane import DataPlane
from federation.app.bundles import OwnAuthority
from federation.membership.tokens import NodePrincipal, NodeTokens, fingerprint
from federation.model.errors import ConfigError
from gateway.nodes import GatewayNode, parse_node_metadata
from gateway.xds.server import Node, NodeIdentity
from trustbundle.authority import Svid
from trustbundle.identity import SpiffeId, TrustDomain, gateway_id, workload_id

_log = structlog.get_logger(__name__)

# A node that reconnects within this time finds its view and its certificate as they were.
_KEEP_ABSENT = timedelta(minutes=10)


class NodeDesk:
    """Authenticates nodes by their tokens. What a node says of itself decides its listeners, never its identity."""

    def __init__(
        self,
        dataplane: DataPlane,
        tokens: NodeTokens,
        authority: OwnAuthority,
        trust_domain: str,
        clock: Callable[[], datetime],
    ) -> None:
        self._dataplane = dataplane
        self._tokens = tokens
        self._authority = authority
        self._trust_domain = TrustDomain(trust_domain)
        self._clock = clock
        self._seen: dict[str, datetime] = {}
        self._principals: dict[str, NodePrincipal] = {}
        """By fingerprint of the token: of nodes that are known, and of those on their way in."""
        self._credentials: dict[str, str] = {}
        """The fingerprint that a node came with last."""

    async def authenticate(
        self,
        token: str | None,
        node_id: str,  # noqa: ARG002 - the token alone counts
        metadata: Mapping[str, Any],  # noqa: ARG002
    ) -> NodeIdentity | None:
        """Whom a bearer token proves; raises FederationError where that can't be told now."""
        if token is None:
            return None
        principal = await self._tokens.authenticate(token)
        if principal is None:
            return None
        credential = fingerprint(token)
        self._principals[credential] = principal
        return NodeIdentity(self._subject(principal), credential)

    async def on_node(self, identity: NodeIdentity, node: Node) -> str | None:
        """The view of a node: named after its proved identity first, so that a borrowed node id finds nothing."""
        principal = self._principals[identity.credential]
        try:
            spec = parse_node_metadata(node.metadata)
        except ConfigError as error:
            _log.warning("node refused", node=node.id, reason=str(error))
            return None
        if isinstance(spec, GatewayNode) != (principal.role == "gateway"):
            return None
        name = f"{identity.subject} {node.id}"
        if principal.pod and self._credentials.get(name) != identity.credential:
            _log.info("node proved by its pod's token", node=name, pod=principal.pod)
        self._seen[name] = self._clock()
        self._credentials[name] = identity.credential
        for problem in self._dataplane.connect(name, spec, principal, self._issue):
            _log.error("node can't be served", node=name, problem=str(problem))
        return name

    def renew(self, now: datetime) -> int:
        """Replace the certificates that are past half of their life, or signed by a CA that was replaced."""
        return self._dataplane.renew(lambda svid: now >= self._authority.renew_after(svid), self._issue)

    def next_renewal(self) -> datetime | None:
        """When ``renew`` has something to do next; None while no node has a certificate."""
        return min((self._authority.renew_after(svid) for svid in self._dataplane.svids()), default=None)

    def forget_absent(self, now: datetime, connected: Iterable[str]) -> None:
        """Drop the views of nodes that have been away for long."""
        for name in connected:
            self._seen[name] = now
        for name in [name for name, seen in self._seen.items() if now - seen > _KEEP_ABSENT]:
            self._forget(name)

    def withdrawn(self) -> frozenset[str]:
        """Forget the nodes whose token proves nothing any more, and name them: they get no certificate any more."""
        held = frozenset(self._credentials.values())
        self._principals = {known: who for known, who in self._principals.items() if known in held}
        lost = self._tokens.withdrawn(held)
        gone = frozenset(name for name, known in self._credentials.items() if known in lost)
        for name in gone:
            self._forget(name)
        return gone

    def _forget(self, name: str) -> None:
        del self._seen[name], self._credentials[name]
        self._dataplane.disconnect(name)

    def _issue(self, principal: NodePrincipal) -> Svid:
        return self._authority.issue(self._identity(principal), self._clock())

    def _identity(self, principal: NodePrincipal) -> SpiffeId:
        if principal.role == "gateway":
            return gateway_id(self._trust_domain)
        return workload_id(self._trust_domain, principal.namespace, principal.service_account)

    def _subject(self, principal: NodePrincipal) -> str:
        if principal.role == "gateway":
            return "gateway"
        return str(self._identity(principal))
