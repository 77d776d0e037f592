"""The objects by which pods and the API server know the cluster's own trust bundle. Pure.

A ConfigMap in our namespace and in each with injected pods, whose sidecars verify the controllers by it; and the
``caBundle`` of the webhook's configuration, by which the API server verifies the webhook.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from controllers.injection.annotations import INJECTION
from controllers.injection.pod_patch import TRUST_CONFIG_MAP, TRUST_KEY
from controllers.mcs.objects import MANAGER, Delete, Document, is_terminating, mapping, section, sequence, text, uid_of
from controllers.mcs.owned_fields import needs_write
from controllers.sources.manifests import ObjectId
from controllers.sources.watched_objects import Resource

CONFIGURATION: Final = "federation-sidecar-injector"
SELECTED: Final = frozenset({"enabled", "manual"})
"""Values of the namespace's label with which pods may be injected."""

# By name, which is all that the role allows.
CONFIG_MAPS: Final = Resource("ConfigMap", ("v1",), "configmaps", field_selector=f"metadata.name={TRUST_CONFIG_MAP}")
CONFIGURATIONS: Final = Resource(
    "MutatingWebhookConfiguration",
    ("admissionregistration.k8s.io/v1",),
    "mutatingwebhookconfigurations",
    field_selector=f"metadata.name={CONFIGURATION}",
)

_MANAGED_BY: Final = "federation-gateway.dev/managed-by"


@dataclass(frozen=True, slots=True)
class TrustPlan:
    """What is to be written for all to be in order."""

    applied: tuple[Document, ...] = ()
    deleted: tuple[Delete, ...] = ()


def plan_config_maps(
    own_namespace: str, namespaces: Iterable[Document], config_maps: Mapping[str, Document], bundle: str
) -> TrustPlan:
    """Of the ConfigMaps, by namespace. Somebody else's with this name gets the bundle too, and is never deleted."""
    alive = [namespace for namespace in namespaces if not is_terminating(namespace)]
    names = {text(section(namespace, "metadata").get("name")): namespace for namespace in alive}
    wanted = {name for name, namespace in names.items() if name == own_namespace or _is_selected(namespace)}
    applied = [
        document
        for name in sorted(wanted)
        if needs_write(config_maps.get(name), document := _config_map(name, bundle), "")
    ]
    deleted = [
        Delete(ObjectId("ConfigMap", name, TRUST_CONFIG_MAP), uid_of(found), _version(found))
        for name, found in sorted(config_maps.items())
        if name in names and name not in wanted and _is_ours(found) and not is_terminating(found)
    ]
    return TrustPlan(tuple(applied), tuple(deleted))


def plan_configuration(configuration: Document | None, bundle: str) -> TrustPlan:
    """Of the webhook's configuration, which is never made: who installs the product states what it is about."""
    if configuration is None or is_terminating(configuration):
        return TrustPlan()
    names = [text(mapping(webhook).get("name")) for webhook in sequence(configuration.get("webhooks"))]
    encoded = base64.b64encode(bundle.encode()).decode()
    document = {
        "apiVersion": CONFIGURATIONS.api_versions[0],
        "kind": CONFIGURATIONS.kind,
        # With its uid, so that one that is gone by then isn't made anew.
        "metadata": {"name": CONFIGURATION, "uid": uid_of(configuration)},
        "webhooks": [{"name": name, "clientConfig": {"caBundle": encoded}} for name in names if name],
    }
    return TrustPlan((document,) if document["webhooks"] and needs_write(configuration, document, "") else ())


def _config_map(namespace: str, bundle: str) -> Document:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": TRUST_CONFIG_MAP, "namespace": namespace, "labels": {_MANAGED_BY: MANAGER}},
        "data": {TRUST_KEY: bundle},
    }


def _is_selected(namespace: Document) -> bool:
    return section(namespace, "metadata", "labels").get(INJECTION) in SELECTED


def _is_ours(document: Document) -> bool:
    return section(document, "metadata", "labels").get(_MANAGED_BY) == MANAGER


def _version(document: Document) -> str:
    return text(section(document, "metadata").get("resourceVersion"))
