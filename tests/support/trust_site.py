"""A stand-in API server with a trust distributor at work in it; a test says what the own bundle is and who leads."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

from controllers.injection.pod_patch import TRUST_CONFIG_MAP
from controllers.injection.trust_objects import CONFIGURATION
from controllers.kube.client import KubeAccess, open_client
from controllers.kube.trust_distributor import TrustDistributor
from support.kube.housekeeping import NAMESPACES
from support.kube.objects import GroupResource, Json, Key
from support.kube.registry import Write
from support.kube.server import StandIn, running
from support.kubernetes_site import QUICK

CONFIG_MAPS: GroupResource = ("", "configmaps")
CONFIGURATIONS: GroupResource = ("admissionregistration.k8s.io", "mutatingwebhookconfigurations")
SYSTEM = "federation-system"
LABEL = "federation-gateway.dev/injection"
_MERGE = "application/merge-patch+json"


class TrustSite:
    """The API server, the distributor, and what it is told."""

    def __init__(self, server: StandIn, kubeconfig: Path, **options: Any) -> None:
        self.server = server
        self.bundle = "first bundle\n"
        self.leads = True
        self.seconds_left = 60.0
        self.distributor = TrustDistributor(
            partial(open_client, KubeAccess(kubeconfig)),
            SYSTEM,
            lambda: self.bundle,
            lambda: self.leads,
            seconds_left=lambda: self.seconds_left,
            patience=QUICK,
            **options,
        )
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self.distributor.run())

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    def namespace(self, name: str, value: str = "") -> None:
        """A namespace with this value of the label, new or as it is then."""
        labels = {LABEL: value or None}
        if Key("", name) in self.server.objects(NAMESPACES):
            self.edit(NAMESPACES, Key("", name), {"metadata": {"labels": labels}})
        else:
            self.server.put(NAMESPACES, {"metadata": {"name": name, "labels": {LABEL: value} if value else {}}})

    def install_webhook(self) -> None:
        """As whoever installs the product does: without a bundle, with one webhook of ours and, by hand, another."""
        client = {"service": {"name": "federation-controller", "namespace": SYSTEM, "path": "/inject"}}
        common = {"admissionReviewVersions": ["v1"], "sideEffects": "None", "clientConfig": client}
        webhooks = [{"name": f"{name}.federation-gateway.dev", **common} for name in ("inject", "other")]
        self.server.put(CONFIGURATIONS, {"metadata": {"name": CONFIGURATION}, "webhooks": webhooks})

    def edit(self, resource: GroupResource, key: Key, patch: Json) -> None:
        """Somebody edits an object by hand."""
        self.server.registry.patch(self._kind(resource), key, _MERGE, patch, Write("kubectl"))

    def delete(self, resource: GroupResource, key: Key) -> None:
        self.server.registry.delete(self._kind(resource), key, {})

    def bundles(self) -> dict[str, str]:
        """The bundle of the ConfigMap in each namespace that has one."""
        return {
            key.namespace: body.get("data", {}).get("bundle.pem", "")
            for key, body in self.server.objects(CONFIG_MAPS).items()
            if key.name == TRUST_CONFIG_MAP
        }

    def ca_bundles(self) -> list[str]:
        """What each webhook of the configuration is verified by."""
        found = self.server.objects(CONFIGURATIONS).get(Key("", CONFIGURATION), {})
        told = [webhook["clientConfig"].get("caBundle", "") for webhook in found.get("webhooks", ())]
        return [base64.b64decode(one).decode() for one in told]

    @property
    def writes(self) -> list[tuple[str, str, int]]:
        """Every write so far: verb, resource, and how it was answered."""
        return [
            (one.asked.verb, one.asked.plural, one.code)
            for one in self.server.audit
            if one.asked.verb not in {"get", "list", "watch"}
        ]

    def _kind(self, resource: GroupResource) -> Any:
        return self.server.registry.catalog.stored(resource)


@asynccontextmanager
async def trust_site(
    directory: Path, *, token: Callable[[StandIn], str] | None = None, **options: Any
) -> AsyncIterator[TrustSite]:
    """A site with our namespace whose distributor is not started; it asks as the administrator if not by a token."""
    async with running() as server:
        kubeconfig = server.write_kubeconfig(directory / "kubeconfig", token(server) if token else None)
        site = TrustSite(server, kubeconfig, **options)
        site.namespace(SYSTEM)
        try:
            yield site
        finally:
            await site.stop()
