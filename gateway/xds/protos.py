"""The one importer of Envoy's generated messages, and the type URLs of what travels over xDS.

The `xds-protos` wheel has no type stubs, so every message is `Any` to the type checker. That ends here: the
rest of the package sees the names of this module, and `Message` where one of them passes through a signature.
Nothing but names and two converters belongs here; `translate` and `references` know what a message means.
"""

from __future__ import annotations

from typing import Any

from envoy.config.accesslog.v3.accesslog_pb2 import (
    AccessLog,
    AccessLogFilter,
    ComparisonFilter,
    OrFilter,
    ResponseFlagFilter,
    StatusCodeFilter,
)
from envoy.config.cluster.v3.circuit_breaker_pb2 import CircuitBreakers
from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.cluster.v3.outlier_detection_pb2 import OutlierDetection
from envoy.config.common.matcher.v3.matcher_pb2 import HttpHeadersMatch, MatchPredicate
from envoy.config.common.mutation_rules.v3.mutation_rules_pb2 import HeaderMutation as HeaderMutationRule
from envoy.config.core.v3.address_pb2 import Address, SocketAddress
from envoy.config.core.v3.backoff_pb2 import BackoffStrategy
from envoy.config.core.v3.base_pb2 import (
    DataSource,
    HeaderValue,
    HeaderValueOption,
    Locality,
    Metadata,
    Node,
    RoutingPriority,
    RuntimeUInt32,
    TrafficDirection,
    TransportSocket,
)
from envoy.config.core.v3.config_source_pb2 import (
    AggregatedConfigSource,
    ApiConfigSource,
    ApiVersion,
    ConfigSource,
)
from envoy.config.core.v3.extension_pb2 import TypedExtensionConfig
from envoy.config.core.v3.grpc_service_pb2 import GrpcService
from envoy.config.core.v3.health_check_pb2 import HealthCheck, HealthStatus
from envoy.config.core.v3.protocol_pb2 import (
    Http2ProtocolOptions,
)
from envoy.config.core.v3.socket_option_pb2 import SocketOption
from envoy.config.core.v3.substitution_format_string_pb2 import SubstitutionFormatString
from envoy.config.endpoint.v3.endpoint_components_pb2 import Endpoint, LbEndpoint, LocalityLbEndpoints
from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from envoy.config.listener.v3.listener_components_pb2 import (
    Filter,
    FilterChain,
    FilterChainMatch,
    ListenerFilter,
)
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.config.rbac.v3.rbac_pb2 import Action as RbacAction
from envoy.config.route.v3.route_components_pb2 import (
    HeaderMatcher,
    RetryPolicy,
    Route,
    RouteAction,
    RouteMatch,
    VirtualHost,
    WeightedCluster,
)
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from envoy.extensions.access_loggers.stream.v3.stream_pb2 import StdoutAccessLog
from envoy.extensions.filters.http.header_mutation.v3.header_mutation_pb2 import (
    HeaderMutation,
    HeaderMutationPerRoute,
    Mutations,
)
from envoy.extensions.filters.http.on_demand.v3.on_demand_pb2 import OnDemand, OnDemandCds
from envoy.extensions.filters.http.router.v3.router_pb2 import Router
from envoy.extensions.filters.listener.original_dst.v3.original_dst_pb2 import OriginalDst
from envoy.extensions.filters.listener.tls_inspector.v3.tls_inspector_pb2 import TlsInspector
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
    HttpFilter,
    LocalReplyConfig,
    Rds,
    ResponseMapper,
)
from envoy.extensions.filters.network.rbac.v3.rbac_pb2 import RBAC
from envoy.extensions.filters.network.sni_cluster.v3.sni_cluster_pb2 import SniCluster
from envoy.extensions.filters.network.tcp_proxy.v3.tcp_proxy_pb2 import TcpProxy
from envoy.extensions.matching.common_inputs.ssl.v3.ssl_inputs_pb2 import UriSanInput
from envoy.extensions.retry.host.previous_hosts.v3.previous_hosts_pb2 import PreviousHostsPredicate
from envoy.extensions.retry.priority.previous_priorities.v3.previous_priorities_config_pb2 import (
    PreviousPrioritiesConfig,
)
from envoy.extensions.transport_sockets.tls.v3.common_pb2 import (
    CertificateValidationContext,
    SubjectAltNameMatcher,
    TlsCertificate,
    TlsParameters,
    TlsSessionTicketKeys,
)
from envoy.extensions.transport_sockets.tls.v3.secret_pb2 import SdsSecretConfig, Secret
from envoy.extensions.transport_sockets.tls.v3.tls_pb2 import (
    CommonTlsContext,
    DownstreamTlsContext,
    UpstreamTlsContext,
)
from envoy.extensions.transport_sockets.tls.v3.tls_spiffe_validator_config_pb2 import (
    SPIFFECertValidatorConfig,
)
from envoy.extensions.upstreams.http.v3.http_protocol_options_pb2 import HttpProtocolOptions
from envoy.service.discovery.v3.discovery_pb2 import (
    DeltaDiscoveryRequest,
    DeltaDiscoveryResponse,
    Resource,
)
from envoy.type.matcher.v3.regex_pb2 import RegexMatcher
from envoy.type.matcher.v3.string_pb2 import StringMatcher
from envoy.type.v3.hash_policy_pb2 import HashPolicy as TcpHashPolicy
from envoy.type.v3.http_pb2 import CodecClientType
from envoy.type.v3.range_pb2 import Int64Range
from google.protobuf import json_format
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import DecodeError
from google.rpc.status_pb2 import Status
from xds.core.v3.extension_pb2 import TypedExtensionConfig as XdsExtension
from xds.type.matcher.v3.matcher_pb2 import Matcher
from xds.type.matcher.v3.regex_pb2 import RegexMatcher as XdsRegexMatcher
from xds.type.matcher.v3.string_pb2 import StringMatcher as XdsStringMatcher
from xds.type.v3.typed_struct_pb2 import TypedStruct

