"""TLS contexts: what is verified, on either side."""

from __future__ import annotations

import re

import pytest

from gateway.xds import protos as pb
from gateway.xds.translate.tls import (
    BUNDLES_SECRET,
    OWN_SECRET,
    TICKETS_SECRET,
    caller_filter,
    downstream_tls,
    upstream_tls,
)

IDENTITIES = ("spiffe://west.test/ns/demo/sa/a", "spiffe://west.test/ns/demo/sa/b")


def upstream(*, http: bool = True) -> pb.Message:
    return pb.unpack(upstream_tls("the.sni", IDENTITIES, http=http).typed_config, pb.UpstreamTlsContext)


def downstream(*, http: bool = True) -> pb.Message:
    return pb.unpack(downstream_tls(http=http).typed_config, pb.DownstreamTlsContext)


def test_a_caller_without_identities_to_expect_is_a_bug() -> None:
    """Without an identity any certificate of any trusted domain would do: that is refused, not sent."""
    with pytest.raises(ValueError, match=r"the\.sni has no identity to expect"):
        upstream_tls("the.sni", (), http=True)


def test_a_caller_expects_exactly_the_identities_of_the_service() -> None:
    """Each identity is matched whole, as a URI, in addition to the bundle of its trust domain."""
    validation = upstream().common_tls_context.combined_validation_context.default_validation_context
    assert [(each.san_type, each.matcher.exact) for each in validation.match_typed_subject_alt_names] == [
        (pb.SubjectAltNameMatcher.URI, identity) for identity in IDENTITIES
    ]


def test_a_caller_names_the_service_port_it_wants() -> None:
    """Gateway and server choose by SNI."""
    assert upstream().sni == "the.sni"


def test_a_server_requires_a_certificate_of_a_trusted_domain() -> None:
    """Whoever comes without a certificate is refused; which identity it has is for policies to judge."""
    context = downstream()
    assert context.require_client_certificate.value is True
    validation = context.common_tls_context.combined_validation_context
    assert list(validation.default_validation_context.match_typed_subject_alt_names) == []
    assert validation.validation_context_sds_secret_config.name == BUNDLES_SECRET


@pytest.mark.parametrize("context", [upstream(), downstream()], ids=["upstream", "downstream"])
def test_both_sides_speak_tls_1_3_with_secrets_of_this_stream(context: pb.Message) -> None:
    """Never an older version, and keys and bundles by SDS on ADS, under the names that every node has."""
    common = context.common_tls_context
    parameters = common.tls_params
    assert {parameters.tls_minimum_protocol_version, parameters.tls_maximum_protocol_version} == {
        pb.TlsParameters.TLSv1_3
    }
    (own,) = common.tls_certificate_sds_secret_configs
    bundles = common.combined_validation_context.validation_context_sds_secret_config
    assert [each.name for each in (own, bundles)] == [OWN_SECRET, BUNDLES_SECRET]
    assert [each.sds_config.HasField("ads") for each in (own, bundles)] == [True, True]


@pytest.mark.parametrize(
    ("http", "asked", "taken"), [(True, ["istio", "h2"], ["h2", "http/1.1"]), (False, ["istio"], [])]
)
def test_http_is_negotiated_and_tcp_is_not(http: bool, asked: list[str], taken: list[str]) -> None:
    """Sidecars ask for HTTP/2, and say that they are of a mesh; opaque bytes are announced as nothing."""
    assert list(upstream(http=http).common_tls_context.alpn_protocols) == asked
    assert list(downstream(http=http).common_tls_context.alpn_protocols) == taken


ONE = "spiffe://west.test/ns/demo/sa/a"


@pytest.mark.parametrize(
    ("uris", "allowed"),
    [
        ([ONE], True),
        (["spiffe://west_2.test/.a/..b/.../x-Y_0"], True),
        ([f"{ONE}.v1"], True),
        ([], False),
        ([ONE, ONE], False),
        ([ONE, "spiffe://east.test/a"], False),
        ([ONE, "https://west.test/"], False),
        ([f"{ONE},spiffe://east.test/a"], False),
        (["spiffe://west.test"], False),
        (["spiffe://west.test/"], False),
        ([f"{ONE}/"], False),
        (["spiffe://west.test//a"], False),
        (["spiffe://west.test/a/./b"], False),
        (["spiffe://west.test/a/.."], False),
        (["spiffe://west.test:443/a"], False),
        (["spiffe://user@west.test/a"], False),
        (["spiffe://west.test/a%20b"], False),
        (["spiffe://west.test/a?b"], False),
        (["spiffe://west.test/a#b"], False),
        (["https://west.test/a"], False),
    ],
)
def test_a_caller_with_one_well_formed_identity_is_allowed(uris: list[str], allowed: bool) -> None:
    """Envoy joins the URIs of a certificate by commas and demands that the expression matches all of that."""
    rbac = pb.unpack(caller_filter().typed_config, pb.RBAC)
    (matcher,) = rbac.matcher.matcher_list.matchers
    expression = matcher.predicate.single_predicate.value_match.safe_regex.regex
    assert (re.fullmatch(expression, ",".join(uris)) is not None) == allowed
    assert not rbac.matcher.HasField("on_no_match")


def test_tickets_are_made_with_the_nodes_own_key() -> None:
    """Which comes over SDS beside the certificate; nothing is kept in the server, and few tickets by a caller."""
    server = downstream()
    assert server.session_ticket_keys_sds_secret_config.name == TICKETS_SECRET
    assert (server.disable_stateless_session_resumption, server.disable_stateful_session_resumption) == (False, True)
    assert upstream().max_session_keys.value == 32
