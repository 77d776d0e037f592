"""Access loggers: metrics of calls by cluster, service and path, and JSON lines with both identities.

Metrics are counted by Envoy's stats logger, which makes a series when something is first called, so that 10,000
services that nobody calls cost none. Where a call goes is told by metadata, never by an address: of the upstream's
cluster the service, of the endpoint its cluster and the path. Pure.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from gateway.ir.model import ExportedPort, ImportedPort, InboundPort, UpstreamLocality
from gateway.telemetry import (
    CONNECTION_RECEIVED,
    CONNECTION_SENT,
    CONNECTIONS,
    GATEWAY_CONNECTIONS,
    GATEWAY_RECEIVED,
    GATEWAY_SENT,
    INBOUND_CONNECTIONS,
    INBOUND_DURATION,
    MOST_COUNTERS,
    MOST_HISTOGRAMS,
    NONE,
    REQUEST_BYTES,
    REQUEST_DURATION,
    RESPONSE_BYTES,
    STATS_PREFIX,
    Family,
    Reporter,
    Telemetry,
)
from gateway.xds import protos as pb

METADATA_NAMESPACE = "federation"

_RECEIVED, _SENT = "%BYTES_RECEIVED%", "%BYTES_SENT%"

# The validator has taken the certificate for one of the trust domain that its first URI names.
_TRUST_DOMAIN = '%CEL(re.extract(connection.uri_san_peer_certificate, "^spiffe://([^/]+)/.*$", "\\\\1"))%'

# Each logger has its own, and series of one name are the same in all. A shared one (``sharing_name``) makes Envoy 1.40
# crash as it ends.
_SCOPE = {
    "prefix": STATS_PREFIX,
    "max_counters": MOST_COUNTERS,
    "max_histograms": MOST_HISTOGRAMS,
}

_STATS_LOGGER = "type.googleapis.com/envoy.extensions.access_loggers.stats.v3.Config"


def caller_log(telemetry: Telemetry, *, http: bool, port: ImportedPort | None = None) -> list[pb.Message]:
    """The loggers of a sidecar's outbound side; ``port``: the one that the listener leads to, None for any."""
    labels = {
        "source_cluster": telemetry.cluster,
        "destination_cluster": _or_none("UPSTREAM_METADATA", f"{METADATA_NAMESPACE}:cluster"),
        **(_service_of_upstream() if port is None else _service(port)),
        "path": _or_none("UPSTREAM_METADATA", f"{METADATA_NAMESPACE}:path"),
    }
    facts = labels | {"source_identity": "%UPSTREAM_LOCAL_URI_SAN%", "destination_identity": "%UPSTREAM_PEER_URI_SAN%"}
    loggers = _json_log(telemetry, Reporter.CALLER, facts, http=http)
    if not telemetry.sidecar_metrics:
        return loggers
    if http:
        return [
            _stats_log(
                labels,
                histograms={REQUEST_DURATION: "%DURATION%"},
                counters={REQUEST_BYTES: _RECEIVED, RESPONSE_BYTES: _SENT},
            ),
            *loggers,
        ]
    counters = {CONNECTIONS: "", CONNECTION_SENT: _RECEIVED, CONNECTION_RECEIVED: _SENT}
    return [_stats_log(labels, counters=counters), *loggers]


def server_log(telemetry: Telemetry, port: InboundPort) -> list[pb.Message]:
    """The loggers of one port of a sidecar's inbound side."""
    labels = {
        "source_trust_domain": _TRUST_DOMAIN,
        "destination_cluster": telemetry.cluster,
        **_service(port),
    }
    facts = {
        "destination_cluster": telemetry.cluster,
        **_service(port),
        "source_identity": "%DOWNSTREAM_PEER_URI_SAN%",
        "destination_identity": "%DOWNSTREAM_LOCAL_URI_SAN%",
    }
    http = port.protocol.is_http
    loggers = _json_log(telemetry, Reporter.SERVER, facts, http=http)
    if not telemetry.sidecar_metrics:
        return loggers
    if http:
        return [_stats_log(labels, histograms={INBOUND_DURATION: "%DURATION%"}), *loggers]
    return [_stats_log(labels, counters={INBOUND_CONNECTIONS: ""}), *loggers]


def gateway_log(telemetry: Telemetry) -> list[pb.Message]:
    """The loggers of a gateway that passes TLS through."""
    labels = {"destination_cluster": telemetry.cluster, **_service_of_upstream()}
    facts = labels | {"source_address": "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%"}
    counters = {GATEWAY_CONNECTIONS: "", GATEWAY_RECEIVED: _RECEIVED, GATEWAY_SENT: _SENT}
    return [
        _stats_log(labels, counters=counters),
        *_json_log(telemetry, Reporter.GATEWAY, facts, http=False),
    ]


