"""The grammar of ``cluster.yaml`` and ``sidecar*.yaml``: text to the values of ``configuration``, or every violation.

Unknown keys are refused, since a misspelt key would silently mean its default. Types are strict. This module reads no
file; its models live only while one text is judged. A field left out takes the default of its value class, the one home
of defaults; ``docs/reference`` shows them all, held equal by a test.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Final, NoReturn, TypeVar

from pydantic import Field, ValidationError

from federation.model.addresses import HostPort, UnixSocket
from federation.model.bundle_relations import bundle_relations
from federation.model.configuration import (
    AccessLog,
    BundleEndpointSettings,
    BundleEndpointSource,
    CaSettings,
    ClusterSettings,
    DnsSettings,
    EndpointProfile,
    ExchangeSettings,
    GatewaySettings,
    HttpSettings,
    KubernetesSettings,
    MeshSettings,
    OutboundListener,
    ProbeSettings,
    SidecarSettings,
    SidecarXdsSettings,
    TelemetrySettings,
    XdsSettings,
)
from federation.model.documents import read_yaml
from federation.model.errors import ConfigError
from federation.model.names import ClusterId
from federation.model.settings_fields import (
    LEFT_OUT,
    Connections,
    DnsTtl,
    Duration,
    ExchangeUrl,
    FilePath,
    HttpPath,
    HttpsUrl,
    Items,
    Label,
    Listen,
    ListenOrSocket,
    LoopbackListen,
    Mebibytes,
    Network,
    Place,
    Port,
    PortOrZero,
    Reachable,
    Seconds,
    Section,
    Service,
    SpiffeId,
    Subdomain,
    TrustDomain,
    VipRange,
    WorkloadAddress,
    Zone,
    given,
    violations,
)

# The values, for those who read settings anyway; the core takes them from ``configuration``, which knows no pydantic.
__all__ = ["ClusterSettings", "HostPort", "SidecarSettings", "parse_cluster_settings", "parse_sidecar_settings"]

S = TypeVar("S", bound=Section)


class _Exchange(Section):
    url: ExchangeUrl
    ca_file: FilePath | None = LEFT_OUT
    credentials_file: FilePath | None = LEFT_OUT
    lease_seconds: Seconds = LEFT_OUT
    beat_seconds: Seconds = LEFT_OUT


class _Gateway(Section):
    listen: Listen = LEFT_OUT
    addresses: Items[Reachable] = LEFT_OUT
    admin: LoopbackListen = LEFT_OUT
    egress: bool = LEFT_OUT
    memory_mib: Mebibytes = LEFT_OUT
    max_connections: Connections = LEFT_OUT
    metrics: Listen = LEFT_OUT


class _Mesh(Section):
    sidecar_port: PortOrZero = LEFT_OUT


class _Xds(Section):
    listen: ListenOrSocket = Field("unix:state/xds.sock", validate_default=True)


class _Http(Section):
    listen: Listen = LEFT_OUT


class _Telemetry(Section):
    access_log: AccessLog = LEFT_OUT
    sidecar_metrics: bool = LEFT_OUT


class _Dns(Section):
    listen: Listen | None = LEFT_OUT
    ttl: DnsTtl = LEFT_OUT


class _BundleSource(Section):
    url: HttpsUrl
    profile: EndpointProfile
    spiffe_id: SpiffeId = LEFT_OUT
    bootstrap_file: FilePath | None = LEFT_OUT
    ca_file: FilePath | None = LEFT_OUT


class _BundleEndpoint(Section):
    listen: Listen
    profile: EndpointProfile = LEFT_OUT
    certificate_file: FilePath | None = LEFT_OUT
    key_file: FilePath | None = LEFT_OUT


class _Ca(Section):
    leaf_ttl: Duration = LEFT_OUT
    ca_ttl: Duration = LEFT_OUT
    propagation: Duration = LEFT_OUT
    bundle_file: FilePath | None = LEFT_OUT
    bundle_endpoint: _BundleSource | None = LEFT_OUT


class _Kubernetes(Section):
    namespace: Label = LEFT_OUT
    kubeconfig: FilePath | None = LEFT_OUT
    context: str = LEFT_OUT
    gateway_service: Label = LEFT_OUT
    lease_seconds: Seconds = LEFT_OUT
    webhook_listen: Listen | None = LEFT_OUT
    sidecar_image: str = LEFT_OUT
    redirect: Items[Network] = ()


class _Cluster(Section):
    clusterset: Label
    cluster: Label
    region: Place
    zone: Zone = LEFT_OUT
    trust_domain: TrustDomain
    network: Place = LEFT_OUT
    member_key_file: FilePath = Field("member.key", validate_default=True)
    authority_directory: FilePath = Field("authority", validate_default=True)
    exchange: _Exchange
    gateway: _Gateway = _Gateway()
    mesh: _Mesh = _Mesh()
    xds: _Xds = Field({}, validate_default=True)
    http: _Http = _Http()
    dns: _Dns = _Dns()
    telemetry: _Telemetry = _Telemetry()
    state_directory: FilePath = Field("state", validate_default=True)
    tokens_directory: FilePath = Field("tokens", validate_default=True)
    vip_range: VipRange = LEFT_OUT
    ca: _Ca = _Ca()
    bundle_endpoint: _BundleEndpoint | None = LEFT_OUT
    kubernetes: _Kubernetes | None = LEFT_OUT


class _Outbound(Section):
    service: Service
    port: Port
    listen: Listen


class _Probe(Section):
    port: Port
    path: HttpPath
    interval: Duration = LEFT_OUT
    timeout: Duration = LEFT_OUT


class _SidecarXds(Section):
    address: ListenOrSocket
    trust_bundle_file: FilePath | None = LEFT_OUT


class _Sidecar(Section):
    cluster_directory: FilePath
    namespace: Label
    service_account: Subdomain
    address: WorkloadAddress
    inbound_port: Port = LEFT_OUT
    zone: Zone = LEFT_OUT
    admin: LoopbackListen = LEFT_OUT
    metrics: Listen | None = LEFT_OUT
    http_proxy: Listen | None = LEFT_OUT
    redirect_port: Port | None = LEFT_OUT
    outbound: Items[_Outbound] = ()
    probe: _Probe | None = None
    xds: _SidecarXds | None = None


_CLUSTER_HINT: Final = "docs/reference/cluster.yaml shows every key with its default"
_SIDECAR_HINT: Final = "docs/reference/sidecar.yaml shows every key with its default"


def parse_cluster_settings(text: str, *, directory: Path) -> ClusterSettings:
    """Read the text of a ``cluster.yaml``; relative paths are taken from ``directory``.

    Raises ConfigError with every violation; how fields relate is judged once each field by itself is right.
    """
    source = _read(_Cluster, text, directory, "cluster settings", _CLUSTER_HINT)
    gateway = GatewaySettings(**{"addresses": (), **given(source.gateway)})
    if "metrics" not in source.gateway.model_fields_set:
        gateway = replace(gateway, metrics=HostPort(gateway.admin.host, gateway.metrics.port))
    # In Kubernetes they are found by the gateways' Service.
    found = source.kubernetes is not None
    settings = ClusterSettings(
        **given(source)
        | {
            "cluster": ClusterId(source.cluster),
            "network": source.network or source.cluster,
            "exchange": ExchangeSettings(**given(source.exchange)),
            "gateway": gateway if found else replace(gateway, addresses=gateway.addresses or (gateway.listen,)),
            "mesh": MeshSettings(**given(source.mesh)),
            "xds": XdsSettings(**given(source.xds)),
            "http": HttpSettings(**given(source.http)),
            "dns": DnsSettings(**given(source.dns)),
            "telemetry": TelemetrySettings(**given(source.telemetry)),
            "ca": _ca_settings(source.ca),
            "bundle_endpoint": source.bundle_endpoint and BundleEndpointSettings(**given(source.bundle_endpoint)),
            "kubernetes": source.kubernetes and KubernetesSettings(**given(source.kubernetes)),
        }
    )
    if broken := _cluster_relations(settings, directory):
        _refuse("cluster settings", broken, _CLUSTER_HINT)
    return settings


def parse_sidecar_settings(text: str, *, directory: Path) -> SidecarSettings:
    """Read the text of a ``sidecar*.yaml``; relative paths are taken from ``directory``.

    Raises ConfigError with every violation; how fields relate is judged once each field by itself is right.
    """
    source = _read(_Sidecar, text, directory, "sidecar settings", _SIDECAR_HINT)
    settings = SidecarSettings(
        **given(source)
        | {
            "outbound": tuple(OutboundListener(**given(item)) for item in source.outbound),
            "probe": source.probe and ProbeSettings(**given(source.probe)),
            "xds": source.xds and SidecarXdsSettings(**given(source.xds)),
        }
    )
    if broken := _sidecar_relations(settings):
        _refuse("sidecar settings", broken, _SIDECAR_HINT)
    return settings


def _read(model: type[S], text: str, directory: Path, what: str, hint: str) -> S:
    try:
        document = read_yaml(text)
    except ValueError as error:
        _refuse(what, [f"file: {error}"], hint)
    try:
        return model.model_validate({} if document is None else document, context={"directory": directory})
    except ValidationError as error:
        _refuse(what, violations(error), hint)


def _refuse(what: str, broken: list[str], hint: str) -> NoReturn:
    raise ConfigError(f"{what} are unusable: {'; '.join(broken)}", violations=broken, hint=hint)


def _cluster_relations(settings: ClusterSettings, directory: Path) -> list[str]:
    broken = []
    if settings.exchange.lease_seconds < 2 * settings.exchange.beat_seconds:
        broken.append(
            "exchange.leaseSeconds: must be at least twice exchange.beatSeconds, or one late beat loses the lease"
        )
    if any(address.is_unspecified for address in settings.gateway.addresses):
        broken.append("gateway.addresses: is required where gateway.listen means every address of the host")
    if settings.gateway.egress and settings.ca.external:
        broken.append("gateway.egress: needs a certificate of the gateway's own, which no CA elsewhere gives it")
    if settings.gateway.egress and settings.kubernetes is not None:
        broken.append("gateway.egress: has no way in Kubernetes, where a gateway's pods have no clusterset IPs")
    broken += bundle_relations(settings)
    if settings.ca.leaf_ttl >= settings.ca.ca_ttl:
        broken.append("ca.leafTtl: must be shorter than ca.caTtl")
    if settings.ca.propagation >= settings.ca.leaf_ttl:
        broken.append("ca.propagation: must be shorter than ca.leafTtl")
    for name, path in (
        ("stateDirectory", settings.state_directory),
        ("tokensDirectory", settings.tokens_directory),
        ("authorityDirectory", settings.authority_directory),
    ):
        if directory.is_relative_to(path):
            broken.append(f"{name}: must not contain the cluster's directory, whose manifests would be left out")
    listeners = [
        ("gateway.listen", settings.gateway.listen),
        ("gateway.admin", settings.gateway.admin),
        ("gateway.metrics", settings.gateway.metrics),
        ("http.listen", settings.http.listen),
    ]
    if isinstance(settings.xds.listen, HostPort):
        listeners.append(("xds.listen", settings.xds.listen))
    if settings.dns.listen is not None:
        listeners.append(("dns.listen", settings.dns.listen))
    if settings.kubernetes is not None and settings.kubernetes.webhook_listen is not None:
        listeners.append(("kubernetes.webhookListen", settings.kubernetes.webhook_listen))
    if settings.bundle_endpoint is not None:
        listeners.append(("bundleEndpoint.listen", settings.bundle_endpoint.listen))
    return broken + _shared_listeners(listeners)


def _ca_settings(source: _Ca) -> CaSettings:
    endpoint = source.bundle_endpoint
    return CaSettings(
        **given(source) | {"bundle_endpoint": endpoint and BundleEndpointSource(**given(endpoint))},
    )


def _sidecar_relations(settings: SidecarSettings) -> list[str]:
    broken = []
    if settings.redirect_port == settings.inbound_port:
        broken.append("redirectPort: must differ from inboundPort")
    match settings.xds:
        case SidecarXdsSettings(address=HostPort(), trust_bundle_file=None):
            broken.append("xds.trustBundleFile: is required to verify a controller at IP:PORT")
        case SidecarXdsSettings(address=UnixSocket(), trust_bundle_file=Path()):
            broken.append("xds.trustBundleFile: has no meaning for a Unix socket")
    listeners = [
        ("address and inboundPort", HostPort(settings.address, settings.inbound_port)),
        ("admin", settings.admin),
        *((f"outbound[{index}].listen", item.listen) for index, item in enumerate(settings.outbound)),
    ]
    if settings.metrics is not None:
        listeners.append(("metrics", settings.metrics))
    if settings.http_proxy is not None:
        listeners.append(("httpProxy", settings.http_proxy))
    return broken + _shared_listeners(listeners)


def _shared_listeners(listeners: list[tuple[str, HostPort]]) -> list[str]:
    names: dict[HostPort, list[str]] = {}
    for name, address in listeners:
        names.setdefault(address, []).append(name)
    return [f"{users[0]}: {address} is also {', '.join(users[1:])}" for address, users in names.items() if users[1:]]
