"""Installing: a cluster made to have all that the federation needs, and nothing of it that is no longer wanted.

An edge. It states objects by server-side apply in a name of its own, so that doing it again changes nothing, and what
others own of an object, as the leading controller the CA of the webhook, stays theirs.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from controllers.kube.client import KubeError
from controllers.mcs.objects import Document, id_of, mapping, section, sequence, text
from controllers.sources.manifests import ObjectId
from federation.app.exchange_secret import exchange_names, exchange_secret
from federation.app.installed_objects import KINDS, Found, InstallApi, InstalledObjects, Tell
from federation.app.kube.base_settings import parse_base_settings
from federation.install.definitions import Standing, definitions, standing
from federation.install.exchange import COMPONENT as EXCHANGE_COMPONENT
from federation.install.manifests import FIELD_MANAGER, render, render_namespace
from federation.install.values import InstallValues, with_clusterset
from federation.install.vocabulary import (
    CONTROLLER,
    MANAGED_BY_LABEL,
    SETTINGS_FILE,
    STATE,
    STATE_DIRECTORY,
    selector,
)
from federation.model.documents import read_yaml
from federation.model.errors import ConfigError

_DEFINITION: Final = "apiextensions.k8s.io/v1"
_POD_SECURITY: Final = "pod-security.kubernetes.io/enforce"
_LOOK_SECONDS: Final = 1.0
_WORKLOADS: Final = ("Deployment", "DaemonSet", "StatefulSet")


@dataclass(frozen=True, slots=True)
class Installation:
    """What became of an installation."""

    values: InstallValues
    """With the clusterset that the cluster was found to be in, where none was named."""
    member: bool
    """Whether the cluster has a membership already."""
    written: int
    """Objects that were created, changed or deleted."""


class Installer:
    """Installs ``values`` in ``namespace``; ``now`` is for the certificate of an exchange in the cluster."""

    def __init__(
        self, client: InstallApi, values: InstallValues, namespace: str, tell: Tell, *, dry_run: bool = False
    ) -> None:
        self._objects = InstalledObjects(client, tell, dry_run=dry_run)
        self._values = values
        self._namespace = namespace
        self._written = 0

    async def install(self, now: datetime) -> Installation:
        """Make it so. Raises ConfigError where the values are unusable or the cluster has another installation,
        KubeError at the first object that can't be had: what was done till then stays, and doing it again goes on."""
        await self._refuse_another()
        known = await self._known_clusterset()
        if known and not self._values.clusterset:
            self._values = with_clusterset(self._values, known)
        elif known and known != self._values.clusterset:
            told = f"its gateways will prove themselves in clusterset {self._values.clusterset} alone"
            self._objects.say("note", f"the cluster's state says clusterset {known}, the values another one: {told}")
        documents = render(self._values, self._namespace)
        check_settings(documents)
        fresh = await self._put_namespace()
        for definition in definitions():
            await self._put_definition(definition)
        if self._values.exchange_in_cluster:
            await self._put_exchange_secret(now, fresh=fresh)
        for document in documents:
            await self._put(document, fresh=fresh)
        await self._remove_stale(documents)
        return Installation(self._values, bool(known), self._written)

    async def wait(self, seconds: float) -> None:
        """Until every workload is rolled out; raises KubeError with how they stand if that takes longer."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        told: frozenset[str] = frozenset()
        while waiting := [line for kind in _WORKLOADS for line in await self._not_ready(kind)]:
            for line in sorted({*waiting} - told):
                self._objects.say("waiting", line)
            told = frozenset(waiting)
            if loop.time() > deadline:
                raise KubeError(
                    f"not ready after {seconds:g} s: {'; '.join(waiting)}",
                    hint=f"look at `kubectl get pods -n {self._namespace}` and their logs",
                )
            await asyncio.sleep(_LOOK_SECONDS)

    async def _refuse_another(self) -> None:
        """Of names that are the whole cluster's there can be one installation only."""
        version, _ = KINDS["ClusterRoleBinding"]
        binding = await self._objects.find(ObjectId("ClusterRoleBinding", "", CONTROLLER), version)
        if binding is None:
            return
        manager = text(section(binding, "metadata", "labels").get(MANAGED_BY_LABEL))
        if manager != FIELD_MANAGER:
            raise ConfigError(
                f"the federation is installed in this cluster already, by {manager or 'somebody else'}",
                hint="go on with that: helm upgrade, where it was Helm; or remove it first",
            )
        subject = next((mapping(one) for one in sequence(binding.get("subjects"))), {})
        found = text(subject.get("namespace"))
        if found and found != self._namespace:
            raise ConfigError(
                f"the federation is installed in namespace {found} of this cluster already",
                hint=f"say -n {found}, or federation uninstall -n {found} first",
            )

    async def _known_clusterset(self) -> str:
        """The clusterset that the cluster is a member of; empty while it is in none."""
        secret = await self._objects.find(ObjectId("Secret", self._namespace, STATE), "v1")
        return text(cluster_of(secret).get("clusterset"))

    async def _put_namespace(self) -> bool:
        """Returns whether it is missing still, as in a dry run."""
        document = render_namespace(self._values, self._namespace)
        existing = await self._objects.find(id_of(document), "v1")
        labels = section(existing, "metadata", "labels")
        if existing is not None and labels.get(MANAGED_BY_LABEL) != FIELD_MANAGER:
            wanted = text(section(document, "metadata", "labels").get(_POD_SECURITY))
            lacks = "" if _POD_SECURITY in labels else f", which has no label {_POD_SECURITY}: {wanted}"
            self._objects.say("kept", f"{id_of(document)}{lacks}")
            return False
        self._written += await self._objects.put(document, existing)
        return existing is None and self._objects.dry_run

    async def _put_definition(self, document: Document) -> None:
        id_ = id_of(document)
        existing = await self._objects.find(id_, _DEFINITION)
        if existing is not None and standing(existing, document, manager=FIELD_MANAGER) is Standing.KEPT:
            self._objects.say("kept", f"{id_}, as somebody else installed it")
            return
        self._written += await self._objects.put(document, existing)

    async def _put_exchange_secret(self, now: datetime, *, fresh: bool) -> None:
        name = self._values.exchange_secret
        id_ = ObjectId("Secret", self._namespace, name)
        existing = None if fresh else await self._objects.find(id_, "v1")
        names = exchange_names(self._namespace, self._values.exchange_names)
        document = exchange_secret(existing, name, self._namespace, names, now)
        if document is None:
            self._objects.say("unchanged", str(id_))
            return
        await self._put(document, fresh=fresh)
        if existing is not None:
            # Redis reads its certificate when it starts.
            words = [f"{key}={value}" for key, value in selector(EXCHANGE_COMPONENT).items()]
            for pod in await self._objects.listed("Pod", "v1", self._namespace, ",".join(words)):
                await self._objects.remove(pod)

    async def _put(self, document: Document, *, fresh: bool) -> None:
        id_ = id_of(document)
        if fresh and id_.namespace:
            # Nothing can be tried out in a namespace that is not there.
            self._objects.say("created", str(id_))
            return
        existing = await self._objects.find(id_, text(document.get("apiVersion")))
        self._written += await self._objects.put(document, existing)

    async def _remove_stale(self, documents: Iterable[Document]) -> None:
        """What an earlier installation made and this one does not."""
        wanted = {id_of(document) for document in documents}
        for kind in KINDS:
            for found in await self._objects.marked(kind, self._namespace):
                if found.id not in wanted:
                    await self._objects.remove(found)
                    self._written += 1

    async def _not_ready(self, kind: str) -> list[str]:
        found = await self._objects.marked(kind, self._namespace)
        return [f"{one.id}: {told}" for one in found if (told := rollout(one))]


