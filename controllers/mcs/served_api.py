"""Which MCS API the cluster serves: the version to write, and the fields that its schema has. Pure.

The API server drops fields that a CRD's schema lacks, without a word. What it would drop is not stated, or an object
would never be as it was stated; so one program writes both versions, old CRDs, and fields that come with a later one
(``status.endpointSliceObjects`` is in KEP-1645 and not in the CRDs of mcs-api v0.5).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from controllers.mcs.objects import MCS_GROUP, Apply, Document, mapping, section, sequence, text

_VERSIONS: Final = ("v1beta1", "v1alpha1")
"""Newest first: both are served with one schema, and the newer is the one that is stored."""


@dataclass(frozen=True, slots=True)
class ServedApi:
    """The version of ServiceExport and ServiceImport that is written here, and their schemas."""

    version: str = f"{MCS_GROUP}/{_VERSIONS[0]}"
    schemas: Mapping[str, Document] = field(default_factory=dict)
    """By kind, in the form of openAPIV3Schema; of a kind that is missing nothing is left out."""

    def prune(self, apply: Apply) -> Apply:
        """The same without what the API server would drop."""
        schema = self.schemas.get(apply.id.kind)
        if schema is None:
            return apply
        return replace(apply, document={key: _pruned(key, value, schema) for key, value in apply.document.items()})


def parse_served_api(definitions: Iterable[Document]) -> ServedApi | None:
    """Read the CustomResourceDefinitions; None unless both kinds are served in one version that is known here."""
    kinds: dict[str, dict[str, Document]] = {}
    for definition in definitions:
        spec = section(definition, "spec")
        kind = text(section(spec, "names").get("kind"))
        if spec.get("group") == MCS_GROUP and kind in {"ServiceExport", "ServiceImport"}:
            kinds[kind] = _served_versions(spec)
    for version in _VERSIONS:
        schemas = {kind: versions[version] for kind, versions in kinds.items() if version in versions}
        if len(schemas) == 2:
            return ServedApi(f"{MCS_GROUP}/{version}", schemas)
    return None


def _served_versions(spec: Document) -> dict[str, Document]:
    versions = [mapping(item) for item in sequence(spec.get("versions"))]
    return {
        text(version.get("name")): section(version, "schema", "openAPIV3Schema")
        for version in versions
        if version.get("served") is True
    }


def _pruned(key: str, value: object, schema: Document) -> object:
    # The head of an object is the API server's own, whatever the schema says of it.
    if key in {"apiVersion", "kind", "metadata"}:
        return value
    return _within(value, section(schema, "properties", key))


def _within(value: object, schema: Document) -> object:
    if isinstance(value, list):
        return [_within(item, section(schema, "items")) for item in value]
    properties = schema.get("properties")
    if not isinstance(value, Mapping) or not isinstance(properties, Mapping):
        return value
    return {key: _within(item, mapping(properties[key])) for key, item in value.items() if key in properties}
