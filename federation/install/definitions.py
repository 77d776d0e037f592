"""The CRDs that come with an installation, and whether one that is there already is to be replaced. Pure but for
reading the package's own files.

The MCS API's CRDs belong to its project, and others may have installed them (Cilium, Submariner, a cloud): labels say
which release and which schema they have, so that nobody takes a newer one away (mcs-api, ``crd-schema-revision``).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum
from functools import cache
from importlib.resources import files
from typing import Any, Final

from federation.model.documents import read_yaml

RELEASE_LABEL: Final = "multicluster.x-k8s.io/release-version"
REVISION_LABEL: Final = "multicluster.x-k8s.io/crd-schema-revision"
_RELEASE: Final = re.compile(r"v?(\d{1,6})\.(\d{1,6})\.(\d{1,6})(?:[-+].*)?")


class Standing(StrEnum):
    """How a CRD that is there relates to ours."""

    OURS = "ours"
    """Installed by us: kept as we state it."""
    OLDER = "older"
    """Somebody else's, of an older schema: it is replaced."""
    KEPT = "kept"
    """Somebody else's, as new or newer, or of no known age: it is left alone."""


@cache
def definition_texts() -> Mapping[str, str]:
    """The CRDs as YAML, by the name of their file."""
    folder = files(__package__) / "definitions"
    found = sorted((one for one in folder.iterdir() if one.name.endswith(".yaml")), key=lambda one: one.name)
    return {one.name: one.read_text() for one in found}


@cache
def definitions() -> tuple[Mapping[str, Any], ...]:
    """The CRDs as documents, which must not be changed."""
    return tuple(_document(text) for text in definition_texts().values())


def standing(existing: Mapping[str, Any], ours: Mapping[str, Any], *, manager: str) -> Standing:
    """How the CRD ``existing`` relates to the one that we would install as ``manager``."""
    metadata = existing.get("metadata") or {}
    fields = metadata.get("managedFields") or []
    mine = any(isinstance(one, Mapping) and one.get("manager") == manager for one in fields)
    there, here = _age(metadata.get("labels") or {}), _age(ours["metadata"].get("labels") or {})
    if here is None:
        return Standing.OURS if mine else Standing.KEPT
    if mine:
        # Somebody may have installed a newer one over it since.
        return Standing.OURS if there is None or there <= here else Standing.KEPT
    # Releases that had no such label are older than any that has.
    return Standing.OLDER if there is None or there < here else Standing.KEPT


def _age(labels: Mapping[str, object]) -> tuple[int, int, int, int] | None:
    """Release and schema revision, to be compared; None where the labels don't say."""
    release = _RELEASE.fullmatch(str(labels.get(RELEASE_LABEL, "")))
    if release is None:
        return None
    major, minor, patch = (int(number) for number in release.groups())
    revision = str(labels.get(REVISION_LABEL, ""))
    return major, minor, int(revision) if revision.isdecimal() else 0, patch


def _document(text: str) -> Mapping[str, Any]:
    document = read_yaml(text)
    assert isinstance(document, dict)  # noqa: S101 - a file of ours
    return document
