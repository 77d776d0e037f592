"""Settings that an installation can't have: refused with their path, by the command and by the chart's schema."""

from __future__ import annotations

from typing import Any

import pytest

from federation.install.settings_keys import REFUSED, refused_settings
from federation.install.values import parse_values, values_schema
from federation.model.errors import ConfigError


def matches(schema: Any, value: Any) -> bool:
    """JSON Schema, as far as rules on settings use it."""
    types = {"object": dict, "string": str}
    return (
        ("type" not in schema or isinstance(value, types[schema["type"]]))
        and ("const" not in schema or (type(value), value) == (type(schema["const"]), schema["const"]))
        and ("minLength" not in schema or len(value) >= schema["minLength"])
        and all(key in value for key in schema.get("required", ()))
        and all(matches(rule, value[key]) for key, rule in schema.get("properties", {}).items() if key in value)
        and ("not" not in schema or not matches(schema["not"], value))
        and ("anyOf" not in schema or any(matches(one, value) for one in schema["anyOf"]))
        and all(matches(one, value) for one in schema.get("allOf", ()))
    )


@pytest.mark.parametrize("path", REFUSED)
def test_what_would_be_dropped_is_refused(path: str) -> None:
    """A listener, the namespace, a membership or a CA among the settings is told by its path, and nothing beside it."""
    with pytest.raises(ConfigError) as refused:
        parse_values((), [f"settings.{path}=x", "settings.region=eu", "gateway.replicas=0"])
    told = [violation.partition(": ")[0] for violation in refused.value.violations]
    assert sorted(told) == sorted(["gateway.replicas", f"settings.{path}"])


def test_a_ca_of_ones_own_is_told_with_where_it_is_named() -> None:
    """A path says nothing of what is mounted there."""
    with pytest.raises(ConfigError, match=r"settings\.ca\.bundleFile: is where the installation mounts .*configMap"):
        parse_values((), ["mesh=istio", "settings.ca.bundleFile=root-cert.pem"])
    parse_values((), ["mesh=istio", "ca.configMap=istio-ca-root-cert", "settings.ca.caTtl=720h"])


@pytest.mark.parametrize("config_map", ["", "roots"])
@pytest.mark.parametrize("secret", ["", "roots"])
def test_a_ca_of_ones_own_is_in_one_place(config_map: str, secret: str) -> None:
    """The schema says the same."""
    words = [f"ca.configMap={config_map}", f"ca.secret={secret}"]
    fits = matches(values_schema()["properties"]["ca"]["not"], {"configMap": config_map, "secret": secret})
    assert fits is bool(config_map and secret)
    if fits:
        with pytest.raises(ConfigError, match=r"ca\.secret: excludes ca\.configMap"):
            parse_values((), words)
    else:
        parse_values((), words)


def test_istio_has_no_other_port_of_sidecars() -> None:
    """With mesh istio it is the workload's own; without, any may be said."""
    with pytest.raises(ConfigError, match=r"settings\.mesh\.sidecarPort: is 0 with mesh istio"):
        parse_values((), ["mesh=istio", "settings.mesh.sidecarPort=15006"])
    parse_values((), ["mesh=istio", "settings.mesh.sidecarPort=0"])
    parse_values((), ["settings.mesh.sidecarPort=15006"])


@pytest.mark.parametrize(
    "settings",
    [
        *({path.split(".")[0]: {path.split(".")[1]: {}}} for path in REFUSED if "." in path),
        {"cluster": "east"},
        {},
        {"region": "eu", "xds": {}, "http": {"tls": "no"}, "exchange": {"leaseSeconds": 6}, "ca": {"caTtl": "720h"}},
        {"mesh": {"sidecarPort": 0}},
        {"mesh": {"sidecarPort": 15006}},
    ],
)
@pytest.mark.parametrize("mesh", ["none", "istio"])
def test_the_schema_refuses_the_same(settings: dict[str, Any], mesh: str) -> None:
    """What Helm is told of settings is what the command says of them."""
    schema = values_schema()
    judged = matches(schema["properties"]["settings"], settings) and all(
        matches(rule, {"mesh": mesh, "settings": settings}) for rule in schema["allOf"]
    )
    assert judged == (refused_settings(settings, mesh) == [])
