"""What a controller and a sidecar are told: the values behind ``cluster.yaml`` and ``sidecar*.yaml``.

Plain values with their defaults, for every module that needs a setting. How the files are read and judged is in
``settings``, the only module here that knows pydantic. No value is a secret: keys and tokens are named by their files.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from ipaddress import IPv4Network
from pathlib import Path
from typing import Literal

from federation.model.addresses import HostPort, UnixSocket
from federation.model.exchange_address import ExchangeAddress
from federation.model.names import ClusterId, ServiceKey

# The ports of Istio's gateways, Envoys and control plane: known to the reader, free where Istio isn't on the host.
_GATEWAY = HostPort("127.0.0.1", 15443)
_ENVOY_ADMIN = HostPort("127.0.0.1", 15000)
_GATEWAY_METRICS = HostPort("127.0.0.1", 15020)
_CONTROLLER_HTTP = HostPort("127.0.0.1", 15014)
_CLUSTERSET_IPS = IPv4Network("240.96.0.0/12")

AccessLog = Literal["none", "errors", "all"]
"""Which calls proxies log."""

EndpointProfile = Literal["https_web", "https_spiffe"]
"""How a SPIFFE bundle endpoint is authenticated (SPIFFE Federation §5.2)."""


@dataclass(frozen=True, slots=True)
class ExchangeSettings:
    url: ExchangeAddress
    """Where the exchange is: one Redis server, Sentinels or a Redis Cluster. Required."""
    ca_file: Path | None = None
    """CA certificates (PEM), the only ones that the exchange's may be signed by. Default: what the system trusts."""
    credentials_file: Path | None = None
    """One line ``USER:PASSWORD`` (mode 0600), read for every connection. Default: no user and no password."""
    lease_seconds: float = 3.0
    """Seconds after its last beat that the others take this cluster for silent. Three beats: one lost is no news."""
    beat_seconds: float = 1.0
    """Seconds between renewals of the lease."""


@dataclass(frozen=True, slots=True)
class GatewaySettings:
    addresses: tuple[HostPort, ...]
    """Where the other clusters reach the gateway, behind whatever load balancer, by address or by name. Default:
    ``listen``; in Kubernetes none, then they are found by the gateways' Service."""
    listen: HostPort = _GATEWAY
    """Where the east-west gateway takes mutual TLS. On loopback until someone decides that it be reachable."""
    admin: HostPort = _ENVOY_ADMIN
    """Envoy's admin port; loopback only, because whoever reaches it can stop the gateway and read its certificates."""
    egress: bool = False
    """Whether the gateway takes calls in the clear at every clusterset IP, for callers without a sidecar."""
    memory_mib: int = 0
    """MiB that its Envoy's heap may have; 0: three quarters of what the container may have, and 1024 where there is
    no such limit."""
    max_connections: int = 20_000
    """Connections from callers that it holds at most at a time."""
    metrics: HostPort = _GATEWAY_METRICS
    """Where the gateway's ``/metrics`` is served, read-only. Default: port 15020 of the host of ``admin``."""


@dataclass(frozen=True, slots=True)
class MeshSettings:
    sidecar_port: int = 15006
    """Port of the workloads' sidecars for mutual TLS, where an EndpointSlice names no other; 15006 as in Istio. 0 is
    the port that the workload itself listens on, for a mesh that redirects what comes in there to its sidecars."""


@dataclass(frozen=True, slots=True)
class XdsSettings:
    listen: HostPort | UnixSocket
    """Where Envoys get their configuration, private keys among it: a socket guarded by file permissions, or TLS with
    the controller's own SVID. Default: ``state/xds.sock`` in the cluster's directory, the safest on one host."""


@dataclass(frozen=True, slots=True)
class HttpSettings:
    listen: HostPort = _CONTROLLER_HTTP
    """Where ``/healthz``, ``/readyz`` and ``/metrics`` are served, read-only."""


@dataclass(frozen=True, slots=True)
class TelemetrySettings:
    access_log: AccessLog = "none"
    """Calls that the gateway and the sidecars log as JSON lines. Another value replaces listeners, whose connections
    end."""
    sidecar_metrics: bool = True
    """Whether sidecars count calls by cluster, service and path. It costs each of them some microseconds a call, and
    some 10 kB for each service whose calls are redirected."""


