"""The paths of `bench.datapath` side by side: one caller's sidecar, one server's sidecar, and what may stand between.

Sidecars are configured by our own translation, put into static files so that what the product never does can stand
beside what it does: HTTP/1.1 between sidecars, another program as the gateway, a gateway that ends TLS. All proxies
have one worker, and all run for the whole bench.
"""

from __future__ import annotations

import asyncio
import json
import shutil
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from google.protobuf.json_format import MessageToDict

from bench._certificates import SERVER_IDENTITY, Certificates
from federation.app.programs import find_envoy
from federation.demo.processes import Child, Fleet
from federation.model.names import ClusterId, ServiceKey, sni
from gateway.ir.model import AppProtocol, ImportedPort, InboundPort, Upstream, UpstreamLocality
from gateway.telemetry import Telemetry
from gateway.xds.translate.clusters import app_cluster, import_assignment, import_cluster
from gateway.xds.translate.listeners import Address, gateway_listener, inbound_listener, local_listener

_NETWORK = "127.62.0"
CALLER, SERVER, ENVOY, HAPROXY, NGINX, TERMINATING = (f"{_NETWORK}.{number}" for number in range(1, 7))
INBOUND, GATEWAY, ADMIN = 15006, 15443, 15000
TCP_PORT = 9000
"""What a client connects to for the path without HTTP: a new connection is a handshake of its own."""

_HTTP_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
_FILTERS = "type.googleapis.com/envoy.extensions.filters"
_TELEMETRY = Telemetry(ClusterId("near"))
_WEB, _RAW = ServiceKey("bench", "web"), ServiceKey("bench", "raw")


@dataclass(frozen=True, slots=True)
class PathTaken:
    """One way from the caller's application to the server's."""

    name: str
    port: int
    """Of the caller's sidecar; 0: no proxy at all."""
    http2: bool
    """Between the sidecars."""
    gateway: str = ""
    """Address of what stands between the sidecars."""

    @property
    def address(self) -> str:
        return f"{CALLER}:{self.port}" if self.port else f"{SERVER}:8080"


PATHS = (
    PathTaken("direct", 0, http2=False),
    PathTaken("local mesh, HTTP/1.1", 8001, http2=False),
    PathTaken("local mesh, HTTP/2", 8002, http2=True),
    PathTaken("cross-cluster, HTTP/1.1", 8003, http2=False, gateway=ENVOY),
    PathTaken("cross-cluster, HTTP/2", 8004, http2=True, gateway=ENVOY),
    PathTaken("by HAProxy, HTTP/1.1", 8005, http2=False, gateway=HAPROXY),
    PathTaken("by HAProxy, HTTP/2", 8006, http2=True, gateway=HAPROXY),
    PathTaken("by nginx, HTTP/1.1", 8007, http2=False, gateway=NGINX),
    PathTaken("by nginx, HTTP/2", 8008, http2=True, gateway=NGINX),
    PathTaken("gateway ends TLS, HTTP/2", 8009, http2=True, gateway=TERMINATING),
)
"""The first is what a call costs without us; the local mesh is what all others are held against."""


def available() -> tuple[PathTaken, ...]:
    """Those whose programs are on this machine: HAProxy and nginx are Debian packages, and may be missing."""
    missing = {
        address for program, address in (("haproxy", HAPROXY), ("nginx", NGINX)) if shutil.which(program) is None
    }
    return tuple(path for path in PATHS if path.gateway not in missing)


@dataclass(frozen=True, slots=True)
class Hops:
    """The proxies, by what they are on a path."""

    caller: Child
    server: Child
    gateways: dict[str, Child]


def start(root: Path, fleet: Fleet) -> Hops:
    """Start the application, both sidecars, and every gateway that this machine has the program for."""
    certificates = Certificates.made(datetime.now(UTC))
    _envoy(fleet, root, "application", {"listeners": [_application()]})
    caller = _envoy(fleet, root, "caller", _caller(certificates), CALLER)
    server = _envoy(fleet, root, "server", _server(certificates), SERVER)
    gateways = {
        ENVOY: _envoy(fleet, root, "gateway", _passthrough()),
        TERMINATING: _envoy(fleet, root, "terminating", _terminating(certificates)),
    }
    if program := shutil.which("haproxy"):
        gateways[HAPROXY] = fleet.start("haproxy", (program, "-db", "-f", str(_written(root / "haproxy", _HAPROXY))))
    if program := shutil.which("nginx"):
        config = _written(root / "nginx", _NGINX.replace("ROOT", str(root)))
        gateways[NGINX] = fleet.start("nginx", (program, "-c", str(config)))
    return Hops(caller, server, gateways)


