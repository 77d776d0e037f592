"""URLs of the exchange: what each kind says, and what is refused, without repeating a secret."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from federation.model.exchange_address import Deployment, ExchangeAddress, Node, parse_exchange_address


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("redis://r", ExchangeAddress((Node("r", 6379),))),
        ("rediss://10.0.0.1:6380/3", ExchangeAddress((Node("10.0.0.1", 6380),), tls=True, database=3)),
        ("redis://[::1]:7000/", ExchangeAddress((Node("::1", 7000),))),
        ("unix:///run/redis.sock", ExchangeAddress((), socket="/run/redis.sock")),
        (
            "redis+sentinel://s1:26379,s2/mine",
            ExchangeAddress((Node("s1", 26379), Node("s2", 26379)), Deployment.SENTINEL, master="mine"),
        ),
        (
            "rediss+sentinel://s1/mine/2",
            ExchangeAddress((Node("s1", 26379),), Deployment.SENTINEL, tls=True, master="mine", database=2),
        ),
        (
            "rediss+cluster://c1:7001,[fe::2]:7002",
            ExchangeAddress((Node("c1", 7001), Node("fe::2", 7002)), Deployment.CLUSTER, tls=True),
        ),
    ],
)
def test_each_kind_of_url_is_read(url: str, address: ExchangeAddress) -> None:
    """Hosts with their default ports, TLS, master and database come out of the URL; its text reads the same again."""
    assert parse_exchange_address(url) == address
    assert parse_exchange_address(str(address)) == address


@pytest.mark.parametrize(
    ("url", "rule"),
    [
        ("http://h", "must begin with redis://"),
        ("redis", "must begin with redis://"),
        ("redis+ring://h", "must begin with redis://"),
        ("unix+cluster:///s", "must begin with redis://"),
        ("redis://user:hunter2@h", "must not contain a password"),
        ("redis+cluster://:hunter2@h,g", "must not contain a password"),
        ("redis://user@h", "must not contain a user"),
        ("redis://h?ssl_cert_reqs=none", "must not contain parameters"),
        ("redis://h/0#x", "must not contain parameters"),
        ("redis://h x", "must not contain parameters"),
        ("redis://", "lacks the host after redis://"),
        ("redis+cluster://a,,b", "lacks the host"),
        ("unix://", "lacks the path"),
        ("unix://run/redis.sock", "lacks the path"),
        ("redis://a,b", "has several hosts"),
        ("redis://a:99999", "has a port that is not from 1 to 65535"),
        ("redis://a:", "has a port that is not from 1 to 65535"),
        ("redis://::1", "has a host that is neither|lacks the host"),
        ("redis://[::1]6379", "something behind its bracket"),
        ("redis://[h]:6379", "no IPv6 address"),
        ("redis://-h", "has a host that is neither"),
        ("redis+sentinel://s1:26379", "lacks the master's name"),
        ("redis+sentinel://s1:26379//0", "lacks the master's name"),
        ("redis+cluster://c/1", "one database only"),
        ("redis://h/one", "number of a database"),
        ("redis://h/1/2", "number of a database"),
    ],
)
def test_a_broken_rule_is_named_without_the_url(url: str, rule: str) -> None:
    """Each refusal says what is wrong and shows no password."""
    with pytest.raises(ValueError, match=rule) as refused:
        parse_exchange_address(url)
    assert "hunter2" not in str(refused.value)


@settings(deadline=None, max_examples=200)
@given(st.text(alphabet="redis+unixclustrn:/[]@,.0123456789? ", max_size=40))
def test_any_text_is_an_address_or_a_refusal(rest: str) -> None:
    """Nothing but ValueError comes out, and what is accepted reads the same again."""
    for prefix in ("", "redis://", "rediss+sentinel://", "redis+cluster://", "unix://"):
        try:
            address = parse_exchange_address(prefix + rest)
        except ValueError:
            continue
        assert parse_exchange_address(str(address)) == address
