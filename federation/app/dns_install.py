"""Looks at a cluster's DNS over its API, and changes it as ``dns_plan`` says.

Writes carry the version of what was read: whoever else edits the ConfigMap meanwhile is not overwritten, what is to be
written is computed anew instead.
"""

from __future__ import annotations

import difflib
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

from controllers.kube.client import KubeAccess, KubeClient, KubeError, open_client
from controllers.mcs.objects import Document, mapping, section, sequence, text
from controllers.sources.manifests import ObjectId
from federation.app.dns_plan import CUSTOM_KEY, ClusterDns, DnsError, DnsPlan
from federation.install.vocabulary import DNS
from federation.model.addresses import HostPort

SYSTEM: Final = "kube-system"
COREFILE: Final = "Corefile"
MADE_BY: Final = "federation-gateway.dev/made-by"
"""Annotation of a ``coredns-custom`` that was not there before; it goes again when nothing else is in it."""

_CUSTOM: Final = "coredns-custom"
_ATTEMPTS: Final = 5
_SECONDS: Final = 15.0


@dataclass(frozen=True, slots=True)
class Change:
    """One text that is or would be changed."""

    where: str
    before: str
    after: str

    def diff(self) -> Iterator[str]:
        """In the unified form; a last line without an end is marked as diff does."""
        before, after = (text.splitlines(keepends=True) for text in (self.before, self.after))
        for line in difflib.unified_diff(before, after, f"a/{self.where}", f"b/{self.where}"):
            yield line.rstrip("\n")
            if not line.endswith("\n"):
                yield "\\ No newline at end of file"


@dataclass(frozen=True, slots=True)
class Applied:
    """What was changed, or would be; nothing where all is as it should be."""

    changes: tuple[Change, ...]
    notes: tuple[str, ...]


class DnsSite:
    """The DNS of one cluster; ``namespace`` is where the federation is installed."""

    def __init__(self, client: KubeClient, namespace: str) -> None:
        self._client = client
        self._namespace = namespace

    async def look(self) -> ClusterDns:
        """Raises KubeError."""
        return await self._judged(await self._config_map("coredns"), await self._config_map(_CUSTOM))

    async def change(self, plan: Callable[[ClusterDns], DnsPlan], *, write: bool) -> Applied:
        """Do what the plan says of what is there, or only tell it; raises what the plan raises, and KubeError."""
        for _ in range(_ATTEMPTS):
            coredns, custom = await self._config_map("coredns"), await self._config_map(_CUSTOM)
            planned = plan(await self._judged(coredns, custom))
            changes = tuple(_changes(coredns, custom, planned))
            if not write:
                return Applied(changes, planned.notes)
            try:
                # First what is taken in, so that the zone is never without an answer in between.
                await self._write_custom(custom, planned.custom)
                await self._write(coredns, COREFILE, planned.corefile)
            except KubeError as error:
                if error.status == HTTPStatus.CONFLICT:
                    continue
                raise
            return Applied(changes, planned.notes)
        raise DnsError(
            f"the ConfigMaps of CoreDNS in {SYSTEM} are changed by somebody else all the time",
            hint="who undoes what is written there? `kubectl -n kube-system get configmap coredns -o yaml "
            "--show-managed-fields` names them",
        )

    async def _judged(self, coredns: Document | None, custom: Document | None) -> ClusterDns:
        node_cache = await self._config_map("node-local-dns")
        deployment = await self._found(f"/apis/apps/v1/namespaces/{SYSTEM}/deployments/coredns")
        pod = section(section(deployment, "spec", "template"), "spec")
        service = await self._found(f"/api/v1/namespaces/{self._namespace}/services/{DNS}")
        old = await self._found(f"/apis/apps/v1/namespaces/{SYSTEM}/deployments/kube-dns") if coredns is None else None
        served = await self._found("/apis/multicluster.x-k8s.io/v1alpha1")
        resources = [text(mapping(one).get("name")) for one in sequence(section(served).get("resources"))]
        return ClusterDns(
            _data(coredns).get(COREFILE),
            _data(custom).get(CUSTOM_KEY),
            _others(custom),
            _data(node_cache).get(COREFILE),
            old is not None,
            _image(pod),
            _address(service),
            f"{self._namespace}/{DNS}",
            "serviceimports" in resources,
            await self._may_read_imports(text(pod.get("serviceAccountName")) or "coredns"),
        )

    async def _may_read_imports(self, account: str) -> bool:
        groups = ("system:serviceaccounts", "system:authenticated")
        for verb in ("list", "watch"):
            asked = {"group": "multicluster.x-k8s.io", "resource": "serviceimports", "verb": verb}
            user = f"system:serviceaccount:{SYSTEM}:{account}"
            review = {
                "apiVersion": "authorization.k8s.io/v1",
                "kind": "SubjectAccessReview",
                "metadata": {},
                "spec": {"user": user, "resourceAttributes": asked, "groups": [*groups, f"{groups[0]}:{SYSTEM}"]},
            }
            try:
                answer = await self._client.create(review, timeout_seconds=_SECONDS)
            except KubeError as error:
                if error.status == HTTPStatus.FORBIDDEN:
                    return False
                raise
            if section(answer, "status").get("allowed") is not True:
                return False
        return True

    async def _config_map(self, name: str) -> Document | None:
        return await self._found(f"/api/v1/namespaces/{SYSTEM}/configmaps/{name}")

    async def _found(self, path: str) -> Document | None:
        try:
            return await self._client.get(path, {}, timeout_seconds=_SECONDS)
        except KubeError as error:
            if error.status == HTTPStatus.NOT_FOUND:
                return None
            raise

    async def _write(self, config_map: Document | None, key: str, value: str) -> None:
        if config_map is not None and _data(config_map).get(key, "") != value:
            data = {**_data(config_map), key: value}
            await self._client.replace({**_typed(config_map), "data": data}, timeout_seconds=_SECONDS)

    async def _write_custom(self, custom: Document | None, value: str | None) -> None:
        if custom is None:
            if value is not None:
                metadata = {"name": _CUSTOM, "namespace": SYSTEM, "annotations": {MADE_BY: DNS}}
                await self._client.create(_typed({"metadata": metadata, "data": {CUSTOM_KEY: value}}))
        elif value is not None:
            await self._write(custom, CUSTOM_KEY, value)
        elif CUSTOM_KEY in _data(custom):
            rest = {key: text for key, text in _data(custom).items() if key != CUSTOM_KEY}
            found = section(custom, "metadata")
            if rest or section(custom, "binaryData") or MADE_BY not in section(found, "annotations"):
                await self._client.replace({**_typed(custom), "data": rest}, timeout_seconds=_SECONDS)
            else:
                uid, version = text(found.get("uid")), text(found.get("resourceVersion"))
                await self._client.delete(ObjectId("ConfigMap", SYSTEM, _CUSTOM), uid, version, api_version="v1")


