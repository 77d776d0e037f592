"""Every golden case of xDS is accepted by Envoy itself.

One Envoy judges all cases at once, since each start costs a second. They are made one static configuration, inside the
bootstrap that our processes use: names and listening addresses are made unique by case, secrets and route tables are
put where they are used instead of being discovered, and certificates are real.
"""

from __future__ import annotations

import copy
import json
import subprocess
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from federation.app.programs import find_envoy
from federation.model.errors import MissingProgramError
from gateway.nodes import GatewayNode, Listen, SidecarNode
from gateway.xds.bootstrap import ControlPlane, build_bootstrap, build_token_source
from support.certificates import Ca, make_ca, make_leaf
from support.golden import cases, parse_yaml

pytestmark = pytest.mark.envoy

ROOT = Path(__file__).parents[1] / "golden" / "xds"
ROUTER = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"
MANAGER = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"


class Configuration:
    """Static resources that are gathered from cases."""

    def __init__(self, ca: Ca, now: datetime) -> None:
        self._ca = ca
        self._now = now
        self._ports = iter(range(1, 65536))
        self.resources: dict[str, list[Any]] = {"clusters": [], "listeners": [], "secrets": []}

    def add(self, number: int, case: Path) -> None:
        """Take over what one case expects; names of a case begin with its number and end as they were."""
        kinds = {path.stem: parse_yaml(path.read_text()) for path in case.glob("*.yaml") if path.name != "in.yaml"}
        names = {_name_of(each) for found in kinds.values() for each in found} | {"default", "ALL", "tickets"}
        parts = _renamed(kinds, {name: f"case-{number} {name}" for name in names | set(_referred(kinds))})
        endpoints = {each["cluster_name"]: each for each in parts.get("endpoints", [])}
        tables = {each["name"]: each for each in parts.get("routes", [])}

        self.resources["clusters"] += [_static(each) for each in parts.get("clusters", [])]
        self.resources["clusters"] += [_assigned(each) for each in endpoints.values()]
        self.resources["listeners"] += [self._listening(_static(each), tables) for each in parts.get("listeners", [])]
        self.resources["listeners"] += [self._listening(_serving(each), {}) for each in tables.values()]
        self.resources["secrets"] += [self._secret(each) for each in parts.get("secrets", self._secrets(number))]
        self.resources["clusters"].append(_verifying(f"case-{number}"))
        held = {each["name"] for each in self.resources["clusters"]}
        wanted = set(_referred(parts)) - held
        self.resources["clusters"] += [_absent(name) for name in sorted(wanted)]

    def _secrets(self, number: int) -> list[Any]:
        """Secrets for a case that shows none."""
        return [
            {"name": f"case-{number} default", "tls_certificate": {"certificate_chain": {}, "private_key": {}}},
            {"name": f"case-{number} tickets", "session_ticket_keys": {}},
            {"name": f"case-{number} ALL", "validation_context": {"trusted_ca": {"inline_string": self._ca.pem}}},
        ]

    def _secret(self, secret: Any) -> Any:
        if "tls_certificate" in secret:
            leaf = make_leaf(self._ca, self._now, uris=["spiffe://east.test/ns/demo/sa/web"])
            secret["tls_certificate"]["certificate_chain"] = {"inline_string": leaf.chain_pem}
            secret["tls_certificate"]["private_key"] = {"inline_string": leaf.key_pem}
        if secret["name"].endswith("tickets"):
            secret["session_ticket_keys"] = {"keys": [{"inline_string": "k" * 80}]}
        for domain in _under(secret, "trust_domains"):
            domain["trust_bundle"] = {"inline_string": self._ca.pem}
        return secret

    def _listening(self, listener: Any, tables: Mapping[str, Any]) -> Any:
        """The listener on a port of its own, with its route table inside."""
        listener["address"]["socket_address"]["port_value"] = next(self._ports)
        for config in [each for each in _objects(listener) if "rds" in each]:
            name = config.pop("rds")["route_config_name"]
            config["route_config"] = copy.deepcopy(tables.get(name, {"name": name}))
        return listener


def _static(resource: Any) -> Any:
    """A resource that finds its secrets in the bootstrap instead of asking for them."""
    for each in _objects(resource):
        if "sds_config" in each:
            del each["sds_config"]
    return resource


def _assigned(assignment: Any) -> Any:
    """A cluster that holds these endpoints: an assignment can't stand alone."""
    name = f"endpoints of {assignment['cluster_name']}"
    return {"name": name, "type": "STATIC", "connect_timeout": "1s", "load_assignment": assignment}


