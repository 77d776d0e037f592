"""DestinationRules: how an Istio sidecar calls an imported service: mutual TLS, failover, ejection. Pure.

The settings are those that Envoys of ours get (docs/decisions/003), as far as Istio has a field for them. The SNI is
left to Istio: for ISTIO_MUTUAL it is the name of the port, ``outbound_.<port>_._.<host>``, which gateways route by.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from controllers.mcs.objects import Apply, Document
from controllers.mesh.istio_service_entry import PRIORITIES, object_metadata, object_name, priority_label
from controllers.projection import ServiceResult
from controllers.sources.manifests import ObjectId
from gateway.ir.model import AppProtocol, ImportedPort

_TCP: Final[Mapping[str, object]] = {
    "connectTimeout": "1s",
    "tcpKeepalive": {"time": "10s", "interval": "5s", "probes": 3},
}
_PINGS: Final[Mapping[str, object]] = {"http2KeepAlive": {"interval": "0.5s", "timeout": "1s"}}
_LOAD_BALANCER: Final[Mapping[str, object]] = {
    "simple": "LEAST_REQUEST",
    "localityLbSetting": {
        "enabled": True,
        # By labels of the endpoints alone ("key=value"): one that matches the first N comes N places earlier. So the
        # priorities are ours, wherever the caller is; gaps Istio closes itself (its networking/core/loadbalancer).
        "failoverPriority": [f"{priority_label(one)}=true" for one in reversed(range(PRIORITIES - 1))],
    },
}


def destination_rule(result: ServiceResult, *, api_version: str, http2_keepalive: bool = False) -> Apply | None:
    """The DestinationRule of a service; None where it has no imports.

    ``http2_keepalive`` says whether its schema knows pings, by which a silent peer is left within 1.5 s.
    """
    merged = result.merged
    if merged is None or not result.imports:
        return None
    policies = {port.port: _policy(port, http2_keepalive=http2_keepalive) for port in result.imports}
    first, *others = policies.values()
    name = object_name(merged.key)
    policy: Document = first
    if any(other != first for other in others):
        # What is said of a port takes the place of all that is said of the host.
        ports = [{"port": {"number": number}, **one} for number, one in sorted(policies.items())]
        everybody = sorted({identity for port in result.imports for identity in port.identities})
        policy = {"tls": _tls(everybody), "portLevelSettings": ports}
    document = {
        "apiVersion": api_version,
        "kind": "DestinationRule",
        "metadata": object_metadata(merged.key, name),
        "spec": {"host": merged.key.host, "trafficPolicy": policy},
    }
    return Apply(ObjectId("DestinationRule", merged.key.namespace, name), "", document)


def _policy(port: ImportedPort, *, http2_keepalive: bool) -> Document:
    # Istio speaks HTTP/2 where the caller's port does, and HTTP/1.1, which has no pings, where that speaks it.
    pings = {"http": _PINGS} if http2_keepalive and port.protocol is AppProtocol.HTTP2 else {}
    return {
        "tls": _tls(list(port.identities)),
        "connectionPool": {"tcp": _TCP, **pings},
        "loadBalancer": _LOAD_BALANCER,
        "outlierDetection": {
            "consecutiveGatewayErrors": 1 if port.protocol is AppProtocol.TCP else 3,
            # 500s are answers; on by default.
            "consecutive5xxErrors": 0,
            "interval": "1s",
            "baseEjectionTime": "5s",
            "maxEjectionPercent": 100,
            # Istio makes it Envoy's panic threshold: with nobody healthy left, trying all beats failing at once.
            "minHealthPercent": 1,
        },
    }


def _tls(identities: list[str]) -> Document:
    # Stated, not left to auto mTLS, which sends plaintext where a PeerAuthentication of the namespace says DISABLE.
    return {"mode": "ISTIO_MUTUAL", "subjectAltNames": identities}
