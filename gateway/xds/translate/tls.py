"""TLS contexts: mutual TLS 1.3 with SPIFFE identities, keys and bundles by SDS on the xDS stream.

A peer is verified twice: Envoy's SPIFFE validator takes the bundle of the trust domain that the peer's own URI SAN
names (``envoy.tls.cert_validator.spiffe``), and the caller's side adds the identities that the service may have.
"""

from __future__ import annotations

from collections.abc import Sequence

from gateway.xds import protos as pb

OWN_SECRET = "default"  # noqa: S105
"""SDS name of the node's own SVID, whichever that is (SPIRE's name for it): shared resources can name it."""

BUNDLES_SECRET = "ALL"  # noqa: S105
"""SDS name of the validation context with the own and all accepted bundles (SPIRE's name for it)."""

# Tickets are single use in TLS 1.3; Envoy keeps one by default and so resumes less than half (measured: 44 %).
_SESSION_KEYS = 64

_HTTP_ALPN = ("h2",)


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
    context = pb.UpstreamTlsContext(common_tls_context=_common(_HTTP_ALPN if http else (), identities), sni=sni)
    context.max_session_keys.value = _SESSION_KEYS
    return _socket(context)


def downstream_tls(*, http: bool) -> pb.Message:
    """The server's side: a client certificate of an accepted trust domain is required."""
    context = pb.DownstreamTlsContext(common_tls_context=_common((*_HTTP_ALPN, "http/1.1") if http else (), ()))
    context.require_client_certificate.value = True
    return _socket(context)


def _socket(context: pb.Message) -> pb.Message:
    return pb.TransportSocket(name="envoy.transport_sockets.tls", typed_config=pb.pack(context))
