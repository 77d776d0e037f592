"""Where the API server has an object: the path of its kind, namespace and name. Pure.

Every kind that this program writes is here, so that nothing must be discovered before the first write.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final
from urllib.parse import quote

from controllers.sources.manifests import ObjectId

PLURALS: Final[Mapping[str, str]] = {
    "AuthorizationPolicy": "authorizationpolicies",
    "ClusterProperty": "clusterproperties",
    "ClusterRole": "clusterroles",
    "ClusterRoleBinding": "clusterrolebindings",
    "ConfigMap": "configmaps",
    "CustomResourceDefinition": "customresourcedefinitions",
    "DaemonSet": "daemonsets",
    "Deployment": "deployments",
    "DestinationRule": "destinationrules",
    "EndpointSlice": "endpointslices",
    "Event": "events",
    "Lease": "leases",
    "MeshTLSAuthentication": "meshtlsauthentications",
    "MutatingWebhookConfiguration": "mutatingwebhookconfigurations",
    "Namespace": "namespaces",
    "NetworkPolicy": "networkpolicies",
    "Pod": "pods",
    "PodDisruptionBudget": "poddisruptionbudgets",
    "Role": "roles",
    "RoleBinding": "rolebindings",
    "Secret": "secrets",
    "Service": "services",
    "ServiceAccount": "serviceaccounts",
    "ServiceEntry": "serviceentries",
    "ServiceExport": "serviceexports",
    "ServiceImport": "serviceimports",
    "StatefulSet": "statefulsets",
    "SubjectAccessReview": "subjectaccessreviews",
    "TokenReview": "tokenreviews",
}
"""The kinds that are written."""


def collection(kind: str, api_version: str, namespace: str = "") -> str:
    """The path under which objects of a kind are made; raises KeyError for a kind that is never written."""
    root = "apis" if "/" in api_version else "api"
    within = f"/namespaces/{quote(namespace, safe='')}" if namespace else ""
    return f"/{root}/{api_version}{within}/{PLURALS[kind]}"


def location(id_: ObjectId, api_version: str, subresource: str = "") -> str:
    """The path of an object, or of its subresource; raises KeyError for a kind that is never written."""
    parts = [id_.name, *([subresource] if subresource else [])]
    within = "/".join(quote(part, safe="") for part in parts)
    return f"{collection(id_.kind, api_version, id_.namespace)}/{within}"


def missing_rule(id_: ObjectId, api_version: str, subresource: str, verbs: str) -> str:
    """The RBAC rule without which a write is forbidden, as it stands in a role."""
    group = api_version.partition("/")[0] if "/" in api_version else ""
    resource = "/".join([PLURALS[id_.kind], *([subresource] if subresource else [])])
    return f'apiGroups: ["{group}"], resources: ["{resource}"], verbs: [{verbs}]'
