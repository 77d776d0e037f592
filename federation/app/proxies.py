"""The gateway and sidecar processes: settings to a bootstrap, and Envoy run under supervision."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path

from federation.app.envoy import EnvoyProcess
from federation.app.farewell import Farewell, Owner
from federation.app.memory_limit import gateway_limits
from federation.app.owner_socket import ADMIN_SOCKET
from federation.app.programs import find_envoy
from federation.model.addresses import HostPort, UnixSocket
from federation.model.configuration import ClusterSettings, SidecarSettings
from federation.model.errors import ConfigError
from federation.storage.private_file import read_private, replace_private
from gateway.nodes import GatewayNode, Listen, LocalPort, ProbeSpec, SidecarNode
from gateway.telemetry import Telemetry
from gateway.xds.bootstrap import ControlPlane, build_bootstrap, build_token_source, build_trust_source
from trustbundle.identity import TrustDomain, controller_id

TRUST_BUNDLE_FILE = "bundle.pem"
"""In the state directory: the own trust bundle, for proxies that reach the controller over TLS."""

TOKEN_SOURCE = "token.json"  # noqa: S105 - the name of a file that names the token's
TRUST_SOURCE = "control-plane.json"

GATEWAY_CONNECTIONS = r"^listener\.gateway\.downstream_cx_active$"
"""The statistic of Envoy that counts the open connections of a gateway."""
_DRAIN_FILE = "drain"
DRAIN_SECONDS = 5
"""Connections of a trust domain that was removed end after this long: half of the ten seconds that they may last."""


def gateway_node(settings: ClusterSettings) -> GatewayNode:
    """What the cluster's gateway tells the control plane of itself."""
    return GatewayNode(_listen(settings.gateway.listen), egress=settings.gateway.egress)


def telemetry(settings: ClusterSettings) -> Telemetry:
    """What the cluster's proxies measure and log."""
    said = settings.telemetry
    return Telemetry(settings.cluster, said.access_log, said.sidecar_metrics)


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


def one_gateway(settings: ClusterSettings, listen: HostPort, admin: HostPort) -> ClusterSettings:
    """The settings as those of one gateway among several of a cluster."""
    return replace(settings, gateway=replace(settings.gateway, listen=listen, admin=admin))


def gateway_process(settings: ClusterSettings, name: str = "gateway") -> EnvoyProcess:
    """The cluster's east-west gateway; ``name`` is of its directory. Raises MissingProgramError, and ConfigError where
    its token can't be read."""
    node = gateway_node(settings)
    directory = settings.state_directory / name
    token = settings.tokens_directory / "gateway.token"
    _check_token(token, "gateway")

    def bootstrap() -> dict[str, object]:
        _check_token(token, "gateway")
        return build_bootstrap(
            node,
            node_id=f"gateway~{settings.gateway.listen}",
            cluster=settings.cluster,
            region=settings.region,
            zone=settings.zone,
            admin=_listen(settings.gateway.admin),
            metrics=_listen(settings.gateway.metrics),
            xds=_control_plane(settings, settings.xds.listen, None, token, directory),
            limits=gateway_limits(settings.gateway),
        )

    return EnvoyProcess(find_envoy(), bootstrap, directory, drain_seconds=DRAIN_SECONDS)


def gateway_farewell(settings: ClusterSettings, drain: timedelta) -> Farewell:
    """How the gateway ends, in at most ``drain`` once the others call another one."""
    return Farewell(
        owner=Owner(settings.state_directory / ADMIN_SOCKET, "gateways", settings.gateway.listen),
        admin=settings.gateway.admin,
        drain=drain,
        open_statistics=GATEWAY_CONNECTIONS,
    )


def sidecar_farewell(sidecar: SidecarSettings, cluster: ClusterSettings, drain: timedelta) -> Farewell:
    """How a sidecar ends, in at most ``drain`` once the others call another one."""
    return Farewell(
        owner=Owner(
            cluster.state_directory / ADMIN_SOCKET, "sidecars", HostPort(sidecar.address, sidecar.inbound_port)
        ),
        admin=sidecar.admin,
        drain=drain,
        open_statistics=r"^(http\.inbound\.downstream_rq_active|tcp\.inbound_tcp\.downstream_cx_active)$",
        end_calls=partial(_write_drain_file, _sidecar_directory(sidecar, cluster), "1"),
    )