def _verifying(case: str) -> Any:
    """A cluster that uses the secrets of a case: Envoy does not look into those that nobody uses."""
    context = {
        "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
        "common_tls_context": {
            "tls_certificate_sds_secret_configs": [{"name": f"{case} default"}],
            "validation_context_sds_secret_config": {"name": f"{case} ALL"},
        },
    }
    socket = {"name": "envoy.transport_sockets.tls", "typed_config": context}
    return {"name": f"{case} secrets", "type": "STATIC", "connect_timeout": "1s", "transport_socket": socket}


def _absent(name: str) -> Any:
    """A cluster that a case refers to and does not show."""
    return {"name": name, "type": "STATIC", "connect_timeout": "1s"}


def _serving(table: Any) -> Any:
    """A listener that holds this route table: a table can't stand alone."""
    manager = {
        "@type": MANAGER,
        "stat_prefix": "routes",
        "route_config": table,
        "http_filters": [{"name": "envoy.filters.http.router", "typed_config": {"@type": ROUTER}}],
    }
    return {
        "name": f"routes of {table['name']}",
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}},
        "filter_chains": [{"filters": [{"name": "manager", "typed_config": manager}]}],
    }


def _name_of(resource: Any) -> str:
    return str(resource.get("name") or resource["cluster_name"])


def _referred(parts: Any) -> Iterator[str]:
    """Names of clusters that routes and proxies of a case lead to."""
    for each in _objects(parts):
        if isinstance(each.get("cluster"), str) and "on_demand" not in each:
            yield each["cluster"]


def _renamed(value: Any, names: Mapping[str, str]) -> Any:
    """A copy in which every text that is one of these names is replaced."""
    match value:
        case dict():
            return {key: _renamed(item, names) for key, item in value.items()}
        case list():
            return [_renamed(item, names) for item in value]
        case str():
            return names.get(value, value)
        case _:
            return value


def _objects(value: Any) -> Iterator[dict[str, Any]]:
    """All objects inside a value."""
    if isinstance(value, dict):
        yield value
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from _objects(item)


def _under(value: Any, key: str) -> Iterator[Any]:
    for each in _objects(value):
        yield from each.get(key, [])


def _validate(folder: Path, static: Mapping[str, list[Any]], *, gateway: bool) -> subprocess.CompletedProcess[str]:
    try:
        binary = find_envoy()
    except MissingProgramError as error:
        pytest.skip(f"{error}: {error.hint}")
    listen = Listen("127.0.0.1", 15443)
    source = folder / "token.json"
    source.write_text(json.dumps(build_token_source(str(folder / "token"))))
    document: Any = build_bootstrap(
        GatewayNode(listen) if gateway else SidecarNode("10.0.0.1", 15006),
        node_id="node",
        cluster="east",
        region="eu",
        zone="",
        admin=Listen("127.0.0.1", 15000),
        xds=ControlPlane(socket=str(folder / "xds.sock"), token_source=str(source)),
    )
    document["static_resources"]["clusters"] += static["clusters"]
    document["static_resources"] |= {kind: found for kind, found in static.items() if kind != "clusters"}
    path = folder / "bootstrap.json"
    path.write_text(json.dumps(document))
    arguments = ["--mode", "validate", "--concurrency", "1", "--log-level", "error", "-c", str(path)]
    return subprocess.run([str(binary), *arguments], capture_output=True, text=True, timeout=50, check=False)


@pytest.fixture(scope="module")
def configuration() -> Configuration:
    now = datetime.now(UTC)
    found = Configuration(make_ca(now, uris=["spiffe://east.test"]), now)
    for number, case in enumerate(cases(ROOT)):
        found.add(number, case)
    return found


@pytest.mark.parametrize("gateway", [False, True], ids=["sidecar", "gateway"])
def test_envoy_accepts_every_golden(configuration: Configuration, tmp_path: Path, gateway: bool) -> None:
    """All resources of all cases, in the bootstrap of either kind of node, are a configuration that Envoy takes."""
    result = _validate(tmp_path, configuration.resources, gateway=gateway)
    listed = "\n".join(f"case-{number} {case.name}" for number, case in enumerate(cases(ROOT)))
    assert result.returncode == 0, f"{result.stderr}\n{listed}"


@pytest.mark.parametrize(
    ("kind", "field", "value"),
    [
        ("clusters", "connect_timeout", "-1s"),
        ("listeners", "filter_chains", [{"filters": [{"name": "no such filter"}]}]),
        ("secrets", "tls_certificate", {"certificate_chain": {"inline_string": "no certificate"}}),
        ("secrets", "validation_context", {"trusted_ca": {"inline_string": "no certificate"}}),
    ],
)
def test_envoy_refuses_what_is_wrong(
    configuration: Configuration, tmp_path: Path, kind: str, field: str, value: object
) -> None:
    """The check can fail: one wrong resource of any kind is found among all the good ones."""
    broken = copy.deepcopy(configuration.resources)
    next(each for each in broken[kind] if field in each)[field] = value
    assert _validate(tmp_path, broken, gateway=False).returncode != 0
