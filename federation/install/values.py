"""The values of an installation: layers of YAML and ``key=value`` words to one tree that is whole and right, or every
violation.

``values.yaml`` beside this module is the one home of defaults; layers are laid over it as Helm does (mappings are
merged, null removes, all else replaces). The grammar below is what judges here and, as JSON Schema, in the chart. Pure
but for reading the package's own file.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, ConfigDict, Field, JsonValue, ValidationError, ValidationInfo, WithJsonSchema

from federation.install.settings_keys import refused_settings, settings_schema, values_rule
from federation.install.template import look_up
from federation.model.documents import read_yaml
from federation.model.errors import ConfigError
from federation.model.names import is_dns_label
from federation.model.settings_fields import Section, violations

_HINT: Final = "federation install --print-values shows every key with its default"
_KEY_PARTS: Final = re.compile(r"(?:\\.|[^.\\])+")
_MOST_LAYERS_DEEP: Final = 32


def _name_or_none(value: str) -> str:
    if value and not is_dns_label(value):
        raise ValueError("must be a DNS label: lower case letters, digits and inner dashes, at most 63 characters")
    return value


_OPTIONAL_LABEL: Final = {"type": "string", "pattern": "^([a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?)?$"}
_Label = Annotated[str, AfterValidator(_name_or_none), WithJsonSchema(_OPTIONAL_LABEL)]
_Object = dict[str, JsonValue]
_Settings = Annotated[_Object, WithJsonSchema(settings_schema())]
_Texts = dict[str, str]
_Quantity = Annotated[str, Field(pattern=r"^[0-9]+(\.[0-9]+)?(m|k|M|G|T|Ki|Mi|Gi|Ti)?$")] | Annotated[int, Field(ge=0)]
_Port = Annotated[int, Field(ge=1, le=65535)]
_NodePort = Annotated[int, Field(ge=0, le=65535)]
_Seconds = Annotated[int, Field(ge=0, le=3600)]
_Filled = Annotated[str, Field(min_length=1)]
_FILLED: Final[dict[str, JsonValue]] = {"minLength": 1}


class _Resources(Section):
    requests: dict[str, _Quantity]
    limits: dict[str, _Quantity]


class _Image(Section):
    repository: _Filled
    tag: _Filled
    pull_policy: Literal["Always", "IfNotPresent", "Never"]
    pull_secrets: list[_Object]


class _Pods(Section):
    replicas: Annotated[int, Field(ge=1)]
    resources: _Resources
    pod_annotations: _Texts
    node_selector: _Texts
    tolerations: list[_Object]
    priority_class_name: str


class _GatewayService(Section):
    type: Literal["LoadBalancer", "NodePort", "HostPort"]
    port: _Port
    node_port: _NodePort
    host_port: _Port
    annotations: _Texts
    load_balancer_class: str
    load_balancer_source_ranges: list[str]
    external_traffic_policy: Literal["Cluster", "Local"]


class _Gateway(_Pods):
    kind: Literal["Deployment", "DaemonSet"]
    service: _GatewayService
    drain_seconds: _Seconds
    termination_grace_period_seconds: _Seconds


def _one_source(value: str, info: ValidationInfo) -> str:
    if value and info.data.get("config_map"):
        raise ValueError("excludes ca.configMap: the bundle is in one of both")
    return value


class _Ca(Section):
    # As JSON Schema what the validator says.
    model_config = ConfigDict(json_schema_extra={"not": {"properties": {"configMap": _FILLED, "secret": _FILLED}}})

    config_map: str
    secret: Annotated[str, AfterValidator(_one_source)]
    key: _Filled


class _Dns(Section):
    # Given by its alias: the generated one would be clusterIp.
    cluster_ip: str = Field(alias="clusterIP")


class _Injection(Section):
    enabled: bool
    failure_policy: Literal["Ignore", "Fail"]


class _NetworkPolicy(Section):
    enabled: bool
    api_server_ports: list[_Object]
    exchange_ports: list[_Object]
    peer_gateway_ports: list[_Object]
    workload_ports: list[_Object]
    metrics_from: list[_Object]


class _ExchangeService(Section):
    type: Literal["ClusterIP", "NodePort", "LoadBalancer"]
    node_port: _NodePort
    annotations: _Texts


class _Exchange(Section):
    in_cluster: bool
    image: _Filled
    tls_secret: _Filled
    names: list[_Filled]
    storage: Annotated[str, Field(pattern=r"^([0-9]+(Mi|Gi|Ti))?$")]
    storage_class_name: str
    service: _ExchangeService
    resources: _Resources


class _Values(Section):
    model_config = ConfigDict(title="Values of federation-gateway", json_schema_extra={"allOf": [values_rule()]})

    clusterset: _Label
    image: _Image
    settings: _Settings
    ca: _Ca
    controller: _Pods
    gateway: _Gateway
    dns: _Dns
    mesh: Literal["none", "istio", "linkerd"]
    injection: _Injection
    network_policy: _NetworkPolicy
    exchange: _Exchange
    # Not ours: Helm gives it to every chart that another one contains.
    global_: _Object = Field(alias="global", default_factory=dict)


@dataclass(frozen=True, slots=True)
class InstallValues:
    """Values that were judged; made by ``parse_values``."""

    tree: Mapping[str, object]
    """In the keys of values.yaml."""

    @property
    def clusterset(self) -> str:
        """Empty where none is named, and no gateway is installed."""
        return str(self.tree["clusterset"])

    @property
    def image(self) -> str:
        """Of controller, gateway and sidecars."""
        return f"{look_up(self.tree, 'image.repository')}:{look_up(self.tree, 'image.tag')}"

    @property
    def exchange_in_cluster(self) -> bool:
        return look_up(self.tree, "exchange.inCluster") is True

    @property
    def exchange_secret(self) -> str:
        """Name of the Secret with the certificate and the users of the exchange in the cluster."""
        return str(look_up(self.tree, "exchange.tlsSecret"))

    @property
    def exchange_names(self) -> tuple[str, ...]:
        """What the exchange in the cluster is called by, beside its service's name."""
        names = look_up(self.tree, "exchange.names")
        return tuple(str(name) for name in names) if isinstance(names, list) else ()