def _sidecar_directory(sidecar: SidecarSettings, cluster: ClusterSettings) -> Path:
    return cluster.state_directory / "sidecars" / f"{sidecar.namespace}~{sidecar.address}~{sidecar.inbound_port}"


def _write_drain_file(directory: Path, content: str) -> None:
    """Renamed into its place, by which Envoy notices it."""
    replace_private(directory / _DRAIN_FILE, content.encode())


def sidecar_process(sidecar: SidecarSettings, cluster: ClusterSettings) -> EnvoyProcess:
    """One workload's sidecar. Raises MissingProgramError, and ConfigError where its token can't be read."""
    node = sidecar_node(sidecar)
    directory = _sidecar_directory(sidecar, cluster)
    workload = f"{sidecar.namespace}/{sidecar.service_account}"
    token = cluster.tokens_directory / f"{sidecar.namespace}.{sidecar.service_account}.token"
    _check_token(token, workload)
    address = cluster.xds.listen if sidecar.xds is None else sidecar.xds.address
    trust_bundle = None if sidecar.xds is None else sidecar.xds.trust_bundle_file

    def bootstrap() -> dict[str, object]:
        _check_token(token, workload)
        xds = _control_plane(cluster, address, trust_bundle, token, directory)
        _write_drain_file(directory, "0")
        return build_bootstrap(
            node,
            node_id=f"sidecar~{sidecar.namespace}~{sidecar.address}~{sidecar.inbound_port}",
            cluster=cluster.cluster,
            region=cluster.region,
            zone=sidecar.zone or cluster.zone,
            admin=_listen(sidecar.admin),
            metrics=None if sidecar.metrics is None else _listen(sidecar.metrics),
            xds=xds,
            drain_file=str(directory / _DRAIN_FILE),
        )

    return EnvoyProcess(find_envoy(), bootstrap, directory, drain_seconds=DRAIN_SECONDS)


def control_plane(
    address: Listen | UnixSocket, *, trust_domain: str, trust_bundle: Path, token: Path, directory: Path
) -> ControlPlane:
    """How a proxy finds and proves itself to its controller, with the files for it written to ``directory`` (0700).

    Raises ConfigError where they can't be. ``trust_bundle`` and ``token`` are read by Envoy itself, whenever they
    change.
    """
    sources = {TOKEN_SOURCE: build_token_source(str(token))}
    where = ControlPlane(token_source=str(directory / TOKEN_SOURCE))
    if isinstance(address, UnixSocket):
        where = replace(where, socket=str(address.path))
    else:
        identity = str(controller_id(TrustDomain(trust_domain)))
        sources[TRUST_SOURCE] = build_trust_source(str(trust_bundle), identity)
        where = replace(where, address=address, trust_source=str(directory / TRUST_SOURCE))
    for name, document in sources.items():
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            (directory / name).write_text(json.dumps(document))
        except OSError as error:
            raise ConfigError(f"{directory / name} can't be written: {error.strerror}") from error
    return where


def _control_plane(
    settings: ClusterSettings, address: HostPort | UnixSocket, trust_bundle: Path | None, token: Path, directory: Path
) -> ControlPlane:
    return control_plane(
        address if isinstance(address, UnixSocket) else _listen(address),
        trust_domain=settings.trust_domain,
        trust_bundle=trust_bundle or settings.state_directory / TRUST_BUNDLE_FILE,
        token=token,
        directory=directory,
    )


def _check_token(path: Path, workload: str) -> None:
    """Raise ConfigError for a token that Envoy could do nothing with, or that others than its owner can read."""
    try:
        token = read_private(path).strip()
    except OSError as error:
        cause = getattr(error, "strerror", None) or error
        raise ConfigError(f"token {path} can't be read: {cause}", hint=_token_hint(workload)) from error
    if not token:
        raise ConfigError(f"token {path} is empty", hint=_token_hint(workload))


def _token_hint(workload: str) -> str:
    return f"`federation credentials node-token {workload} --dir DIRECTORY` makes one, of mode 0600"


def _listen(address: HostPort) -> Listen:
    return Listen(address.host, address.port)


def _milliseconds(duration: timedelta) -> int:
    return int(duration / timedelta(milliseconds=1))