def _port(path: PathTaken) -> ImportedPort:
    address, number = (SERVER, INBOUND) if not path.gateway else (path.gateway, GATEWAY)
    there = UpstreamLocality(0, ClusterId("far"), "here", "", (Upstream(address, number),))
    return ImportedPort(_WEB, 80, AppProtocol.HTTP, (SERVER_IDENTITY,), (there,))


def _caller(certificates: Certificates) -> dict[str, Any]:
    listeners, clusters = [], []
    for path in available():
        if path.port:
            listener = MessageToDict(local_listener(Address(CALLER, path.port), _port(path), _TELEMETRY))
            listeners.append(_renamed(listener | {"name": path.name}, _port(path).name, path.name))
            clusters.append(_static_cluster(_port(path), path.name, http2=path.http2))
    raw = replace(_port(PATHS[4]), service=_RAW, protocol=AppProtocol.TCP)
    listeners.append(MessageToDict(local_listener(Address(CALLER, TCP_PORT), raw, _TELEMETRY)))
    clusters.append(_static_cluster(raw, raw.name, http2=True))
    return {"secrets": certificates.secrets("caller"), "listeners": listeners, "clusters": clusters}


def _server(certificates: Certificates) -> dict[str, Any]:
    ports = [
        InboundPort(_WEB, 80, AppProtocol.HTTP, SERVER, 8080),
        InboundPort(_RAW, 80, AppProtocol.TCP, SERVER, 8080),
    ]
    return {
        "secrets": certificates.secrets("server"),
        "listeners": [MessageToDict(inbound_listener(Address(SERVER, INBOUND), ports, _TELEMETRY))],
        "clusters": [MessageToDict(app_cluster(port, None)) for port in ports],
    }


def _passthrough() -> dict[str, Any]:
    """The gateway as the product has it, but for the discovery of what is behind an SNI."""
    listener = MessageToDict(gateway_listener(Address(ENVOY, GATEWAY), _TELEMETRY))
    for item in listener["filterChains"][0]["filters"]:
        item["typedConfig"].pop("onDemand", None)
    names = [sni(_WEB, 80), sni(_RAW, 80)]
    clusters = [
        {"name": name, "type": "STATIC", "connectTimeout": "1s", "loadAssignment": _at(name, SERVER, INBOUND)}
        for name in names
    ]
    return {"listeners": [listener], "clusters": clusters}


def _terminating(certificates: Certificates) -> dict[str, Any]:
    """A gateway that ends the caller's TLS, and begins its own with the server's sidecar."""
    port = InboundPort(_WEB, 80, AppProtocol.HTTP, SERVER, 8080)
    onward = replace(_port(PATHS[2]), service=_WEB)
    return {
        "secrets": certificates.secrets("server"),
        "listeners": [MessageToDict(inbound_listener(Address(TERMINATING, GATEWAY), [port], _TELEMETRY))],
        "clusters": [_static_cluster(onward, app_cluster(port, None).name, http2=True)],
    }


def _static_cluster(port: ImportedPort, name: str, *, http2: bool) -> dict[str, Any]:
    cluster: dict[str, Any] = MessageToDict(import_cluster(port))
    del cluster["edsClusterConfig"]
    if not http2:
        options = cluster["typedExtensionProtocolOptions"][_HTTP_OPTIONS]
        options["explicitHttpConfig"] = {"httpProtocolOptions": {}}
        tls = cluster["transportSocket"]["typedConfig"]["commonTlsContext"]
        tls["alpnProtocols"] = ["http/1.1"]
    assignment = MessageToDict(import_assignment(port)) | {"clusterName": name}
    return cluster | {"name": name, "type": "STATIC", "loadAssignment": assignment}


def _at(name: str, host: str, port: int) -> dict[str, Any]:
    endpoint = {"endpoint": {"address": {"socketAddress": {"address": host, "portValue": port}}}}
    return {"clusterName": name, "endpoints": [{"lbEndpoints": [endpoint]}]}