def check_settings(documents: Iterable[Document]) -> None:
    """Judge the settings of the cluster as its controllers will; raises ConfigError with every violation."""
    for document in documents:
        content = section(document, "data").get(SETTINGS_FILE) if document.get("kind") == "ConfigMap" else None
        if content is not None:
            try:
                parse_base_settings(text(content), directory=Path(STATE_DIRECTORY))
            except ConfigError as error:
                broken = [f"settings.{violation}" for violation in error.violations]
                raise ConfigError(
                    f"values are unusable: {'; '.join(broken) or error}", violations=broken, hint=error.hint
                ) from error


def cluster_of(secret: Document | None) -> Document:
    """The cluster.yaml of a member, out of the Secret with its state; empty where there is none."""
    content = decoded(secret).get(SETTINGS_FILE)
    if content is None:
        return {}
    try:
        return mapping(read_yaml(content.decode()))
    except ValueError:
        # Whoever made the settings says what is wrong with them; an installation can do without.
        return {}


def decoded(secret: Document | None) -> dict[str, bytes]:
    """The values of a Secret; those that can't be read are left out."""
    found: dict[str, bytes] = {}
    for key, value in section(secret, "data").items():
        with suppress(binascii.Error):
            found[key] = base64.b64decode(text(value), validate=True)
    return found


def rollout(found: Found) -> str:
    """What a workload waits for; empty once all of its pods are new and ready."""
    spec, status = section(found.document, "spec"), section(found.document, "status")
    generation = section(found.document, "metadata").get("generation")
    if found.id.kind == "DaemonSet":
        wanted, updated, ready = (
            _count(status, name) for name in ("desiredNumberScheduled", "updatedNumberScheduled", "numberReady")
        )
    else:
        wanted, updated, ready = (
            _count(spec, "replicas"),
            _count(status, "updatedReplicas"),
            _count(status, "readyReplicas"),
        )
    seen = status.get("observedGeneration") == generation
    return "" if seen and updated >= wanted and ready >= wanted else f"{ready} of {wanted} ready"


def _count(document: Document, name: str) -> int:
    value = document.get(name)
    return value if isinstance(value, int) else 0
