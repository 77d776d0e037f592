"""The grammar of SPIFFE IDs, accepted and refused forms from the SPIFFE-ID standard."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trustbundle.identity import (
    SpiffeId,
    TrustDomain,
    controller_id,
    gateway_id,
    parse_spiffe_id,
    parse_trust_domain,
    workload_id,
)

EAST = TrustDomain("east.example")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("spiffe://east.example", SpiffeId(EAST)),
        ("spiffe://east.example/ns/demo/sa/echo", SpiffeId(EAST, "/ns/demo/sa/echo")),
        ("SPIFFE://East.Example/Path", SpiffeId(EAST, "/Path")),
        ("spiffe://10.0.0.1/x", SpiffeId(TrustDomain("10.0.0.1"), "/x")),
        ("spiffe://a_b-c/..x/._-", SpiffeId(TrustDomain("a_b-c"), "/..x/._-")),
    ],
)
def test_valid_ids(text: str, expected: SpiffeId) -> None:
    """Scheme and trust domain fold case, the path is kept as it is."""
    assert parse_spiffe_id(text) == expected


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "does not start with spiffe://"),
        ("https://east.example/x", "does not start with spiffe://"),
        ("spiffe:/east.example/x", "does not start with spiffe://"),
        ("spiffe:///x", "trust domain is empty"),
        ("spiffe://east.example:443/x", "may hold only"),
        ("spiffe://user@east.example/x", "may hold only"),
        ("spiffe://east%2eexample/x", "may hold only"),
        ("spiffe://east.example/", "empty segment or ends with a slash"),
        ("spiffe://east.example/x/", "empty segment or ends with a slash"),
        ("spiffe://east.example//x", "empty segment or ends with a slash"),
        ("spiffe://east.example/./x", "relative segment"),
        ("spiffe://east.example/x/..", "relative segment"),
        ("spiffe://east.example/x%2fy", "may hold only"),
        ("spiffe://east.example/x?y", "may hold only"),
        ("spiffe://east.example/x#y", "may hold only"),
        ("spiffe://east.example?x", "may hold only"),
        ("spiffe://east.example/x\n", "may hold only"),
        ("spiffe://east.example\n/x", "may hold only"),
        ("spiffe://\u212aelvin/x", "may hold only"),
        (f"spiffe://{'a' * 256}/x", "longer than 255 bytes"),
        (f"spiffe://a/{'x' * 2048}", "longer than 2048 bytes"),
    ],
)
def test_invalid_ids(text: str, complaint: str) -> None:
    """Whatever the standard forbids is refused with a sentence that names the part."""
    with pytest.raises(ValueError, match=complaint):
        parse_spiffe_id(text)


def test_longest_ids() -> None:
    """A trust domain of 255 bytes and an ID of 2048 bytes are still accepted."""
    assert parse_trust_domain("a" * 255) == TrustDomain("a" * 255)
    text = "spiffe://a/" + "x" * (2048 - len("spiffe://a/"))
    assert str(parse_spiffe_id(text)) == text


@settings(deadline=None, max_examples=200)
@given(st.text(max_size=40).map(lambda rest: f"spiffe://{rest}"))
def test_parsing_is_idempotent(text: str) -> None:
    """What parses is spelled in a form that parses to the same value; what does not raises ValueError only."""
    try:
        parsed = parse_spiffe_id(text)
    except ValueError:
        return
    assert parse_spiffe_id(str(parsed)) == parsed


def test_identities_given_out() -> None:
    """Workloads are named by namespace and service account, the federation's own parts outside of /ns/."""
    assert str(workload_id(EAST, "demo", "echo.v1")) == "spiffe://east.example/ns/demo/sa/echo.v1"
    assert str(gateway_id(EAST)) == "spiffe://east.example/federation/gateway"
    assert str(controller_id(EAST)) == "spiffe://east.example/federation/controller"


@pytest.mark.parametrize(
    ("namespace", "account"), [("", "a"), ("a.b", "a"), ("a", ""), ("a", "b/../c"), ("a", ".."), ("A", "b")]
)
def test_workload_names_are_checked(namespace: str, account: str) -> None:
    """No namespace or account name can change the shape of an identity."""
    with pytest.raises(ValueError, match="is not a DNS"):
        workload_id(EAST, namespace, account)