@cache
def default_values() -> dict[str, object]:
    """The defaults, as a tree."""
    return _mapping("values.yaml", default_values_text())


def default_values_text() -> str:
    """The text of values.yaml."""
    return (files(__package__) / "values.yaml").read_text()


def parse_values(layers: Iterable[tuple[str, str]] = (), words: Iterable[str] = ()) -> InstallValues:
    """The defaults with these layers over them, each its name and its YAML, and then words of the form ``a.b=value``.

    Raises ConfigError with every violation of the first thing that is wrong.
    """
    tree = default_values()
    for name, text in layers:
        tree = _laid_over(tree, _mapping(name, text))
    for word in words:
        tree = _laid_over(tree, _word(word))
    _judge(tree)
    return InstallValues(tree)


def with_clusterset(values: InstallValues, clusterset: str) -> InstallValues:
    """The same for a clusterset that turned out later; raises ConfigError where that is no name."""
    tree = {**values.tree, "clusterset": clusterset}
    _judge(tree)
    return InstallValues(tree)


def values_schema() -> dict[str, Any]:
    """The grammar as JSON Schema (draft 7), without references, which every Helm 3 reads."""
    schema = _Values.model_json_schema()
    definitions = schema.pop("$defs")
    inlined: dict[str, Any] = _inlined(schema, definitions)
    return {"$schema": "http://json-schema.org/draft-07/schema#", **inlined, "title": schema["title"]}


def _judge(tree: Mapping[str, object]) -> None:
    broken = refused_settings(tree.get("settings"), tree.get("mesh"))
    try:
        _Values.model_validate(tree)
    except ValidationError as error:
        broken = [*violations(error), *broken]
    if broken:
        raise ConfigError(f"values are unusable: {'; '.join(broken)}", violations=broken, hint=_HINT)


def _mapping(name: str, text: str) -> dict[str, object]:
    try:
        document = read_yaml(text)
    except ValueError as error:
        raise ConfigError(f"values {name} can't be read: {error}") from None
    if document is None:
        return {}
    if not isinstance(document, dict):
        raise ConfigError(f"values {name} must be a mapping", hint=_HINT)
    return document


def _word(word: str) -> dict[str, object]:
    """What one ``--set`` says, as a layer. A dot within a key is written ``\\.``, and the value is YAML."""
    key, equals, value = word.partition("=")
    parts = [part.replace("\\", "") for part in _KEY_PARTS.findall(key)]
    if not equals or not parts or len(parts) > _MOST_LAYERS_DEEP:
        raise ConfigError(f"--set {word!r} is not of the form KEY=VALUE", hint="for example --set gateway.replicas=3")
    try:
        layer: object = read_yaml(value) if value else ""
    except ValueError as error:
        raise ConfigError(f"--set {key}: the value can't be read: {error}") from None
    for part in reversed(parts):
        layer = {part: layer}
    assert isinstance(layer, dict)  # noqa: S101 - there is at least one part
    return layer


def _laid_over(below: Mapping[str, object], above: Mapping[str, object]) -> dict[str, object]:
    merged = dict(below)
    for key, value in above.items():
        beneath = below.get(key)
        if value is None:
            merged.pop(key, None)
        elif isinstance(value, Mapping) and isinstance(beneath, Mapping):
            merged[key] = _laid_over(beneath, value)
        else:
            merged[key] = value
    return merged


def _inlined(schema: Any, definitions: Mapping[str, Any]) -> Any:
    """Without references, and without the titles that say nothing but the name."""
    match schema:
        case {"$ref": str(reference)}:
            return _inlined(definitions[reference.rpartition("/")[2]], definitions)
        case dict():
            # Within "properties" a key named title would be a value's own.
            return {
                key: {name: _inlined(one, definitions) for name, one in inner.items()}
                if key == "properties"
                else _inlined(inner, definitions)
                for key, inner in schema.items()
                if key != "title"
            }
        case list():
            return [_inlined(item, definitions) for item in schema]
        case _:
            return schema