Message = Any
"""A generated message; untyped, because the wheel that brings them is."""

_PREFIX = "type.googleapis.com/"

CLUSTER = f"{_PREFIX}envoy.config.cluster.v3.Cluster"
ENDPOINT = f"{_PREFIX}envoy.config.endpoint.v3.ClusterLoadAssignment"
LISTENER = f"{_PREFIX}envoy.config.listener.v3.Listener"
ROUTE = f"{_PREFIX}envoy.config.route.v3.RouteConfiguration"
SECRET = f"{_PREFIX}envoy.extensions.transport_sockets.tls.v3.Secret"

MESSAGES: dict[str, Message] = {
    CLUSTER: Cluster,
    ENDPOINT: ClusterLoadAssignment,
    LISTENER: Listener,
    ROUTE: RouteConfiguration,
    SECRET: Secret,
}
"""The message class of every type that we serve."""


def pack(message: Message) -> Message:
    """The message inside an Any, in deterministic bytes: equal configuration gives equal content versions."""
    packed = AnyMessage()
    packed.Pack(message, deterministic=True)
    return packed


def unpack(packed: Message, message_class: Message) -> Message | None:
    """The message of that class inside an Any; None where the Any holds another type."""
    message = message_class()
    return message if packed.Unpack(message) else None


__all__ = [
    "CLUSTER",
    "ENDPOINT",
    "LISTENER",
    "MESSAGES",
    "RBAC",
    "ROUTE",
    "SECRET",
    "AccessLog",
    "AccessLogFilter",
    "Address",
    "AggregatedConfigSource",
    "AnyMessage",
    "ApiConfigSource",
    "ApiVersion",
    "BackoffStrategy",
    "CertificateValidationContext",
    "CircuitBreakers",
    "Cluster",
    "ClusterLoadAssignment",
    "CodecClientType",
    "CommonTlsContext",
    "ComparisonFilter",
    "ConfigSource",
    "DataSource",
    "DecodeError",
    "DeltaDiscoveryRequest",
    "DeltaDiscoveryResponse",
    "DownstreamTlsContext",
    "Duration",
    "Endpoint",
    "Filter",
    "FilterChain",
    "FilterChainMatch",
    "GrpcService",
    "HeaderMatcher",
    "HeaderMutation",
    "HeaderMutationPerRoute",
    "HeaderMutationRule",
    "HeaderValue",
    "HeaderValueOption",
    "HealthCheck",
    "HealthStatus",
    "Http2ProtocolOptions",
    "HttpConnectionManager",
    "HttpFilter",
    "HttpHeadersMatch",
    "HttpProtocolOptions",
    "Int64Range",
    "LbEndpoint",
    "Listener",
    "ListenerFilter",
    "LocalReplyConfig",
    "Locality",
    "LocalityLbEndpoints",
    "MatchPredicate",
    "Matcher",
    "Message",
    "Metadata",
    "Mutations",
    "Node",
    "OnDemand",
    "OnDemandCds",
    "OrFilter",
    "OriginalDst",
    "OutlierDetection",
    "PreviousHostsPredicate",
    "PreviousPrioritiesConfig",
    "RbacAction",
    "Rds",
    "RegexMatcher",
    "Resource",
    "ResponseFlagFilter",
    "ResponseMapper",
    "RetryPolicy",
    "Route",
    "RouteAction",
    "RouteConfiguration",
    "RouteMatch",
    "Router",
    "RoutingPriority",
    "RuntimeUInt32",
    "SPIFFECertValidatorConfig",
    "SdsSecretConfig",
    "Secret",
    "SniCluster",
    "SocketAddress",
    "SocketOption",
    "Status",
    "StatusCodeFilter",
    "StdoutAccessLog",
    "StringMatcher",
    "SubjectAltNameMatcher",
    "SubstitutionFormatString",
    "TcpHashPolicy",
    "TcpProxy",
    "TlsCertificate",
    "TlsInspector",
    "TlsParameters",
    "TlsSessionTicketKeys",
    "TrafficDirection",
    "TransportSocket",
    "TypedExtensionConfig",
    "TypedStruct",
    "UpstreamTlsContext",
    "UriSanInput",
    "VirtualHost",
    "WeightedCluster",
    "XdsExtension",
    "XdsRegexMatcher",
    "XdsStringMatcher",
    "json_format",
    "pack",
    "unpack",
]
