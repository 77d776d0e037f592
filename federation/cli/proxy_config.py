"""`federation proxy-config`: the bootstrap of an Envoy that runs in a pod without us."""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from federation.model.addresses import HostPort, parse_host_port
from federation.model.errors import ConfigError

if TYPE_CHECKING:
    from gateway.nodes import Listen

app = typer.Typer(help="Bootstraps of Envoys in pods, as init containers write them.", no_args_is_help=True)

# As ``probe`` of a sidecar.yaml.
_PROBE_MS = 500

ClusterId = Annotated[
    str, typer.Option("--cluster-id", metavar="ID", help="Of this cluster, for people who look. [default: the domain]")
]
Region = Annotated[str, typer.Option("--region", metavar="REGION", help="Of this cluster.")]
Zone = Annotated[str, typer.Option("--zone", metavar="ZONE", envvar="ZONE", help="Of the pod's node.")]
Clusterset = Annotated[
    str, typer.Option("--clusterset", metavar="NAME", help="Its controllers are whom the token must be for.")
]
Domain = Annotated[
    str,
    typer.Option("--trust-domain", metavar="DOMAIN", help="Of the controllers. [default: that of the trust bundle]"),
]
Xds = Annotated[str, typer.Option("--xds", metavar="HOST:PORT", help="The controllers, by IP address or DNS name.")]
Token = Annotated[Path, typer.Option("--token-file", metavar="FILE", help="The pod's projected token.")]
Trust = Annotated[Path, typer.Option("--trust-bundle", metavar="FILE", help="By it the controllers are verified.")]
AdminPort = Annotated[
    int, typer.Option("--admin-port", min=1, max=65535, metavar="PORT", help="Envoy's own, on loopback.")
]
HealthPort = Annotated[
    int,
    typer.Option(
        "--health-port", min=0, max=65535, metavar="PORT", help="Answers once there is a configuration; 0: none."
    ),
]
MetricsPort = Annotated[
    int,
    typer.Option("--metrics-port", min=0, max=65535, metavar="PORT", help="Serves /metrics to Prometheus; 0: none."),
]
Output = Annotated[
    Path,
    typer.Option("--output", "--out", "-o", metavar="FILE", help="The bootstrap; files that it names go beside it."),
]

_XDS = "federation-controller.federation-system.svc:15012"
_TOKEN = Path("/var/run/secrets/federation/token")
_TRUST = Path("/var/run/federation/trust/bundle.pem")
_OUTPUT = Path("/etc/federation-proxy/envoy.json")


@app.callback()
def _group() -> None:
    pass


@app.command("sidecar")
def sidecar(
    pod_ip: Annotated[
        str, typer.Option("--pod-ip", metavar="IP", envvar="POD_IP", help="Where the application and Envoy listen.")
    ],
    namespace: Annotated[
        str,
        typer.Option("--namespace", metavar="NAME", envvar="POD_NAMESPACE", help="Of the pod, for people who look."),
    ],
    pod_name: Annotated[str, typer.Option("--pod-name", metavar="NAME", envvar="POD_NAME", help="Likewise.")] = "",
    inbound_port: Annotated[
        int, typer.Option("--inbound-port", min=1, max=65535, metavar="PORT", help="Takes mutual TLS.")
    ] = 15006,
    redirect_port: Annotated[
        int,
        typer.Option(
            "--redirect-port", min=0, max=65535, metavar="PORT", help="Takes redirected connections; 0: none are."
        ),
    ] = 0,
    probe_port: Annotated[
        int,
        typer.Option(
            "--probe-port", min=0, max=65535, metavar="PORT", help="Of the application's health path; 0: no checks."
        ),
    ] = 0,
    probe_path: Annotated[str, typer.Option("--probe-path", metavar="PATH", help="Answers below 500 are good.")] = "/",
    cluster_id: ClusterId = "",
    region: Region = "",
    zone: Zone = "",
    clusterset: Clusterset = "",
    trust_domain: Domain = "",
    xds: Xds = _XDS,
    token_file: Token = _TOKEN,
    trust_bundle: Trust = _TRUST,
    admin_port: AdminPort = 15000,
    health_port: HealthPort = 15021,
    metrics_port: MetricsPort = 15020,
    output: Output = _OUTPUT,
) -> None:
    """Write the bootstrap of a pod's sidecar.

    Whose certificate it gets, its token says. Envoy reads token and trust bundle again when the kubelet replaces them.

    \b
    Example:
      federation proxy-config sidecar --region us --redirect-port 15001
    """
    from federation.app.pod_proxies import PodPlace, write_pod_bootstrap  # noqa: PLC0415
    from federation.app.redirect import has_ipv6  # noqa: PLC0415
    from gateway.nodes import ProbeSpec, SidecarNode  # noqa: PLC0415

    address = _address(pod_ip)
    node = SidecarNode(
        address=address,
        inbound_port=inbound_port,
        redirect_port=redirect_port or None,
        # As `federation redirect` decides it, in the same network namespace.
        redirect_ipv6=bool(redirect_port) and has_ipv6(),
        probe=ProbeSpec(probe_port, probe_path, _PROBE_MS, _PROBE_MS) if probe_port else None,
    )
    place = PodPlace(
        cluster=cluster_id,
        region=region,
        zone=zone,
        xds=_xds(xds),
        admin=HostPort("127.0.0.1", admin_port),
        health=_on_all(address, health_port),
        metrics=_on_all(address, metrics_port),
        token=token_file,
        trust_bundle=trust_bundle,
        trust_domain=trust_domain,
        clusterset=clusterset,
    )
    words = ["sidecar", namespace, *([pod_name] if pod_name else []), address, str(inbound_port)]
    write_pod_bootstrap(node, "~".join(words), place, output)


