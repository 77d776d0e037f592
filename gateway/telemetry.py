"""What the proxies measure and log of the calls they carry: the metrics' names and labels, and what is asked for.

One table for the translation to Envoy, which emits these metrics, and for docs/metrics.md, which explains them. Pure
values; no Envoy message is known here.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from federation.model.configuration import AccessLog
from federation.model.names import ClusterId

STATS_PREFIX = "federation"

NONE = "none"
"""Value of a label whose question has no answer: no service of the clusterset was asked for, or no endpoint picked."""


class Reporter(StrEnum):
    """Who counts and logs."""

    CALLER = "caller"
    """The caller's sidecar: it knows both clusters, and the way between them."""
    SERVER = "server"
    """The server's sidecar: it knows who calls by the verified certificate."""
    GATEWAY = "gateway"
    """A gateway that passes TLS through: it knows the name that is asked for, and neither of the two."""


@dataclass(frozen=True, slots=True)
class Telemetry:
    """What the proxies of one cluster measure and log."""

    cluster: ClusterId
    access_log: AccessLog = "none"
    sidecar_metrics: bool = True


@dataclass(frozen=True, slots=True)
class Family:
    """One metric of the proxies."""

    name: str
    """Behind ``federation_``, as in docs/metrics.md."""
    kind: str
    """``counter`` or ``histogram``."""
    labels: tuple[str, ...]
    text: str


_SERVICE = ("destination_cluster", "destination_namespace", "destination_service", "destination_port")
_CALL = ("source_cluster", *_SERVICE, "path")
_INBOUND = ("source_trust_domain", *_SERVICE)

REQUEST_DURATION = Family(
    "request_duration_milliseconds",
    "histogram",
    (*_CALL, "response_code"),
    "HTTP requests of callers here, and how long until the last byte of the answer; `_count` is the number of requests",
)
REQUEST_BYTES = Family("request_bytes_total", "counter", _CALL, "Bytes of the bodies of these requests")
RESPONSE_BYTES = Family("response_bytes_total", "counter", _CALL, "Bytes of the bodies of the answers")
CONNECTIONS = Family(
    "connections_total", "counter", (*_CALL, "response_flags"), "TCP connections of callers here that have ended"
)
CONNECTION_SENT = Family("connection_sent_bytes_total", "counter", _CALL, "Bytes that their callers sent")
CONNECTION_RECEIVED = Family("connection_received_bytes_total", "counter", _CALL, "Bytes that their callers received")
INBOUND_DURATION = Family(
    "inbound_request_duration_milliseconds",
    "histogram",
    (*_INBOUND, "response_code"),
    "HTTP requests to workloads here, and how long they took there",
)
INBOUND_CONNECTIONS = Family(
    "inbound_connections_total",
    "counter",
    (*_INBOUND, "response_flags"),
    "TCP connections to workloads here that have ended",
)
GATEWAY_CONNECTIONS = Family(
    "gateway_connections_total",
    "counter",
    (*_SERVICE, "response_flags"),
    "Connections through this gateway that have ended",
)
GATEWAY_RECEIVED = Family(
    "gateway_received_bytes_total", "counter", _SERVICE, "Bytes that came to this gateway from the callers' side"
)
GATEWAY_SENT = Family("gateway_sent_bytes_total", "counter", _SERVICE, "Bytes that this gateway sent to the callers")

FAMILIES = (
    REQUEST_DURATION,
    REQUEST_BYTES,
    RESPONSE_BYTES,
    CONNECTIONS,
    CONNECTION_SENT,
    CONNECTION_RECEIVED,
    INBOUND_DURATION,
    INBOUND_CONNECTIONS,
    GATEWAY_CONNECTIONS,
    GATEWAY_RECEIVED,
    GATEWAY_SENT,
)
"""All of them, in the order of docs/metrics.md."""

BUCKETS_MILLISECONDS = (1, 2, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10000)

MOST_COUNTERS, MOST_HISTOGRAMS = 20_000, 10_000
"""Series of one listener. What is beyond is not counted, which ``server.stats_overflow`` tells."""
