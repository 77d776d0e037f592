"""What the stand-in serves: one value per resource and version, and the table of those that are built in. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from support.kube.builtin_schemas import (
    BINDING,
    CRD,
    ENDPOINT_SLICE,
    LEASE,
    NAMESPACE,
    OPEN,
    SERVICE,
    STATUS_CONDITIONS,
    WEBHOOKS,
)
from support.kube.objects import GroupResource, Json

VERBS: Final = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")


@dataclass(frozen=True, slots=True)
class ResourceType:
    """One resource in one version, and in what its objects behave unlike others."""

    group: str
    version: str
    plural: str
    kind: str
    namespaced: bool = True
    schema: Json | None = None
    stored_version: str = ""
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    columns: tuple[Json, ...] = ()
    subresources: tuple[str, ...] = ()
    verbs: tuple[str, ...] = VERBS
    counts_generations: bool = False
    unconditional_update: bool = True
    """Whether a PUT without resource version is taken, and overwrites whatever there is."""
    create_on_update: bool = False
    returns_deleted: bool = False
    """Whether a deletion answers with the object instead of a Status."""
    custom: bool = False
    list_kind: str = ""
    selectable: tuple[str, ...] = ()
    """Fields for field selectors beside name and namespace."""

    @property
    def resource(self) -> GroupResource:
        return self.group, self.plural

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def stored_api_version(self) -> str:
        version = self.stored_version or self.version
        return f"{self.group}/{version}" if self.group else version

    @property
    def has_status(self) -> bool:
        return "status" in self.subresources


def _core(plural: str, kind: str, schema: Json = OPEN, **rest: object) -> ResourceType:
    return ResourceType("", "v1", plural, kind, schema=schema, **rest)  # type: ignore[arg-type]


def _rbac(plural: str, kind: str, *, namespaced: bool) -> ResourceType:
    group = "rbac.authorization.k8s.io"
    schema = BINDING if kind.endswith("Binding") else OPEN
    return ResourceType(group, "v1", plural, kind, namespaced=namespaced, schema=schema, create_on_update=True)


def _review(group: str, plural: str, kind: str) -> ResourceType:
    return ResourceType(group, "v1", plural, kind, namespaced=False, verbs=("create",))


_STATUS = ("status",)

BUILT_IN: Final[tuple[ResourceType, ...]] = (
    _core(
        "namespaces",
        "Namespace",
        NAMESPACE,
        namespaced=False,
        short_names=("ns",),
        subresources=("finalize", "status"),
        unconditional_update=False,
        selectable=("status.phase",),
    ),
    _core(
        "services",
        "Service",
        SERVICE,
        short_names=("svc",),
        subresources=_STATUS,
        create_on_update=True,
        returns_deleted=True,
        selectable=("spec.type", "spec.clusterIP"),
    ),
    _core("nodes", "Node", STATUS_CONDITIONS, namespaced=False, short_names=("no",), subresources=_STATUS),
    _core("secrets", "Secret", selectable=("type",)),
    _core("configmaps", "ConfigMap", short_names=("cm",)),
    _core(
        "events",
        "Event",
        short_names=("ev",),
        create_on_update=True,
        selectable=(
            "involvedObject.kind",
            "involvedObject.name",
            "involvedObject.namespace",
            "involvedObject.uid",
            "reason",
            "type",
        ),
    ),
    _core("serviceaccounts", "ServiceAccount", short_names=("sa",), subresources=("token",), returns_deleted=True),
    _core(
        "pods",
        "Pod",
        STATUS_CONDITIONS,
        short_names=("po",),
        subresources=_STATUS,
        returns_deleted=True,
        selectable=("spec.nodeName", "status.phase"),
    ),
    ResourceType("apps", "v1", "deployments", "Deployment", schema=OPEN, subresources=_STATUS, counts_generations=True),
    ResourceType("apps", "v1", "daemonsets", "DaemonSet", schema=OPEN, subresources=_STATUS, counts_generations=True),
    ResourceType(
        "apps", "v1", "statefulsets", "StatefulSet", schema=OPEN, subresources=_STATUS, counts_generations=True
    ),
    ResourceType(
        "policy",
        "v1",
        "poddisruptionbudgets",
        "PodDisruptionBudget",
        schema=OPEN,
        subresources=_STATUS,
        counts_generations=True,
    ),
    ResourceType("networking.k8s.io", "v1", "networkpolicies", "NetworkPolicy", schema=OPEN, counts_generations=True),
    ResourceType(
        "admissionregistration.k8s.io",
        "v1",
        "mutatingwebhookconfigurations",
        "MutatingWebhookConfiguration",
        namespaced=False,
        schema=WEBHOOKS,
        counts_generations=True,
    ),
    ResourceType(
        "discovery.k8s.io", "v1", "endpointslices", "EndpointSlice", schema=ENDPOINT_SLICE, counts_generations=True
    ),
    ResourceType(
        "coordination.k8s.io",
        "v1",
        "leases",
        "Lease",
        schema=LEASE,
        create_on_update=True,
        unconditional_update=False,
    ),
    _rbac("roles", "Role", namespaced=True),
    _rbac("rolebindings", "RoleBinding", namespaced=True),
    _rbac("clusterroles", "ClusterRole", namespaced=False),
    _rbac("clusterrolebindings", "ClusterRoleBinding", namespaced=False),
    ResourceType(
        "apiextensions.k8s.io",
        "v1",
        "customresourcedefinitions",
        "CustomResourceDefinition",
        namespaced=False,
        schema=CRD,
        short_names=("crd", "crds"),
        subresources=_STATUS,
        counts_generations=True,
        unconditional_update=False,
    ),
    _review("authentication.k8s.io", "tokenreviews", "TokenReview"),
    _review("authentication.k8s.io", "selfsubjectreviews", "SelfSubjectReview"),
    _review("authorization.k8s.io", "subjectaccessreviews", "SubjectAccessReview"),
    _review("authorization.k8s.io", "selfsubjectaccessreviews", "SelfSubjectAccessReview"),
)


class Catalog:
    """The resources that are served now: those built in, and those of the CRDs there are."""

    def __init__(self) -> None:
        self._custom: dict[GroupResource, tuple[ResourceType, ...]] = {}

    def find(self, group: str, version: str, plural: str) -> ResourceType | None:
        for one in self.all():
            if (one.group, one.version, one.plural) == (group, version, plural):
                return one
        return None

    def stored(self, resource: GroupResource) -> ResourceType | None:
        """The type that objects of the resource are kept as."""
        for one in self.all():
            if one.resource == resource and one.api_version == one.stored_api_version:
                return one
        served = [one for one in self.all() if one.resource == resource]
        return served[0] if served else None

    def all(self) -> tuple[ResourceType, ...]:
        return (*BUILT_IN, *(one for versions in self._custom.values() for one in versions))

    def defined(self, resource: GroupResource) -> tuple[ResourceType, ...]:
        """The versions of a custom resource, none where it is not defined."""
        return self._custom.get(resource, ())

    def define(self, resource: GroupResource, versions: tuple[ResourceType, ...]) -> None:
        self._custom[resource] = versions

    def forget(self, resource: GroupResource) -> None:
        self._custom.pop(resource, None)
