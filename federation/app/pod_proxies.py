"""The proxies of pods: what a pod is told and mounted, to a bootstrap for its Envoy.

An edge beside ``proxies``, whose files are a site's own. Here the kubelet mounts a token, for the proxy's containers
alone and with a mode that follows from who runs in the pod; so a mode is not judged. Nothing that is told here decides
who a proxy is: that the token proves.
"""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Final

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from federation.app.envoy import EnvoyProcess
from federation.app.farewell import Farewell
from federation.app.kube.base_settings import parse_base_settings
from federation.app.memory_limit import gateway_limits
from federation.app.programs import find_envoy
from federation.app.proxies import DRAIN_SECONDS, GATEWAY_CONNECTIONS, control_plane, gateway_node
from federation.app.sites import read_installation
from federation.install.vocabulary import XDS_PORT
from federation.model.addresses import HostPort, parse_host_port
from federation.model.configuration import ClusterSettings, KubernetesSettings
from federation.model.errors import ConfigError, TrustError
from federation.model.names import is_dns_label
from gateway.nodes import Listen, Node
from gateway.xds.bootstrap import build_bootstrap
from gateway.xds.overload import Limits
from trustbundle.x509 import parse_authority

TOKEN_FILE: Final = Path("/var/run/secrets/federation/token")
TRUST_FILE: Final = Path("/var/run/federation/trust/bundle.pem")

_KUBELETS_PATIENCE: Final = timedelta(hours=1)
"""More than terminationGracePeriodSeconds, which ends it before."""
_MOST_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class PodPlace:
    """Where a pod's proxy is, and how it finds its controllers and proves itself."""

    cluster: str = ""
    """Id of the cluster, for people who look; empty: the trust domain."""
    region: str = ""
    zone: str = ""
    xds: Listen
    """The controllers, by address or host name."""
    admin: HostPort
    health: HostPort | None = None
    """Where the kubelet asks whether Envoy is ready."""
    metrics: HostPort | None = None
    """Where Prometheus asks."""
    token: Path = TOKEN_FILE
    trust_bundle: Path = TRUST_FILE
    trust_domain: str = ""
    """Of the controllers; empty: the one that the certificates of the trust bundle name."""
    clusterset: str = ""
    """Whose audience the token must have; empty: that is not looked at."""


def pod_bootstrap(
    node: Node, node_id: str, place: PodPlace, directory: Path, limits: Limits | None = None
) -> dict[str, object]:
    """The bootstrap of a pod's Envoy, with the files that it names written to ``directory``; ``limits`` of a gateway.

    Raises ConfigError for a token or a trust bundle that Envoy could do nothing with: it would wait for ever.
    """
    check_token(place.token, place.clusterset)
    trust_domain = bundle_domain(place.trust_bundle)
    if place.trust_domain and trust_domain not in {"", place.trust_domain}:
        raise ConfigError(f"{place.trust_bundle} is of {trust_domain}, not of {place.trust_domain}")
    trust_domain = place.trust_domain or trust_domain
    if not trust_domain:
        raise ConfigError(
            f"the certificates in {place.trust_bundle} name no trust domain", hint="give the controllers' trust domain"
        )
    return build_bootstrap(
        node,
        node_id=node_id,
        cluster=place.cluster or trust_domain,
        region=place.region,
        zone=place.zone,
        admin=Listen(place.admin.host, place.admin.port),
        xds=control_plane(
            place.xds,
            trust_domain=trust_domain,
            trust_bundle=place.trust_bundle,
            token=place.token,
            directory=directory,
        ),
        health=None if place.health is None else Listen(place.health.host, place.health.port),
        limits=limits,
        metrics=None if place.metrics is None else Listen(place.metrics.host, place.metrics.port),
    )


def write_pod_bootstrap(node: Node, node_id: str, place: PodPlace, output: Path) -> None:
    """``pod_bootstrap`` as the file ``output``, its own files beside it. Raises ConfigError."""
    document = pod_bootstrap(node, node_id, place, output.absolute().parent)
    try:
        output.write_text(json.dumps(document))
    except OSError as error:
        raise ConfigError(f"bootstrap {output} can't be written: {error.strerror}") from error