@asynccontextmanager
async def opened_site(access: KubeAccess, namespace: str) -> AsyncIterator[DnsSite]:
    """The DNS of a cluster; raises KubeError where its credentials can't be read."""
    async with open_client(access) as client:
        yield DnsSite(client, namespace)


def _changes(coredns: Document | None, custom: Document | None, plan: DnsPlan) -> Iterator[Change]:
    pairs = (
        (f"{_CUSTOM}/{CUSTOM_KEY}", _data(custom).get(CUSTOM_KEY, ""), plan.custom or ""),
        (f"coredns/{COREFILE}", _data(coredns).get(COREFILE, ""), plan.corefile),
    )
    yield from (Change(f"{SYSTEM}/{where}", before, after) for where, before, after in pairs if before != after)


def _data(config_map: Document | None) -> Mapping[str, str]:
    return {key: text(value) for key, value in section(config_map, "data").items()}


def _others(custom: Document | None) -> tuple[str, ...]:
    """The server blocks of somebody else in ``coredns-custom``."""
    return tuple(value for key, value in sorted(_data(custom).items()) if key.endswith(".server") and key != CUSTOM_KEY)


def _typed(document: Document) -> Document:
    return {**document, "apiVersion": "v1", "kind": "ConfigMap"}


def _image(pod: Document) -> str:
    containers = [mapping(one) for one in sequence(pod.get("containers"))]
    named = {text(one.get("name")): text(one.get("image")) for one in containers}
    return named.get("coredns", next(iter(named.values()), ""))


def _address(service: Document | None) -> HostPort | None:
    spec = section(service, "spec")
    address = text(spec.get("clusterIP"))
    ports = [mapping(one).get("port") for one in sequence(spec.get("ports"))]
    port = next((one for one in ports if isinstance(one, int)), 53)
    return HostPort(address, port) if address not in {"", "None"} else None
