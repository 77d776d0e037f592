"""The objects of an installation in one cluster: found, applied and deleted, with errors that name the object.

An edge over a client of the API server. What there is to be is ``federation.install``'s to say.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final, Protocol

from controllers.kube.client import KubeError
from controllers.kube.locations import collection, location, missing_rule
from controllers.mcs.objects import Document, id_of, is_terminating, mapping, section, sequence, text
from controllers.sources.manifests import ObjectId
from federation.install.differences import needs_apply
from federation.install.manifests import FIELD_MANAGER
from federation.install.vocabulary import MANAGED_BY_LABEL, PART_OF, PART_OF_LABEL

KINDS: Final[Mapping[str, tuple[str, bool]]] = {
    "MutatingWebhookConfiguration": ("admissionregistration.k8s.io/v1", False),
    "PodDisruptionBudget": ("policy/v1", True),
    "Deployment": ("apps/v1", True),
    "DaemonSet": ("apps/v1", True),
    "StatefulSet": ("apps/v1", True),
    "Service": ("v1", True),
    "NetworkPolicy": ("networking.k8s.io/v1", True),
    "RoleBinding": ("rbac.authorization.k8s.io/v1", True),
    "Role": ("rbac.authorization.k8s.io/v1", True),
    "ClusterRoleBinding": ("rbac.authorization.k8s.io/v1", False),
    "ClusterRole": ("rbac.authorization.k8s.io/v1", False),
    "ConfigMap": ("v1", True),
    "ServiceAccount": ("v1", True),
}
"""Version, and whether in a namespace, of every kind that is installed, in the order in which they are removed: nobody
is asked that no longer answers, and rights go after those who use them."""

OURS: Final = f"{PART_OF_LABEL}={PART_OF},{MANAGED_BY_LABEL}={FIELD_MANAGER}"
"""The label selector of what we installed."""

Tell = Callable[[str], None]
_SECONDS: Final = 30.0
_TRIES: Final = 5
_TERMINATING: Final = "NamespaceTerminating"


class InstallApi(Protocol):
    """What is needed of a client of the API server; see ``controllers.kube.client.KubeClient``."""

    async def get(self, path: str, query: Mapping[str, str], *, timeout_seconds: float) -> Document: ...

    async def apply(self, document: Document, *, manager: str, dry_run: bool) -> Document: ...

    async def delete(self, id_: ObjectId, uid: str, resource_version: str, *, api_version: str) -> None: ...


@dataclass(frozen=True, slots=True)
class Found:
    """An object as it was found."""

    id: ObjectId
    api_version: str
    document: Document


class InstalledObjects:
    """The objects that ``client`` reaches; with ``dry_run`` the API server is asked, and nothing is changed."""

    def __init__(self, client: InstallApi, tell: Tell, *, dry_run: bool = False) -> None:
        self._client = client
        self._tell = tell
        self.dry_run = dry_run

    async def find(self, id_: ObjectId, api_version: str) -> Document | None:
        """An object; None where it, or its kind, is not there. Raises KubeError."""
        with _named(id_, api_version, "get"):
            try:
                return await self._client.get(location(id_, api_version), {}, timeout_seconds=_SECONDS)
            except KubeError as error:
                if error.status == HTTPStatus.NOT_FOUND:
                    return None
                raise

    async def listed(self, kind: str, api_version: str, namespace: str = "", selector: str = "") -> list[Found]:
        """The objects of a kind, in one namespace or in all; none where the kind is not there. Raises KubeError."""
        query = {"labelSelector": selector} if selector else {}
        with _named(ObjectId(kind, namespace, ""), api_version, "list"):
            try:
                answer = await self._client.get(
                    collection(kind, api_version, namespace), query, timeout_seconds=_SECONDS
                )
            except KubeError as error:
                if error.status == HTTPStatus.NOT_FOUND:
                    return []
                raise
        items = [mapping(item) for item in sequence(answer.get("items"))]
        return [Found(id_of(item, kind), api_version, item) for item in items]

    async def marked(self, kind: str, namespace: str) -> list[Found]:
        """What we installed of one of the ``KINDS``."""
        api_version, within = KINDS[kind]
        return await self.listed(kind, api_version, namespace if within else "", OURS)

    async def put(self, document: Document, existing: Document | None) -> bool:
        """Have an object be as stated, given how it was found; returns whether it took a write. Raises KubeError."""
        id_, api_version = id_of(document), text(document.get("apiVersion"))
        if not needs_apply(existing, document, FIELD_MANAGER):
            self._say("unchanged", id_)
            return False
        with _named(id_, api_version, "create, patch"):
            await self._client.apply(document, manager=FIELD_MANAGER, dry_run=self.dry_run)
        self._say("created" if existing is None else "configured", id_)
        return True

    async def remove(self, found: Found) -> None:
        """Delete an object as it is by now; one that is gone, or about to go, is no error. Raises KubeError."""
        if is_terminating(found.document):
            return
        current: Document | None = found.document
        with _named(found.id, found.api_version, "delete"):
            for attempt in range(_TRIES):
                if current is None or self.dry_run:
                    break
                head = section(current, "metadata")
                try:
                    uid, version = text(head.get("uid")), text(head.get("resourceVersion"))
                    await self._client.delete(found.id, uid, version, api_version=found.api_version)
                    break
                except KubeError as error:
                    if error.status == HTTPStatus.NOT_FOUND:
                        return
                    # Its controller may write its status all the time.
                    if error.status != HTTPStatus.CONFLICT or attempt == _TRIES - 1:
                        raise
                current = await self.find(found.id, found.api_version)
        self._say("deleted", found.id)

    def say(self, word: str, subject: str) -> None:
        """One line of progress."""
        self._tell(f"{word:<10} {subject}{' (dry run)' if self.dry_run else ''}")

    def _say(self, word: str, id_: ObjectId) -> None:
        self.say(word, str(id_))


@contextmanager
def _named(id_: ObjectId, api_version: str, verbs: str) -> Iterator[None]:
    """Errors say which object they are about, and what to do."""
    try:
        yield
    except KubeError as error:
        hint = error.hint
        match error.status:
            case HTTPStatus.FORBIDDEN if any(reason == _TERMINATING for reason, _ in error.causes):
                hint = f"namespace {id_.namespace} is about to go: try again when it is gone"
            case HTTPStatus.FORBIDDEN:
                rule = missing_rule(id_, api_version, "", verbs)
                hint = f"whoever installs needs the rule {rule}; an administrator of the cluster has it"
            case HTTPStatus.UNPROCESSABLE_ENTITY:
                hint = f"if a field can't be changed, delete {id_} with kubectl and install again"
            case _:
                pass
        subject = str(id_).rstrip("/")
        raise KubeError(f"{subject}: {error}", status=error.status, hint=hint, causes=error.causes) from error