def service_metadata(port: ImportedPort | ExportedPort) -> pb.Message:
    """What an upstream's cluster says of the service behind it."""
    said = {"namespace": port.service.namespace, "name": port.service.name, "port": str(port.port)}
    return _metadata(said)


def call_metadata(locality: UpstreamLocality) -> pb.Message:
    """What an endpoint says of calls to it. Envoy keeps one for all that say the same."""
    return _metadata({"cluster": locality.cluster, "path": locality.path.value})


def listener_metadata() -> pb.Message:
    """What a listener's loggers fall back on: no formatter of Envoy's has a word of one's own for what there is not."""
    return _metadata({NONE: NONE})


def _metadata(said: Mapping[str, str]) -> pb.Message:
    metadata = pb.Metadata()
    metadata.filter_metadata[METADATA_NAMESPACE].update(said)
    return metadata


def _service(port: ImportedPort | InboundPort) -> dict[str, str]:
    return {
        "destination_namespace": port.service.namespace,
        "destination_service": port.service.name,
        "destination_port": str(port.port),
    }


def _service_of_upstream() -> dict[str, str]:
    return {
        f"destination_{label}": _or_none("METADATA", f"CLUSTER:{METADATA_NAMESPACE}:{key}")
        for label, key in (("namespace", "namespace"), ("service", "name"), ("port", "port"))
    }


def _or_none(command: str, parameter: str) -> str:
    operators = [
        {"command": command, "param": parameter},
        {"command": "METADATA", "param": f"LISTENER:{METADATA_NAMESPACE}:{NONE}"},
    ]
    return f"%COALESCE({json.dumps({'operators': operators})})%"


def _stats_log(
    labels: Mapping[str, str],
    *,
    histograms: Mapping[Family, str] | None = None,
    counters: Mapping[Family, str] | None = None,
) -> pb.Message:
    """The logger that counts; each metric with the format of its value, an empty one for 1."""
    known = {**labels, "response_code": "%RESPONSE_CODE%", "response_flags": "%RESPONSE_FLAGS%"}
    config = {
        "stats_scope": _SCOPE,
        "histograms": [
            {"stat": _stat(family, known), "unit": "Milliseconds", "value_format": value}
            for family, value in (histograms or {}).items()
        ],
        "counters": [
            {"stat": _stat(family, known), **({"value_format": value} if value else {"value_fixed": 1})}
            for family, value in (counters or {}).items()
        ],
    }
    # As a structure: the wheel with the messages is older than ``stats_scope``, and of what it has in its place Envoy
    # 1.40 complains at every listener.
    typed = pb.TypedStruct(type_url=_STATS_LOGGER)
    typed.value.update(config)
    return pb.AccessLog(name="envoy.access_loggers.stats", typed_config=pb.pack(typed))


def _stat(family: Family, values: Mapping[str, str]) -> dict[str, object]:
    tags = [{"name": label, "value_format": values[label]} for label in family.labels]
    return {"name": family.name, "tags": tags}


def _json_log(telemetry: Telemetry, reporter: Reporter, facts: Mapping[str, str], *, http: bool) -> list[pb.Message]:
    """One JSON line for each call or connection that has ended, on Envoy's standard output."""
    if telemetry.access_log == "none":
        return []
    line = {
        "time": "%START_TIME%",
        "reporter": reporter.value,
        **facts,
        "duration_milliseconds": "%DURATION%",
        "received_bytes": _RECEIVED,
        "sent_bytes": _SENT,
        "response_flags": "%RESPONSE_FLAGS%",
        **({"response_code": "%RESPONSE_CODE%"} if http else {}),
        **({} if reporter is Reporter.CALLER else {"sni": "%REQUESTED_SERVER_NAME%"}),
    }
    form = pb.SubstitutionFormatString()
    form.json_format.update(line)
    log = pb.AccessLog(name="envoy.access_loggers.stdout", typed_config=pb.pack(pb.StdoutAccessLog(log_format=form)))
    if telemetry.access_log == "errors":
        log.filter.CopyFrom(_errors(http=http))
    return [log]


def _errors(*, http: bool) -> pb.Message:
    """What Envoy flags, and answers of 500 and above."""
    flagged = pb.AccessLogFilter(response_flag_filter=pb.ResponseFlagFilter())
    if not http:
        return flagged
    comparison = pb.ComparisonFilter(
        op=pb.ComparisonFilter.GE, value=pb.RuntimeUInt32(default_value=500, runtime_key="federation.access_log.errors")
    )
    failed = pb.AccessLogFilter(status_code_filter=pb.StatusCodeFilter(comparison=comparison))
    return pb.AccessLogFilter(or_filter=pb.OrFilter(filters=[flagged, failed]))