def _renamed(value: Any, old: str, new: str) -> Any:
    """The same, its routes leading to the cluster ``new``."""
    if isinstance(value, dict):
        return {
            key: new if key == "cluster" and item == old else _renamed(item, old, new) for key, item in value.items()
        }
    return [_renamed(item, old, new) for item in value] if isinstance(value, list) else value


def _without_discovery(value: Any) -> Any:
    """The same, its secrets found by name among the static ones."""
    if isinstance(value, dict):
        return {key: _without_discovery(item) for key, item in value.items() if key != "sdsConfig"}
    return [_without_discovery(item) for item in value] if isinstance(value, list) else value


def _envoy(fleet: Fleet, root: Path, name: str, resources: dict[str, Any], admin: str = "") -> Child:
    config: dict[str, Any] = {"staticResources": _without_discovery(resources)}
    # As bootstraps have it: statistics that nobody reads cost a tenth of the processor time.
    kept = [{"suffix": "ssl.session_reused"}, {"suffix": "ssl.handshake"}]
    config["statsConfig"] = {"statsMatcher": {"inclusionList": {"patterns": kept}}}
    if admin:
        config["admin"] = {"address": {"socketAddress": {"address": admin, "portValue": ADMIN}}}
    path = _written(root / f"{name}.json", json.dumps(config))
    options = ("--config-path", str(path), "--disable-hot-restart", "--concurrency", "1", "--log-level", "error")
    return fleet.start(name, (str(find_envoy()), *options))


def _written(path: Path, content: str) -> Path:
    path.write_text(content)
    return path


def _application() -> dict[str, Any]:
    manager = {
        "@type": f"{_FILTERS}.network.http_connection_manager.v3.HttpConnectionManager",
        "statPrefix": "application",
        "generateRequestId": False,
        "routeConfig": {
            "virtualHosts": [
                {
                    "name": "application",
                    "domains": ["*"],
                    "routes": [
                        _answer("/large", 1 << 20),
                        _answer("/", 64),
                    ],
                }
            ],
            "maxDirectResponseBodySizeBytes": 2 << 20,
        },
        "httpFilters": [
            {
                "name": "router",
                "typedConfig": {"@type": f"{_FILTERS}.http.router.v3.Router"},
            }
        ],
    }
    return {
        "name": "application",
        "address": {"socketAddress": {"address": SERVER, "portValue": 8080}},
        "filterChains": [{"filters": [{"name": "http", "typedConfig": manager}]}],
    }


def _answer(prefix: str, length: int) -> dict[str, Any]:
    return {"match": {"prefix": prefix}, "directResponse": {"status": 200, "body": {"inlineString": "x" * length}}}


def cpu_seconds(child: Child) -> float:
    """Processor time of a process and of those that it started, so far."""
    found = 0.0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        # Behind the name in brackets: state, parent, process group.
        if int(stat.read_text().rpartition(")")[2].split()[2]) == child.pid:
            found += sum(int((task / "schedstat").read_text().split()[0]) for task in (stat.parent / "task").iterdir())
    return found / 1e9


async def listening(path: PathTaken) -> bool:
    """Whether the way leads to the application."""
    host, _, port = path.address.rpartition(":")
    try:
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"GET / HTTP/1.1\r\nHost: web\r\nConnection: close\r\n\r\n")
        answer = await asyncio.wait_for(reader.read(), 5)
        writer.close()
    except (OSError, TimeoutError):
        return False
    return answer.startswith(b"HTTP/1.1 200")


_HAPROXY = f"""
global
  nbthread 1
  maxconn 4000
defaults
  mode tcp
  timeout connect 5s
  timeout client 1h
  timeout server 1h
frontend gateway
  bind {HAPROXY}:{GATEWAY}
  tcp-request inspect-delay 5s
  tcp-request content accept if {{ req_ssl_hello_type 1 }}
  use_backend web if {{ req_ssl_sni -m end .svc.clusterset.local }}
backend web
  server sidecar {SERVER}:{INBOUND}
"""

_NGINX = f"""
load_module modules/ngx_stream_module.so;
worker_processes 1;
daemon off;
pid ROOT/nginx.pid;
error_log ROOT/nginx.log;
events {{ worker_connections 8000; }}
stream {{
  map $ssl_preread_server_name $behind {{ hostnames; *.svc.clusterset.local {SERVER}:{INBOUND}; }}
  server {{ listen {NGINX}:{GATEWAY}; ssl_preread on; proxy_pass $behind; }}
}}
"""