@dataclass(frozen=True, slots=True)
class DnsSettings:
    listen: HostPort | None = None
    """Where ``clusterset.local`` is answered, over UDP and TCP; None: nowhere."""
    ttl: timedelta = timedelta(seconds=5)
    """Time that an answer may be kept, also one that there is nothing; whole seconds. CoreDNS's default: an endpoint
    that is gone is handed out no longer than that."""


@dataclass(frozen=True, slots=True)
class BundleEndpointSource:
    """A SPIFFE bundle endpoint to fetch from. No parameter is inferred from another (SPIFFE Federation §5.1)."""

    url: str
    """``https://…`` without userinfo."""
    profile: EndpointProfile
    spiffe_id: str = ""
    """Whom the server must prove to be; ``https_spiffe`` only."""
    bootstrap_file: Path | None = None
    """Bundle (PEM or document) of the server's trust domain to start from; ``https_spiffe`` only."""
    ca_file: Path | None = None
    """CA certificates (PEM) in the place of the system's; ``https_web`` only."""


@dataclass(frozen=True, slots=True)
class CaSettings:
    leaf_ttl: timedelta = timedelta(hours=1)
    """Life of a workload's certificate, renewed at half of it: the longest that a stolen key is of use."""
    ca_ttl: timedelta = timedelta(hours=24)
    """Life of a CA certificate. The next one is published before this one ends."""
    propagation: timedelta = timedelta(seconds=10)
    """Time from publishing a CA certificate until every peer is taken to have it: nothing is signed with it before.
    Far longer than the exchange needs (milliseconds), so that a peer may miss a few beats."""
    bundle_file: Path | None = None
    """CA certificates (PEM) or a SPIFFE bundle document of a CA elsewhere, which is then this cluster's own."""
    bundle_endpoint: BundleEndpointSource | None = None
    """SPIFFE bundle endpoint of a CA elsewhere, which is then this cluster's own."""

    @property
    def external(self) -> bool:
        """Whether the CA is elsewhere, so that no certificate is issued here."""
        return self.bundle_file is not None or self.bundle_endpoint is not None


@dataclass(frozen=True, slots=True)
class BundleEndpointSettings:
    listen: HostPort
    """Where the own bundle is served, to whoever asks: it is public, and every answer the same. Required."""
    profile: EndpointProfile = "https_spiffe"
    """How the server proves who it is: by an X509-SVID, or by a certificate of the web's."""
    certificate_file: Path | None = None
    """Chain (PEM, leaf first) that is shown. None: the controller's own SVID."""
    key_file: Path | None = None
    """Its private key (PEM), of mode 0600."""


@dataclass(frozen=True, slots=True)
class KubernetesSettings:
    namespace: str = "federation-system"
    """Where this program itself runs: its Lease, its Secret, its gateways' Service."""
    kubeconfig: Path | None = None
    """How the API server is found. None: by the service account of the pod that this runs in."""
    context: str = ""
    """Of the kubeconfig; empty: its current one."""
    gateway_service: str = "federation-gateway"
    """The gateways' Service, by which the others reach them where ``gateway.addresses`` names no address."""
    lease_seconds: float = 15.0
    """Seconds after which another controller leads in the place of one that is silent, as Kubernetes' own do."""
    webhook_listen: HostPort | None = None
    """Where the webhook that gives pods their sidecar is served, over TLS; None: nowhere."""
    sidecar_image: str = ""
    """Image of these sidecars. Empty: the controller's own."""
    redirect: tuple[str, ...] = ()
    """Networks (CIDR) of which pods' connections are led through their sidecar; none: all. The range of the cluster's
    Services, where clusterset IPs are, is enough."""


