"""Names: grammars and spellings."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation.model.names import (
    GATEWAY_KEY,
    RecordKey,
    ServiceKey,
    endpoints_key,
    export_key,
    is_dns_label,
    key_name,
    parse_service_key,
    parse_shard_sni,
    parse_sni,
    service_of,
    shard_sni,
    sni,
)
from support.builders import ECHO

labels = st.from_regex(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", fullmatch=True)
keys = st.builds(ServiceKey, namespace=labels, name=labels)


@pytest.mark.parametrize("text", ["a", "0", "echo-1", "a" * 63])
def test_labels(text: str) -> None:
    """Lower case letters, digits and inner dashes, up to 63, are a DNS label."""
    assert is_dns_label(text)


@pytest.mark.parametrize("text", ["", "-a", "a-", "A", "a.b", "a_b", "a" * 64, "a\n", "é"])
def test_not_labels(text: str) -> None:
    """Anything else is none, a trailing line break included."""
    assert not is_dns_label(text)


@given(keys)
def test_service_keys_round_trip(key: ServiceKey) -> None:
    """A key is read back from its text."""
    assert key == parse_service_key(str(key))


@pytest.mark.parametrize("text", ["", "echo", "/echo", "demo/", "demo/echo/x", "Demo/echo"])
def test_bad_service_keys(text: str) -> None:
    """What is not NAMESPACE/NAME is refused, and the error quotes it."""
    with pytest.raises(ValueError, match="NAMESPACE/NAME") as caught:
        parse_service_key(text)
    assert repr(text) in str(caught.value)


def test_host() -> None:
    """The host is the clusterset name of the MCS API."""
    assert ECHO.host == "echo.demo.svc.clusterset.local"


def test_sni() -> None:
    """The SNI is Istio's spelling, without a subset."""
    assert sni(ECHO, 8080) == "outbound_.8080_._.echo.demo.svc.clusterset.local"


@given(keys, st.integers(1, 65535))
def test_snis_round_trip(key: ServiceKey, port: int) -> None:
    """Service and port are read back from their SNI."""
    assert (key, port) == parse_sni(sni(key, port))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "echo.demo.svc.clusterset.local",
        "outbound_.0_._.echo.demo.svc.clusterset.local",
        "outbound_.65536_._.echo.demo.svc.clusterset.local",
        "outbound_.80_.v1_.echo.demo.svc.clusterset.local",
        "outbound_.80_._.echo.demo.svc.cluster.local",
        "outbound_.80_._.a.echo.demo.svc.clusterset.local",
        "outbound_.80_._.Echo.demo.svc.clusterset.local",
        "outbound_.80_._.echo.demo.svc.clusterset.local\n",
    ],
)
def test_snis_of_others(text: str) -> None:
    """An SNI of another port range, subset, domain or grammar is none of ours."""
    assert parse_sni(text) is None


@given(keys)
def test_record_keys_name_their_service(key: ServiceKey) -> None:
    """Both kinds of record of a service lead back to it."""
    assert (key, key) == (service_of(export_key(key)), service_of(endpoints_key(key)))


@pytest.mark.parametrize("text", [GATEWAY_KEY, "export/demo", "export/demo/echo/x", "lease/demo/echo", ""])
def test_record_keys_without_a_service(text: str) -> None:
    """Other kinds and malformed keys name no service."""
    assert service_of(RecordKey(text)) is None


def test_a_key_is_called_by_its_beginning() -> None:
    """Sixteen digits tell keys apart for a person, and fit into a table."""
    assert key_name(bytes(range(32))) == "0001020304050607"


@given(shard=st.integers(0, 99))
def test_the_sni_of_a_shard_is_read_back(shard: int) -> None:
    """Both parts of it: the service port's SNI and the shard's number."""
    assert parse_shard_sni(shard_sni(sni(ECHO, 80), shard)) == (sni(ECHO, 80), shard)


@pytest.mark.parametrize(
    "text",
    [
        sni(ECHO, 80),
        f"s.{sni(ECHO, 80)}",
        f"s-1.{sni(ECHO, 80)}",
        f"s01.{sni(ECHO, 80)}",
        f"s100.{sni(ECHO, 80)}",
        "s1.",
        "s1.echo.demo",
    ],
)
def test_what_names_no_shard_is_none(text: str) -> None:
    """A shard has one spelling."""
    assert parse_shard_sni(text) is None
