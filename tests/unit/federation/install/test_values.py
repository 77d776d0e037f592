"""The values of an installation: layers, words, and what is refused."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from federation import __version__
from federation.install.manifests import TEMPLATES
from federation.install.template import paths_of
from federation.install.values import parse_values, values_schema
from federation.model.errors import ConfigError

OF_THE_INSTALLER = {"exchange.names"}
"""Asked for by ``federation install`` itself, and by no template."""


def test_the_defaults_are_good_as_they_are() -> None:
    """values.yaml by itself is right, and installs the image of this version."""
    values = parse_values()
    assert values.image == f"federation-gateway:{__version__}"
    assert (values.clusterset, values.exchange_in_cluster, values.exchange_secret) == ("", False, "federation-exchange")


def test_layers_are_laid_over_each_other() -> None:
    """Mappings are merged, lists and scalars replaced, the later layer wins, and words win over all."""
    layers = [
        ("one", "gateway: {replicas: 5, service: {type: NodePort, annotations: {a: x, b: y}}}"),
        ("two", "gateway: {service: {annotations: {b: z}}}\nexchange: {names: [a.example.com]}"),
    ]
    values = parse_values(
        layers, ["gateway.replicas=7", r"gateway.service.annotations.example\.com/c=on", "clusterset="]
    )
    gateway: Any = values.tree["gateway"]
    assert gateway["replicas"] == 7
    assert gateway["service"]["type"] == "NodePort"
    assert gateway["service"]["port"] == 15443
    assert gateway["service"]["annotations"] == {"a": "x", "b": "z", "example.com/c": "on"}
    assert values.exchange_names == ("a.example.com",)


@pytest.mark.parametrize(
    ("layer", "violations"),
    [
        ("gatway: {}", ["gatway: is no key of this file"]),
        ("gateway: {kind: Pod}", ["gateway.kind: must be 'Deployment' or 'DaemonSet'"]),
        ("image: null", ["image: is required"]),
        ("controller: {replicas: 0}", ["controller.replicas: must be greater than or equal to 1"]),
        ("controller: {replicas: many}", ["controller.replicas: must be an integer"]),
        ("gateway: {service: {nodePort: 70000}}", ["gateway.service.nodePort: must be less than or equal to 65535"]),
        (
            "clusterset: A_b",
            ["clusterset: must be a DNS label: lower case letters, digits and inner dashes, at most 63 "],
        ),
        ("gateway: {tolerations: [x]}", ["gateway.tolerations[0]: "]),
        ("dns: {clusterIP: 1}\nexchange: {storage: lots}", ["dns.clusterIP: must be a string", "exchange.storage: "]),
    ],
)
def test_what_is_wrong_is_told_with_its_path(layer: str, violations: list[str]) -> None:
    """Every violation is told at once, each by the path of its key."""
    with pytest.raises(ConfigError) as refused:
        parse_values([("values", layer)])
    assert len(refused.value.violations) == len(violations)
    assert all(told.startswith(start) for told, start in zip(refused.value.violations, violations, strict=True))


@pytest.mark.parametrize(
    ("layer", "cause"),
    [("a: [", "values mine.yaml can't be read: line"), ("- a", "must be a mapping"), ("a: &x 1", "anchors")],
)
def test_a_file_that_is_none_is_named(layer: str, cause: str) -> None:
    """What can't be read at all is told with the file's name."""
    with pytest.raises(ConfigError, match=re.escape(cause)):
        parse_values([("mine.yaml", layer)])


@pytest.mark.parametrize(("word", "cause"), [("gateway", "KEY=VALUE"), ("=1", "KEY=VALUE"), ("a=[", "can't be read")])
def test_a_word_that_is_none_is_refused(word: str, cause: str) -> None:
    """--set takes KEY=VALUE, and the value is YAML."""
    with pytest.raises(ConfigError, match=re.escape(cause)):
        parse_values((), [word])


def leaves(tree: Mapping[str, Any], above: str = "") -> Iterator[str]:
    for key, value in tree.items():
        path = f"{above}{key}"
        if isinstance(value, Mapping) and value and key not in {"requests", "limits"}:
            yield from leaves(value, f"{path}.")
        else:
            yield path


def test_every_value_decides_something() -> None:
    """No value is without a template that asks for it, and none asks for what is no value."""
    asked = {path for nodes in TEMPLATES.values() for node in nodes for path in paths_of(node)}
    asked = {path for path in asked if not path.startswith("release.")}
    values = {path.removesuffix(".requests").removesuffix(".limits") for path in leaves(parse_values().tree)}
    assert values - asked == OF_THE_INSTALLER
    assert asked - values == set()


def test_the_schema_has_what_the_values_have() -> None:
    """The schema of the chart knows every key, requires it, and knows no other but Helm's own."""

    def keys(schema: Mapping[str, Any], above: str = "") -> Iterator[str]:
        for key, inner in schema.get("properties", {}).items():
            yield f"{above}{key}"
            yield from keys(inner, f"{above}{key}.")

    def paths(tree: Any, above: str = "") -> Iterator[str]:
        for key, value in tree.items():
            yield f"{above}{key}"
            if isinstance(value, Mapping) and key not in {"requests", "limits"}:
                yield from paths(value, f"{above}{key}.")

    schema = values_schema()
    assert set(keys(schema)) - {"global"} == set(paths(parse_values().tree))
    assert "$ref" not in repr(schema)
    assert schema["required"] == list(parse_values().tree)
