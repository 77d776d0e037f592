"""TLS contexts: mutual TLS 1.3 with SPIFFE identities, keys and bundles by SDS on the xDS stream.

A peer is verified twice: Envoy's SPIFFE validator takes the bundle of the trust domain that the peer's own URI SAN
names (``envoy.tls.cert_validator.spiffe``); the caller's side adds the identities that the service may have, the
server's a filter for what the validator is lax about (docs/decisions/009). A resumed session skips the verification, so
none outlives the certificates and bundles that it was verified by: Envoy makes TLS contexts anew whenever one of them
changes, which the tickets of the old ones are no good for (docs/decisions/024).
"""

from __future__ import annotations

from collections.abc import Sequence

from gateway.xds import protos as pb

OWN_SECRET = "default"  # noqa: S105
"""SDS name of the node's own SVID, whichever that is (SPIRE's name for it): shared resources can name it."""

BUNDLES_SECRET = "ALL"  # noqa: S105
"""SDS name of the validation context with the own and all accepted bundles (SPIRE's name for it)."""

TICKETS_SECRET = "tickets"  # noqa: S105
"""SDS name of the key of the tickets that a node gives to its callers."""

_MAX_SESSIONS = 32
"""That a caller keeps of a service, each good for one connection; every connection brings two new ones."""

_HTTP_ALPN = ("h2",)

# What tells a sidecar of Istio that a caller speaks the mesh's mutual TLS: where it takes plaintext too (PERMISSIVE,
# the default), it takes TLS without this for the application's own. No server ever selects it.
_MESH_ALPN = "istio"

# One SPIFFE ID with a path, by the grammar of SPIFFE-ID §2. The input joins several URIs by commas, which it excludes.
_SEGMENT = r"(?:\.*[a-zA-Z0-9_-][a-zA-Z0-9._-]*|\.{3,})"
_ONE_SPIFFE_ID = rf"spiffe://[a-z0-9._-]+(?:/{_SEGMENT})+"


def ads() -> pb.Message:
    """The config source "this very stream"."""
    return pb.ConfigSource(ads=pb.AggregatedConfigSource(), resource_api_version=pb.ApiVersion.V3)


def _sds(name: str) -> pb.Message:
    return pb.SdsSecretConfig(name=name, sds_config=ads())


def _common(alpn: Sequence[str], identities: Sequence[str]) -> pb.Message:
    return pb.CommonTlsContext(
        tls_params=pb.TlsParameters(
            # The client side of Envoy offers at most TLS 1.2 unless told otherwise.
            tls_minimum_protocol_version=pb.TlsParameters.TLSv1_3,
            tls_maximum_protocol_version=pb.TlsParameters.TLSv1_3,
        ),
        alpn_protocols=alpn,
        tls_certificate_sds_secret_configs=[_sds(OWN_SECRET)],
        combined_validation_context=pb.CommonTlsContext.CombinedCertificateValidationContext(
            default_validation_context=pb.CertificateValidationContext(
                match_typed_subject_alt_names=[
                    pb.SubjectAltNameMatcher(
                        san_type=pb.SubjectAltNameMatcher.URI, matcher=pb.StringMatcher(exact=identity)
                    )
                    for identity in identities
                ]
            ),
            validation_context_sds_secret_config=_sds(BUNDLES_SECRET),
        ),
    )


def upstream_tls(sni: str, identities: Sequence[str], *, http: bool) -> pb.Message:
    """The caller's side of one service port. Without identities nothing would be verified, so that is refused.

    Raises ValueError where ``identities`` is empty.
    """
    if not identities:
        raise ValueError(f"{sni} has no identity to expect")
    alpn = (_MESH_ALPN, *(_HTTP_ALPN if http else ()))
    # A host that has a name of its own, a shard, is asked for by that.
    context = pb.UpstreamTlsContext(common_tls_context=_common(alpn, identities), sni=sni, auto_host_sni=True)
    context.max_session_keys.value = _MAX_SESSIONS
    return _socket(context)


def downstream_tls(*, http: bool) -> pb.Message:
    """The server's side: a client certificate of an accepted trust domain is required, or a ticket given for one."""
    context = pb.DownstreamTlsContext(
        common_tls_context=_common((*_HTTP_ALPN, "http/1.1") if http else (), ()),
        session_ticket_keys_sds_secret_config=_sds(TICKETS_SECRET),
        disable_stateful_session_resumption=True,
    )
    context.require_client_certificate.value = True
    return _socket(context)


def caller_filter() -> pb.Message:
    """The network filter that closes connections of callers whose certificate holds anything but one workload's SPIFFE
    ID (X509-SVID §5.2): the validator reads the first of several URIs, and an application could be told another.

    It judges at the caller's first byte, so what a server says of itself before that is sent.
    """
    one_id = pb.Matcher.MatcherList.Predicate(
        single_predicate=pb.Matcher.MatcherList.Predicate.SinglePredicate(
            input=_extension("uri_san", pb.UriSanInput()),
            value_match=pb.XdsStringMatcher(
                safe_regex=pb.XdsRegexMatcher(google_re2=pb.XdsRegexMatcher.GoogleRE2(), regex=_ONE_SPIFFE_ID)
            ),
        )
    )
    allow = pb.Matcher.OnMatch(action=_extension("allow", pb.RbacAction(name="one SPIFFE ID")))
    matchers = [pb.Matcher.MatcherList.FieldMatcher(predicate=one_id, on_match=allow)]
    rbac = pb.RBAC(stat_prefix="inbound", matcher=pb.Matcher(matcher_list=pb.Matcher.MatcherList(matchers=matchers)))
    return pb.Filter(name="envoy.filters.network.rbac", typed_config=pb.pack(rbac))


def _extension(name: str, config: pb.Message) -> pb.Message:
    return pb.XdsExtension(name=name, typed_config=pb.pack(config))


def _socket(context: pb.Message) -> pb.Message:
    return pb.TransportSocket(name="envoy.transport_sockets.tls", typed_config=pb.pack(context))
