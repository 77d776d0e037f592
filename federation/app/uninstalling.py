"""Uninstalling: everything that the federation put into a cluster taken out of it, and nothing else.

An edge. The order matters: first the webhook, so that pods start without it; then the controllers, so that nobody
writes any more; then what they wrote; then the rest. What users made (ServiceExports, their namespaces) stays, and so
do the CRDs unless they are asked for: their objects would go with them.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

from controllers.kube.client import KubeError
from controllers.mcs.objects import MANAGED_BY, MANAGER, mapping, section, sequence, text
from controllers.sources.manifests import ObjectId
from federation.app.exchange_secret import CA_KEY_KEY
from federation.app.installed_objects import KINDS, OURS, Found, InstallApi, InstalledObjects, Tell
from federation.app.installing import cluster_of, decoded
from federation.install.definitions import definitions
from federation.install.manifests import FIELD_MANAGER
from federation.install.vocabulary import (
    CONTROLLER,
    EXCHANGE,
    LEASE,
    MANAGED_BY_LABEL,
    STATE,
    TRUST_BUNDLE,
    selector,
)
from federation.membership.roster import Roster
from federation.membership.roster_file import RosterFile
from federation.model.errors import ConfigError, TrustError
from federation.model.names import ClusterId
from federation.storage.private_file import replace_private

_DEFINITION: Final = "apiextensions.k8s.io/v1"
_LOOK_SECONDS: Final = 0.5
_MANAGED_BY: Final = MANAGED_BY["Service"]
_ROSTER: Final = "state__roster"
MADE: Final = (
    ("EndpointSlice", ("discovery.k8s.io/v1",)),
    ("Service", ("v1",)),
    ("ServiceImport", ("multicluster.x-k8s.io/v1beta1", "multicluster.x-k8s.io/v1alpha1")),
    ("ServiceEntry", ("networking.istio.io/v1", "networking.istio.io/v1beta1")),
    ("DestinationRule", ("networking.istio.io/v1", "networking.istio.io/v1beta1")),
    ("AuthorizationPolicy", ("security.istio.io/v1", "security.istio.io/v1beta1")),
    ("AuthorizationPolicy", ("policy.linkerd.io/v1alpha1",)),
    ("MeshTLSAuthentication", ("policy.linkerd.io/v1alpha1",)),
    ("ClusterProperty", ("about.k8s.io/v1beta1", "about.k8s.io/v1alpha1")),
)
"""Kinds that controllers make, each with the versions it may have, in the order in which they go: endpoints before what
they belong to."""

_CLUSTER_MADE: Final = frozenset({"default", "istio-ca-root-cert", "kube-root-ca.crt", "openshift-service-ca.crt"})
"""Objects that Kubernetes and others put into every namespace."""


class Uninstaller:
    """Takes the installation in ``namespace`` out of the cluster."""

    def __init__(self, client: InstallApi, namespace: str, tell: Tell) -> None:
        self._objects = InstalledObjects(client, tell)
        self._namespace = namespace

    async def uninstall(self, *, force: bool, purge_crds: bool, seconds: float) -> None:
        """Leave nothing behind. Raises ConfigError where the cluster is a member still, unless ``force``, or was not
        installed by us; KubeError at the first object that can't be removed, and doing it again goes on."""
        await self._refuse_others()
        if not force:
            await self._refuse_members()
        for kind in KINDS:
            if kind in {"MutatingWebhookConfiguration", "PodDisruptionBudget", "Deployment", "DaemonSet"}:
                await self._remove_marked(kind)
        await self._controllers_gone(seconds)
        async for made in self._made_by_controllers():
            await self._objects.remove(made)
        for kind in KINDS:
            await self._remove_marked(kind)
        async for one in self._state():
            await self._objects.remove(one)
        if purge_crds:
            await self._purge_definitions()
        await self._remove_namespace()

    async def _refuse_others(self) -> None:
        version, _ = KINDS["ClusterRoleBinding"]
        binding = await self._objects.find(ObjectId("ClusterRoleBinding", "", CONTROLLER), version)
        manager = text(section(binding, "metadata", "labels").get(MANAGED_BY_LABEL))
        if binding is not None and manager != FIELD_MANAGER:
            raise ConfigError(
                f"the federation was not installed by this program, but by {manager or 'somebody else'}",
                hint="helm uninstall removes what Helm installed",
            )

    async def _refuse_members(self) -> None:
        """Others would go on calling a member that is gone, till they evict it."""
        secret = await self._objects.find(ObjectId("Secret", self._namespace, STATE), "v1")
        cluster = cluster_of(secret)
        name, clusterset = text(cluster.get("cluster")), text(cluster.get("clusterset"))
        content = decoded(secret).get(_ROSTER)
        if content is None:
            return
        # One that can't be read says nothing, and is taken for a membership.
        roster = _roster(content)
        if roster is not None and roster.member(ClusterId(name)) is None:
            return
        if roster is not None and roster.seat == name:
            raise ConfigError(
                f"cluster {name} has the authority of clusterset {clusterset}: without its keys nobody is admitted or "
                "evicted any more",
                hint=self._end_of(roster),
            )
        raise ConfigError(
            f"cluster {name} is a member of clusterset {clusterset} still",
            hint=f"federation leave --context CONTEXT -n {self._namespace} first; or --force, and "
            f"`federation evict {name}` where the authority is",
        )

    def _end_of(self, roster: Roster) -> str:
        """What to do before the cluster with the authority goes, which can neither leave nor be evicted."""
        others = ", ".join(sorted(member.cluster for member in roster.members if member.cluster != roster.seat))
        evict = f"`federation evict NAME --context CONTEXT -n {self._namespace}` for each of {others} first; "
        return f"{evict if others else ''}save Secret {self._namespace}/{STATE} (kubectl get -o yaml); then --force"

    async def _remove_marked(self, kind: str) -> None:
        for found in await self._objects.marked(kind, self._namespace):
            await self._objects.remove(found)

    async def _controllers_gone(self, seconds: float) -> None:
        """Until no controller runs, for it would make anew what is deleted."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        words = ",".join(f"{key}={value}" for key, value in selector("controller").items())
        while pods := await self._objects.listed("Pod", "v1", self._namespace, words):
            names = ", ".join(pod.id.name for pod in pods)
            if loop.time() > deadline:
                raise KubeError(
                    f"controllers still run after {seconds:g} s: {names}",
                    hint="look at them with kubectl describe pod, and uninstall again when they are gone",
                )
            await asyncio.sleep(_LOOK_SECONDS)

    async def _made_by_controllers(self) -> AsyncIterator[Found]:
        for kind, versions in MADE:
            for version in versions:
                if found := await self._objects.listed(kind, version, selector=f"{MANAGED_BY[kind]}={MANAGER}"):
                    for one in found:
                        yield one
                    break
        for bundle in await self._objects.listed("ConfigMap", "v1", selector=f"{_MANAGED_BY}={MANAGER}"):
            if bundle.id.name == TRUST_BUNDLE:
                yield bundle

    async def _state(self) -> AsyncIterator[Found]:
        """What was made beside the manifests, in our own namespace."""
        for kind, version, name in (
            ("Lease", "coordination.k8s.io/v1", LEASE),
            ("ConfigMap", "v1", TRUST_BUNDLE),
            ("Secret", "v1", STATE),
        ):
            id_ = ObjectId(kind, self._namespace, name)
            if (found := await self._objects.find(id_, version)) is not None:
                yield Found(id_, version, found)
        for secret in await self._objects.listed("Secret", "v1", self._namespace, OURS):
            if secret.id.name == EXCHANGE or CA_KEY_KEY in section(secret.document, "data"):
                yield secret

    async def _purge_definitions(self) -> None:
        """Those that we installed; somebody else's stay with their objects."""
        for ours in definitions():
            id_ = ObjectId("CustomResourceDefinition", "", text(section(ours, "metadata").get("name")))
            existing = await self._objects.find(id_, _DEFINITION)
            if existing is None:
                continue
            managers = {
                mapping(one).get("manager") for one in sequence(section(existing, "metadata").get("managedFields"))
            }
            if FIELD_MANAGER in managers:
                await self._objects.remove(Found(id_, _DEFINITION, existing))
            else:
                self._objects.say("kept", f"{id_}, as somebody else installed it")

    async def _remove_namespace(self) -> None:
        """If we made it, and nobody put anything into it."""
        id_ = ObjectId("Namespace", "", self._namespace)
        existing = await self._objects.find(id_, "v1")
        if existing is None:
            return
        if text(section(existing, "metadata", "labels").get(MANAGED_BY_LABEL)) != FIELD_MANAGER:
            self._objects.say("kept", f"{id_}, as somebody else made it")
            return
        kinds = {kind: version for kind, (version, within) in KINDS.items() if within}
        kinds |= {"Secret": "v1", "Pod": "v1"}
        left = [
            one.id
            for kind, version in kinds.items()
            for one in await self._objects.listed(kind, version, self._namespace)
            if one.id.name not in _CLUSTER_MADE and not section(one.document, "metadata").get("ownerReferences")
        ]
        if left:
            self._objects.say("kept", f"{id_}, which holds {', '.join(map(str, sorted(left)))}")
            return
        await self._objects.remove(Found(id_, "v1", existing))


def _roster(content: bytes) -> Roster | None:
    """A member's own roster; None where it can't be read."""
    with tempfile.TemporaryDirectory() as directory:
        file = RosterFile(Path(directory))
        replace_private(file.path, content)
        try:
            known = file.load()
        except TrustError:
            return None
    return None if known is None else known.roster