def gateway_pod(settings: ClusterSettings, place: PodPlace) -> EnvoyProcess:
    """The gateway of a cluster in Kubernetes, in one of its pods. Raises MissingProgramError, and ConfigError as
    ``pod_bootstrap``."""
    directory = settings.state_directory / "gateway"
    node, node_id = gateway_node(settings), f"gateway~{settings.gateway.listen}"
    limits = gateway_limits(settings.gateway)
    pod_bootstrap(node, node_id, place, directory, limits)
    return EnvoyProcess(
        find_envoy(),
        lambda: pod_bootstrap(node, node_id, place, directory, limits),
        directory,
        drain_seconds=DRAIN_SECONDS,
        shown=True,
    )


def gateway_pod_farewell(settings: ClusterSettings) -> Farewell:
    """How it ends: with its connections, or when the kubelet's patience is over. Nobody is told: that it is about to
    end, its EndpointSlice says."""
    return Farewell(
        owner=None, admin=settings.gateway.admin, drain=_KUBELETS_PATIENCE, open_statistics=GATEWAY_CONNECTIONS
    )


def load_installation(base: Path, directory: Path) -> ClusterSettings:
    """The installation's settings, with state in ``directory``; raises ConfigError with every violation."""
    return parse_base_settings(read_installation(base), directory=directory.absolute())


def installed_place(settings: ClusterSettings) -> PodPlace:
    """Where a gateway finds what the installation gives it; who the cluster is, the trust bundle says."""
    kubernetes = settings.kubernetes or KubernetesSettings()
    port = settings.xds.listen.port if isinstance(settings.xds.listen, HostPort) else XDS_PORT
    return PodPlace(
        region=settings.region,
        zone=settings.zone,
        xds=Listen(f"federation-controller.{kubernetes.namespace}.svc", port),
        admin=settings.gateway.admin,
        metrics=settings.gateway.metrics,
    )


def parse_xds_address(text: str) -> Listen:
    """``HOST:PORT`` with an IP address (IPv6 in brackets) or a DNS name; raises ValueError."""
    try:
        address = parse_host_port(text)
    except ValueError:
        host, _, port = text.rpartition(":")
        labels = host.removesuffix(".").split(".")
        # The last label of a name is no number: what looks like an address and is none must not be looked up.
        if len(host) > 253 or not all(is_dns_label(label) for label in labels) or labels[-1].isdigit():
            raise ValueError(f"{text!r} is not HOST:PORT, with an IP address or a DNS name") from None
        return Listen(host, parse_host_port(f"0.0.0.0:{port}").port)
    return Listen(address.host, address.port)


def check_token(path: Path, clusterset: str) -> None:
    """Raise ConfigError unless the file holds a token for the controllers of ``clusterset``, as far as it says."""
    hint = "mount a projected volume with a serviceAccountToken there"
    try:
        token = path.read_bytes()[:_MOST_BYTES].strip()
    except OSError as error:
        raise ConfigError(f"token {path} can't be read: {error.strerror}", hint=hint) from error
    if not token:
        raise ConfigError(f"token {path} is empty", hint=hint)
    audience = f"federation.{clusterset}"
    if clusterset and audience not in _audiences(token):
        raise ConfigError(f"token {path} is not for the audience {audience}", hint=hint)


def bundle_domain(path: Path) -> str:
    """The trust domain that the CA certificates (PEM) of a trust bundle name; empty where they name none.

    Raises ConfigError for a file that is no trust bundle, or one of several trust domains.
    """
    hint = "it is the ConfigMap federation-trust-bundle, which the controllers write"
    try:
        found = x509.load_pem_x509_certificates(path.read_bytes()[:_MOST_BYTES])
        authorities = [parse_authority(certificate.public_bytes(Encoding.DER)) for certificate in found]
    except OSError as error:
        raise ConfigError(f"trust bundle {path} can't be read: {error.strerror}", hint=hint) from error
    except (ValueError, TrustError) as error:
        raise ConfigError(f"trust bundle {path} is unusable: {error}", hint=hint) from error
    domains = {str(authority.trust_domain or "") for authority in authorities}
    if len(domains) > 1:
        raise ConfigError(f"trust bundle {path} is of several trust domains", hint=hint)
    return domains.pop()


def _audiences(token: bytes) -> list[object]:
    """What a JWT says of whom it is for."""
    claims = token.split(b".")[1] if token.count(b".") == 2 else b""
    try:
        decoded = msgspec.json.decode(base64.urlsafe_b64decode(claims + b"=="), type=dict[str, object])
    except (binascii.Error, msgspec.DecodeError, UnicodeDecodeError):
        return []
    audiences = decoded.get("aud")
    return audiences if isinstance(audiences, list) else [audiences]
