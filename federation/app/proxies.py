"""The gateway and sidecar processes: settings to a bootstrap, and Envoy run under supervision."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

from federation.app.envoy import EnvoyProcess
from federation.app.programs import find_envoy
from federation.model.addresses import HostPort, UnixSocket
from federation.model.configuration import ClusterSettings, SidecarSettings
from federation.model.errors import ConfigError
from federation.storage.private_file import read_private
from gateway.nodes import GatewayNode, Listen, LocalPort, ProbeSpec, SidecarNode
from gateway.xds.bootstrap import ControlPlane, build_bootstrap, build_trust_source
from trustbundle.identity import TrustDomain, controller_id

TRUST_BUNDLE_FILE = "bundle.pem"
"""In the state directory: the own trust bundle, for proxies that reach the controller over TLS."""

# Connections of a trust domain that was removed end after this long: half of the ten seconds that they may last.
_SIDECAR_DRAIN_SECONDS = 5


def gateway_node(settings: ClusterSettings) -> GatewayNode:
    """What the cluster's gateway tells the control plane of itself."""
    return GatewayNode(_listen(settings.gateway.listen))


def sidecar_node(sidecar: SidecarSettings) -> SidecarNode:
    """What a sidecar tells the control plane of itself."""
    return SidecarNode(
        address=sidecar.address,
        inbound_port=sidecar.inbound_port,
        http_proxy=None if sidecar.http_proxy is None else _listen(sidecar.http_proxy),
        redirect_port=sidecar.redirect_port,
        outbound=tuple(
            LocalPort(local.service.namespace, local.service.name, local.port, _listen(local.listen))
            for local in sidecar.outbound
        ),
        probe=None
        if sidecar.probe is None
        else ProbeSpec(
            sidecar.probe.port,
            sidecar.probe.path,
            _milliseconds(sidecar.probe.interval),
            _milliseconds(sidecar.probe.timeout),
        ),
    )


def gateway_process(settings: ClusterSettings) -> EnvoyProcess:
    """The cluster's east-west gateway. Raises MissingProgramError, and ConfigError where its token can't be read."""
    node = gateway_node(settings)
    directory = settings.state_directory / "gateway"
    token = settings.tokens_directory / "gateway.token"
    _read_token(token, "gateway")

    def bootstrap() -> dict[str, object]:
        return build_bootstrap(
            node,
            node_id=f"gateway~{settings.gateway.listen}",
            cluster=settings.cluster,
            region=settings.region,
            zone=settings.zone,
            token=_read_token(token, "gateway"),
            admin=_listen(settings.gateway.admin),
            xds=_control_plane(settings, settings.xds.listen, None, directory),
        )

    return EnvoyProcess(find_envoy(), bootstrap, directory)


def sidecar_process(sidecar: SidecarSettings, cluster: ClusterSettings) -> EnvoyProcess:
    """One workload's sidecar. Raises MissingProgramError, and ConfigError where its token can't be read."""
    node = sidecar_node(sidecar)
    directory = cluster.state_directory / "sidecars" / f"{sidecar.namespace}~{sidecar.address}~{sidecar.inbound_port}"
    workload = f"{sidecar.namespace}/{sidecar.service_account}"
    token = cluster.tokens_directory / f"{sidecar.namespace}.{sidecar.service_account}.token"
    _read_token(token, workload)
    address = cluster.xds.listen if sidecar.xds is None else sidecar.xds.address
    trust_bundle = None if sidecar.xds is None else sidecar.xds.trust_bundle_file

    def bootstrap() -> dict[str, object]:
        return build_bootstrap(
            node,
            node_id=f"sidecar~{sidecar.namespace}~{sidecar.address}~{sidecar.inbound_port}",
            cluster=cluster.cluster,
            region=cluster.region,
            zone=sidecar.zone or cluster.zone,
            token=_read_token(token, workload),
            admin=_listen(sidecar.admin),
            xds=_control_plane(cluster, address, trust_bundle, directory),
        )

    return EnvoyProcess(find_envoy(), bootstrap, directory, drain_seconds=_SIDECAR_DRAIN_SECONDS)


def _control_plane(
    settings: ClusterSettings, address: HostPort | UnixSocket, trust_bundle: Path | None, directory: Path
) -> ControlPlane:
    if isinstance(address, UnixSocket):
        return ControlPlane(socket=str(address.path))
    source = directory / "control-plane.json"
    document = build_trust_source(
        str(trust_bundle or settings.state_directory / TRUST_BUNDLE_FILE),
        str(controller_id(TrustDomain(settings.trust_domain))),
    )
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        source.write_text(json.dumps(document))
    except OSError as error:
        raise ConfigError(f"{source} can't be written: {error.strerror}") from error
    return ControlPlane(address=_listen(address), trust_source=str(source))


def _read_token(path: Path, workload: str) -> str:
    try:
        token = read_private(path).decode().strip()
    except (OSError, UnicodeDecodeError) as error:
        cause = getattr(error, "strerror", None) or error
        raise ConfigError(f"token {path} can't be read: {cause}", hint=_token_hint(workload)) from error
    if not token:
        raise ConfigError(f"token {path} is empty", hint=_token_hint(workload))
    return token


def _token_hint(workload: str) -> str:
    return f"`federation credentials node-token {workload} --dir DIRECTORY` makes one, of mode 0600"


def _listen(address: HostPort) -> Listen:
    return Listen(address.host, address.port)


def _milliseconds(duration: timedelta) -> int:
    return int(duration / timedelta(milliseconds=1))