@dataclass(frozen=True, slots=True)
class ClusterSettings:
    clusterset: str
    """DNS label of the clusterset that signed statements are bound to. Required."""
    cluster: ClusterId
    """DNS label of this cluster, unique in the clusterset. Required."""
    region: str
    """Where the cluster is, compared for equality only: calls prefer their own region. Required."""
    trust_domain: str
    """SPIFFE trust domain of this cluster's own CA, unique in the clusterset. Required."""
    network: str
    """Members of one network reach each other's workloads directly. Default: the cluster's id, a network of its own."""
    member_key_file: Path
    """Ed25519 private key (PEM) that signs what this cluster publishes; made at the join. Default: ``member.key``."""
    authority_directory: Path
    """Key and ledger of the clusterset's authority, on the one cluster that has them. Default: ``authority``."""
    state_directory: Path
    """What must survive a restart (CA slots, last good snapshot) and the sockets. Default: ``state``."""
    tokens_directory: Path
    """Tokens by which workloads prove who they are. Default: ``tokens``."""
    exchange: ExchangeSettings
    gateway: GatewaySettings
    xds: XdsSettings
    zone: str = ""
    """Zone of this cluster's gateway and of endpoints that name none; empty where zones are unknown."""
    mesh: MeshSettings = field(default_factory=MeshSettings)
    http: HttpSettings = field(default_factory=HttpSettings)
    dns: DnsSettings = field(default_factory=DnsSettings)
    telemetry: TelemetrySettings = field(default_factory=TelemetrySettings)
    vip_range: IPv4Network = _CLUSTERSET_IPS
    """Range of the clusterset IPs. Class E: no host has such an address, yet Linux routes it, so a clusterset IP hides
    nothing real. 2^20 addresses, as many as Kubernetes allows a service range; apart from the 240.240.0.0/16 that Istio
    allocates from."""
    ca: CaSettings = field(default_factory=CaSettings)
    bundle_endpoint: BundleEndpointSettings | None = None
    """None: the own bundle is not served to others than members."""
    kubernetes: KubernetesSettings | None = None
    """The Kubernetes cluster whose objects are read and written. None: manifests in the cluster's directory count."""


@dataclass(frozen=True, slots=True)
class OutboundListener:
    """A local port of the sidecar that leads to one port of one imported service."""

    service: ServiceKey
    port: int
    """The service's port, not the workload's."""
    listen: HostPort


@dataclass(frozen=True, slots=True)
class ProbeSettings:
    """The sidecar's own health check of its application, by HTTP GET on the workload's address."""

    port: int
    path: str
    interval: timedelta = timedelta(milliseconds=500)
    """Time between checks: a frozen application is left within about a second."""
    timeout: timedelta = timedelta(milliseconds=500)
    """Time for an answer; the health path must answer well within it, whatever the load."""


@dataclass(frozen=True, slots=True)
class SidecarXdsSettings:
    address: HostPort | UnixSocket
    """Where the controller serves xDS."""
    trust_bundle_file: Path | None = None
    """CA certificates (PEM) that the controller's certificate is verified against; needed by ``IP:PORT`` only."""


@dataclass(frozen=True, slots=True)
class SidecarSettings:
    cluster_directory: Path
    """The cluster's directory: its settings, and the workload's token. Required."""
    namespace: str
    """Namespace of the workload. Required."""
    service_account: str
    """Service account of the workload, hence its SPIFFE ID. Required."""
    address: str
    """IP address of the workload: where the sidecar listens for mutual TLS and reaches its application. Required."""
    inbound_port: int = 15006
    """Port for mutual TLS; the EndpointSlice must name it where it isn't the cluster's default."""
    zone: str = ""
    """Zone of the workload; empty means the cluster's."""
    admin: HostPort = _ENVOY_ADMIN
    """Envoy's admin port; loopback only."""
    metrics: HostPort | None = None
    """Where the sidecar's ``/metrics`` is served, read-only; None: nowhere."""
    http_proxy: HostPort | None = None
    """Explicit HTTP proxy port for outbound calls by host name; None: there is none."""
    redirect_port: int | None = None
    """Port for outbound traffic redirected with its original destination kept (15001 in Istio); None: there is none."""
    outbound: tuple[OutboundListener, ...] = ()
    """Local ports that lead to imported services."""
    probe: ProbeSettings | None = None
    """None: the application is not checked."""
    xds: SidecarXdsSettings | None = None
    """None: as the settings in the cluster's directory say."""
