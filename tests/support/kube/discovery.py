"""What a server says it serves: /api, /apis, the resources of each version, /version. Pure."""

from __future__ import annotations

import re

from support.kube.kinds import Catalog, ResourceType
from support.kube.objects import Json

VERSION: Json = {
    "major": "1",
    "minor": "34",
    "gitVersion": "v1.34.0+stand-in",
    "gitCommit": "",
    "gitTreeState": "clean",
    "buildDate": "1970-01-01T00:00:00Z",
    "goVersion": "",
    "compiler": "",
    "platform": "linux/amd64",
}
_STABILITY = {"": 2, "beta": 1, "alpha": 0}
_VERSION = re.compile(r"v(?P<major>\d+)(?P<stage>alpha|beta|)(?P<minor>\d*)")
_SUBRESOURCE_VERBS = {"token": ["create"], "finalize": ["update"]}
_SUBRESOURCE_KINDS = {"token": ("authentication.k8s.io", "v1", "TokenRequest")}


def discovered(catalog: Catalog, parts: list[str]) -> Json | None:
    """The document at a path, given in its parts; None where there is none."""
    groups = _groups(catalog)
    match parts:
        case ["api"]:
            return {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []}
        case ["api", "v1"]:
            return _resources(catalog, "", "v1")
        case ["apis"]:
            listed = [_group(name, versions) for name, versions in sorted(groups.items())]
            return {"kind": "APIGroupList", "apiVersion": "v1", "groups": listed}
        case ["apis", group] if group in groups:
            return {"kind": "APIGroup", "apiVersion": "v1", **_group(group, groups[group])}
        case ["apis", group, version] if version in groups.get(group, ()):
            return _resources(catalog, group, version)
        case ["version"]:
            return VERSION
    return None


def _groups(catalog: Catalog) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for kind in catalog.all():
        if kind.group and kind.version not in found.setdefault(kind.group, []):
            found[kind.group].append(kind.version)
    return {name: sorted(versions, key=_rank, reverse=True) for name, versions in found.items()}


def _rank(version: str) -> tuple[int, int, int]:
    """How a version sorts: v1 above v1beta1 above v1alpha1."""
    found = _VERSION.fullmatch(version)
    if found is None:
        return -1, 0, 0
    return _STABILITY[found["stage"]], int(found["major"]), int(found["minor"] or 0)


def _group(name: str, versions: list[str]) -> Json:
    listed = [{"groupVersion": f"{name}/{version}", "version": version} for version in versions]
    return {"name": name, "versions": listed, "preferredVersion": listed[0]}


def _resources(catalog: Catalog, group: str, version: str) -> Json:
    kinds = [kind for kind in catalog.all() if (kind.group, kind.version) == (group, version)]
    listed = [one for kind in sorted(kinds, key=lambda kind: kind.plural) for one in _listed(kind)]
    spelt = f"{group}/{version}" if group else version
    return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": spelt, "resources": listed}


def _listed(kind: ResourceType) -> list[Json]:
    whole: Json = {
        "name": kind.plural,
        "singularName": kind.kind.lower(),
        "namespaced": kind.namespaced,
        "kind": kind.kind,
        "verbs": list(kind.verbs),
        "storageVersionHash": "",
    }
    if kind.short_names:
        whole["shortNames"] = list(kind.short_names)
    if kind.categories:
        whole["categories"] = list(kind.categories)
    parts: list[Json] = []
    for name in kind.subresources:
        group, version, spelt = _SUBRESOURCE_KINDS.get(name, ("", "", kind.kind))
        place = {"group": group, "version": version} if group else {}
        verbs = _SUBRESOURCE_VERBS.get(name, ["get", "patch", "update"])
        part = {"name": f"{kind.plural}/{name}", "singularName": "", "namespaced": kind.namespaced}
        parts.append({**part, **place, "kind": spelt, "verbs": verbs})
    return [whole, *parts]