@app.command("gateway")
def gateway(
    listen: Annotated[
        str, typer.Option("--listen", metavar="IP:PORT", help="Takes mutual TLS of other clusters.")
    ] = "0.0.0.0:15443",
    pod_name: Annotated[
        str, typer.Option("--pod-name", metavar="NAME", envvar="POD_NAME", help="Of the pod, for people who look.")
    ] = "",
    cluster_id: ClusterId = "",
    region: Region = "",
    zone: Zone = "",
    clusterset: Clusterset = "",
    trust_domain: Domain = "",
    xds: Xds = _XDS,
    token_file: Token = _TOKEN,
    trust_bundle: Trust = _TRUST,
    admin_port: AdminPort = 15000,
    health_port: HealthPort = 15021,
    metrics_port: MetricsPort = 15020,
    output: Output = _OUTPUT,
) -> None:
    """Write the bootstrap of a gateway.

    It must run as the service account federation-gateway, in the namespace of the controllers.

    \b
    Example:
      federation proxy-config gateway --region us --output envoy.json
    """
    from federation.app.pod_proxies import PodPlace, write_pod_bootstrap  # noqa: PLC0415
    from gateway.nodes import GatewayNode, Listen  # noqa: PLC0415

    try:
        address = parse_host_port(listen)
    except ValueError as error:
        raise ConfigError(f"--listen: {error}") from error
    place = PodPlace(
        cluster=cluster_id,
        region=region,
        zone=zone,
        xds=_xds(xds),
        admin=HostPort("127.0.0.1", admin_port),
        health=_on_all(address.host, health_port),
        metrics=_on_all(address.host, metrics_port),
        token=token_file,
        trust_bundle=trust_bundle,
        trust_domain=trust_domain,
        clusterset=clusterset,
    )
    words = ["gateway", *([pod_name] if pod_name else []), str(address)]
    write_pod_bootstrap(GatewayNode(Listen(address.host, address.port)), "~".join(words), place, output)


def _xds(text: str) -> Listen:
    from federation.app.pod_proxies import parse_xds_address  # noqa: PLC0415

    try:
        return parse_xds_address(text)
    except ValueError as error:
        raise ConfigError(f"--xds: {error}") from error


def _on_all(host: str, port: int) -> HostPort | None:
    """On all addresses of the family: the kubelet and Prometheus ask from outside of the pod."""
    return HostPort("::" if ":" in host else "0.0.0.0", port) if port else None


def _address(text: str) -> str:
    try:
        return str(ip_address(text))
    except ValueError as error:
        raise ConfigError(
            f"{text!r} is not the pod's IP address", hint="set POD_IP from the field status.podIP"
        ) from error
