"""PodSidecars: pods of this cluster get their sidecar, and what it needs to trust its controllers. Wires only."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from ipaddress import ip_network
from typing import Final

import structlog

from controllers.http.injection_webhook import FACE, serving_names, webhook_app
from controllers.http.rotating_tls import serve_tls
from controllers.injection.pod_patch import Injection
from controllers.kube.client import KubeClient, KubeError
from controllers.kube.cluster_watch import ClusterWatch
from controllers.kube.trust_distributor import TrustDistributor
from controllers.mcs.objects import Document, text
from federation import __version__
from federation.app.bundles import own_certificate
from federation.app.kube.post import Post
from federation.install.vocabulary import CONTROLLER, XDS_PORT
from federation.model.configuration import ClusterSettings, KubernetesSettings
from federation.model.problems import Problem
from trustbundle.authority import CertificateAuthority

_log = structlog.get_logger(__name__)

IMAGE: Final = "FEDERATION_IMAGE"
"""The environment variable that names the image which this pod runs."""

_SIDECAR_CONTAINERS: Final = (1, 29)
"""The version of Kubernetes from which a cluster has them unless somebody turned them off."""
_TIMEOUT_SECONDS: Final = 5.0
_AGAIN_SECONDS: Final = 300.0


class PodSidecars:
    """Of the cluster that ``settings`` name. ``opened`` gives clients, ``watch`` is run by somebody else."""

    def __init__(
        self,
        settings: ClusterSettings,
        kubernetes: KubernetesSettings,
        post: Post,
        built_in: CertificateAuthority,
        opened: Callable[[], AbstractAsyncContextManager[KubeClient]],
        watch: ClusterWatch,
    ) -> None:
        self._settings = settings
        self._kubernetes = kubernetes
        self._built_in = built_in
        self._opened = opened
        self._injection = injection_of(settings, kubernetes)
        self._sequence = -1
        self._distributor = TrustDistributor(
            opened,
            kubernetes.namespace,
            lambda: built_in.bundle().pem,
            lambda: post.leads,
            seconds_left=lambda: post.seconds_left,
            configures=kubernetes.webhook_listen is not None,
            watch=watch,
        )

    @property
    def problems(self) -> tuple[Problem, ...]:
        """Why pods may get no sidecar, or one that can't trust its controllers."""
        return self._distributor.problems

    @property
    def handed_out(self) -> bool:
        """Whether everybody was told by which bundle the controllers are verified now."""
        return self._distributor.handed_out == self._built_in.bundle().pem

    def after_pass(self) -> None:
        """The control loop has done a pass: the bundle of the controllers may be another."""
        sequence = self._built_in.bundle().sequence
        if sequence != self._sequence:
            self._sequence = sequence
            self._distributor.hurry()

    def hurry(self) -> None:
        """Who leads has changed."""
        self._distributor.hurry()

    async def run(self) -> None:
        """Keep the trust bundle where pods find it, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._distributor.run(), name="trust distributor")
            tasks.create_task(self._follow_version(), name="version of Kubernetes")

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        """Serve the webhook, where the settings say so, while the context lasts."""
        listen = self._kubernetes.webhook_listen
        if listen is None:
            yield
            return
        names = serving_names(CONTROLLER, self._kubernetes.namespace)
        certificate = own_certificate(self._built_in, self._settings.trust_domain, names)
        app = webhook_app(lambda: self._injection, self._distributor.namespace_facts)
        async with serve_tls(app, listen, certificate, self._settings.state_directory, FACE):
            yield

    async def _follow_version(self) -> None:
        """Whether sidecars may be containers of their own kind: a cluster may be upgraded under us."""
        while True:
            try:
                async with self._opened() as client:
                    version = await client.get("/version", {}, timeout_seconds=_TIMEOUT_SECONDS)
            except KubeError as error:
                _log.warning("version of Kubernetes is not known", reason=str(error))
            else:
                self._injection = replace(self._injection, native=has_sidecar_containers(version))
            await asyncio.sleep(_AGAIN_SECONDS)


def injection_of(settings: ClusterSettings, kubernetes: KubernetesSettings) -> Injection:
    """What all sidecars of the cluster have in common."""
    return Injection(
        image=kubernetes.sidecar_image or os.environ.get(IMAGE) or f"federation-gateway:{__version__}",
        clusterset=settings.clusterset,
        cluster=settings.cluster,
        region=settings.region,
        trust_domain=settings.trust_domain,
        xds=f"{CONTROLLER}.{kubernetes.namespace}.svc:{XDS_PORT}",
        system_namespace=kubernetes.namespace,
        include=tuple(ip_network(one) for one in kubernetes.redirect),
        issues=not settings.ca.external,
    )


def has_sidecar_containers(version: Document) -> bool:
    """By what an API server says of itself (``/version``): a minor version may have a plus sign."""
    digits = ["".join(char for char in text(version.get(part)) if char.isdigit()) for part in ("major", "minor")]
    return not all(digits) or (int(digits[0]), int(digits[1])) >= _SIDECAR_CONTAINERS
