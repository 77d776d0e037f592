"""Streams of Kubernetes manifests, read and written as kubectl understands them.

Unlike ``federation.model.documents``, which judges what it is given, this one must not change what it does not know:
scalars follow YAML 1.1 as Kubernetes' parser has it (``0644`` is octal, ``yes`` a boolean, a time stamp and ``22:30``
are strings), and are written so that every parser reads them as the same.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

import yaml

from federation.model.errors import ConfigError

_TAG: Final = "tag:yaml.org,2002:"
_INT: Final = re.compile(r"[-+]?(?:0b[01_]+|0x[0-9a-fA-F_]+|0[0-7_]*|[1-9][0-9_]*)$")
_FLOAT: Final = re.compile(r"[-+]?(?:[0-9][0-9_]*\.[0-9_]*|\.[0-9][0-9_]*)(?:[eE][-+]?[0-9]+)?$")
# What some parser takes for a number: 1e3, 08, 0o17, 1_000.
_LIKE_A_NUMBER: Final = re.compile(r"[-+.~]?[0-9]")
_ENDLESS: Final = 1 << 20


class _Loader(yaml.SafeLoader):
    """SafeLoader with the numbers of Kubernetes' parser, and without time stamps."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag.rpartition(":")[2] in {"bool", "merge", "null"}]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(f"{_TAG}int", _INT, list("-+0123456789"))
_Loader.add_implicit_resolver(f"{_TAG}float", _FLOAT, list("-+0123456789."))


class _Dumper(yaml.SafeDumper):
    """Block style without anchors, and quotes wherever a parser might see a number."""

    def ignore_aliases(self, data: object) -> bool:  # noqa: ARG002 - as its base class
        return True

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:  # noqa: FBT001, FBT002
        super().increase_indent(flow, indentless)


def _string(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    style = "|" if "\n" in value else "'" if _LIKE_A_NUMBER.match(value) else None
    if not value.replace("\n", "").isprintable():
        # The library leaves line breaks of Unicode as they are, and reads them as spaces.
        style = '"'
    return dumper.represent_scalar(f"{_TAG}str", value, style=style)


_Dumper.add_representer(str, _string)


def read_stream(text: str, name: str) -> list[dict[str, Any]]:
    """The documents of a stream, blank ones left out; raises ConfigError for what holds no Kubernetes objects."""
    try:
        documents = [one for one in yaml.load_all(text, _Loader) if one is not None]
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        cause = " ".join(str(error).split()) or type(error).__name__
        raise ConfigError(f"{name} is no YAML: {cause[:300]}") from error
    for number, document in enumerate(documents, 1):
        if not isinstance(document, dict) or not isinstance(document.get("kind"), str):
            raise ConfigError(f"document {number} of {name} is no Kubernetes object", hint="it has no kind")
    return documents


def stream_text(documents: Iterable[Mapping[str, object]], *, as_json: bool) -> str:
    """The documents as a YAML stream; or as JSON, one List if they are several."""
    found = [*documents]
    if as_json:
        whole = found[0] if len(found) == 1 else {"apiVersion": "v1", "kind": "List", "items": found}
        return json.dumps(whole, indent=2) + "\n"
    return yaml.dump_all(
        found, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=_ENDLESS, explicit_start=len(found) > 1
    )
