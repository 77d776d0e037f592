"""Role-based access control, request by request, from the Role, ClusterRole and binding objects in the store.

No rule is aggregated and no escalation is checked; see docs/stand-in-api.md.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from support.kube.identity import MASTERS, User, user_named
from support.kube.objects import Json, Key
from support.kube.refusals import Refusal, forbidden
from support.kube.store import Store

GROUP = "rbac.authorization.k8s.io"

_ALL = {"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}
_REVIEWS = ["selfsubjectaccessreviews", "selfsubjectrulesreviews"]

BOOTSTRAP_ROLES: Mapping[str, list[Json]] = {
    "cluster-admin": [_ALL, {"nonResourceURLs": ["*"], "verbs": ["*"]}],
    "system:basic-user": [
        {"apiGroups": ["authorization.k8s.io"], "resources": _REVIEWS, "verbs": ["create"]},
        {"apiGroups": ["authentication.k8s.io"], "resources": ["selfsubjectreviews"], "verbs": ["create"]},
    ],
    "system:discovery": [
        {"nonResourceURLs": ["/api", "/api/*", "/apis", "/apis/*", "/openapi", "/openapi/*"], "verbs": ["get"]}
    ],
    "system:public-info-viewer": [
        {"nonResourceURLs": ["/healthz", "/livez", "/readyz", "/version", "/version/"], "verbs": ["get"]}
    ],
    "system:auth-delegator": [
        {"apiGroups": ["authentication.k8s.io"], "resources": ["tokenreviews"], "verbs": ["create"]},
        {"apiGroups": ["authorization.k8s.io"], "resources": ["subjectaccessreviews"], "verbs": ["create"]},
    ],
}

BOOTSTRAP_BINDINGS: Mapping[str, tuple[str, ...]] = {
    "cluster-admin": (MASTERS,),
    "system:basic-user": ("system:authenticated",),
    "system:discovery": ("system:authenticated",),
    "system:public-info-viewer": ("system:authenticated", "system:unauthenticated"),
}


@dataclass(frozen=True, slots=True)
class Attributes:
    """What is asked for: a verb on a resource, or on a path that is none."""

    verb: str
    group: str = ""
    plural: str = ""
    subresource: str = ""
    namespace: str = ""
    name: str = ""
    path: str = ""

    @property
    def resource(self) -> str:
        return f"{self.plural}/{self.subresource}" if self.subresource else self.plural


class Authorizer:
    """Decides by what the store holds at that moment."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def allows(self, user: User, asked: Attributes) -> bool:
        return MASTERS in user.groups or any(_fits(rule, asked) for rule in self._rules(user, asked.namespace))

    def check(self, user: User, asked: Attributes) -> None:
        """Raises a 403 that says who may not do what."""
        if not self.allows(user, asked):
            raise refused(user, asked)

    def impersonated(self, user: User, headers: Mapping[str, str]) -> User:
        """Who the request is to count as: the caller, or whoever it may impersonate by its headers."""
        name = headers.get("Impersonate-User")
        groups = _every(headers, "Impersonate-Group")
        if name is None:
            return user
        wanted = user_named(name, groups)
        if name.startswith("system:serviceaccount:"):
            _, _, namespace, account = name.split(":", 3)
            asked = Attributes("impersonate", plural="serviceaccounts", namespace=namespace, name=account)
        else:
            asked = Attributes("impersonate", plural="users", name=name)
        self.check(user, asked)
        for group in groups:
            self.check(user, Attributes("impersonate", plural="groups", name=group))
        return wanted

    def _rules(self, user: User, namespace: str) -> Iterator[Json]:
        for binding in self._store.objects((GROUP, "clusterrolebindings")).values():
            if _binds(binding, user):
                yield from self._rules_of(binding, "")
        if not namespace:
            return
        for key, binding in self._store.objects((GROUP, "rolebindings")).items():
            if key.namespace == namespace and _binds(binding, user):
                yield from self._rules_of(binding, namespace)

    def _rules_of(self, binding: Json, namespace: str) -> Iterator[Json]:
        reference = binding["roleRef"]
        whole = reference["kind"] == "ClusterRole"
        resource = (GROUP, "clusterroles" if whole else "roles")
        role = self._store.get(resource, Key("" if whole else namespace, reference["name"]))
        yield from (role or {}).get("rules") or ()


def refused(user: User, asked: Attributes) -> Refusal:
    """The 403 as the API server words it."""
    if asked.path:
        return Refusal(403, "Forbidden", f'forbidden: User "{user.name}" cannot {asked.verb} path "{asked.path}"')
    where = f'in the namespace "{asked.namespace}"' if asked.namespace else "at the cluster scope"
    what = f'cannot {asked.verb} resource "{asked.resource}" in API group "{asked.group}" {where}'
    return forbidden(asked.group, asked.plural, asked.name, f'User "{user.name}" {what}')


def _every(headers: Mapping[str, str], name: str) -> list[str]:
    getall = getattr(headers, "getall", None)
    return list(getall(name, [])) if getall else [headers[name]] if name in headers else []


def _binds(binding: Json, user: User) -> bool:
    for subject in binding.get("subjects") or ():
        kind, name = subject["kind"], subject["name"]
        if kind == "ServiceAccount":
            name, kind = f"system:serviceaccount:{subject.get('namespace', '')}:{name}", "User"
        if (kind == "User" and name == user.name) or (kind == "Group" and name in user.groups):
            return True
    return False


def _fits(rule: Json, asked: Attributes) -> bool:
    if not _has(rule, "verbs", asked.verb):
        return False
    if asked.path:
        return any(_covers(pattern, asked.path) for pattern in rule.get("nonResourceURLs") or ())
    if not _has(rule, "apiGroups", asked.group):
        return False
    resources = rule.get("resources") or ()
    parts = {"*", asked.resource} | ({f"*/{asked.subresource}"} if asked.subresource else set())
    names = rule.get("resourceNames")
    return bool(parts & set(resources)) and (not names or asked.name in names)


def _has(rule: Json, name: str, value: str) -> bool:
    values = rule.get(name) or ()
    return "*" in values or value in values


def _covers(pattern: str, path: str) -> bool:
    return path == pattern or (pattern.endswith("*") and path.startswith(pattern[:-1]))
