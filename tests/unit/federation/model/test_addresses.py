"""Listen addresses: their grammar and their text."""

from __future__ import annotations

from pathlib import Path

import pytest

from federation.model.addresses import (
    HostPort,
    UnixSocket,
    parse_gateway_address,
    parse_host_port,
    parse_listen_address,
)


@pytest.mark.parametrize("text", ["127.0.0.1:1", "0.0.0.0:65535", "[::1]:15443", "[2001:db8::1]:443"])
def test_text_and_value_are_one(text: str) -> None:
    """What is read is written the same."""
    assert text == str(parse_host_port(text))


def test_ipv6_is_spelled_canonically() -> None:
    """Two spellings of one address are one value."""
    assert HostPort("2001:db8::1", 1) == parse_host_port("[2001:0DB8:0::1]:1")


@pytest.mark.parametrize(
    "text",
    [
        "", "127.0.0.1", "127.0.0.1:", "127.0.0.1:0", "127.0.0.1:65536", "127.0.0.1:+1", "127.0.0.1:٥", ":80",
        "localhost:80", "::1:80", "[::1]", "[127.0.0.1]:80", "[fe80::1%eth0]:80", "127.1:80", " 127.0.0.1:80",
    ],
)  # fmt: skip
def test_refuses_anything_else(text: str) -> None:
    """Host names, missing ports, ports out of range and unbracketed IPv6 are refused."""
    with pytest.raises(ValueError, match=r"is not IPv4:PORT|has no port"):
        parse_host_port(text)


def test_kinds_of_addresses_are_told_apart() -> None:
    """Loopback and unspecified are known for both families."""
    assert (HostPort("127.9.9.9", 1).is_loopback, HostPort("::1", 1).is_loopback) == (True, True)
    assert (HostPort("0.0.0.0", 1).is_unspecified, HostPort("::", 1).is_unspecified) == (True, True)
    assert (HostPort("10.0.0.1", 1).is_loopback, HostPort("10.0.0.1", 1).is_unspecified) == (False, False)


def test_a_socket_path_starts_at_the_directory() -> None:
    """``unix:`` takes a path relative to the file's directory, or an absolute one."""
    assert UnixSocket(Path("/d/s/x.sock")) == parse_listen_address("unix:s/x.sock", directory=Path("/d"))
    assert UnixSocket(Path("/run/x.sock")) == parse_listen_address("unix:/run/x.sock", directory=Path("/d"))
    assert HostPort("127.0.0.1", 80) == parse_listen_address("127.0.0.1:80", directory=Path("/d"))


def test_a_socket_path_that_no_kernel_binds_is_refused() -> None:
    """The limit counts the bytes of the whole path, the directory's included."""
    assert parse_listen_address("unix:" + "a" * 100, directory=Path("/d"))
    with pytest.raises(ValueError, match="has 104 bytes, more than 103"):
        parse_listen_address("unix:" + "a" * 101, directory=Path("/d"))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("lb-1.example.com:443", HostPort("lb-1.example.com", 443)),
        ("LB.Example.COM.:443", HostPort("lb.example.com", 443)),
        ("gateway:15443", HostPort("gateway", 15443)),
        ("192.0.2.1:443", HostPort("192.0.2.1", 443)),
        ("[2001:DB8::1]:443", HostPort("2001:db8::1", 443)),
    ],
)
def test_a_gateway_may_have_a_name(text: str, value: HostPort) -> None:
    """Names are spelled in lower case, without the final dot; addresses are what they are elsewhere."""
    assert value == parse_gateway_address(text)
    assert value == parse_gateway_address(str(value))


@pytest.mark.parametrize(
    "text", ["127.1:80", "0x7f000001:80", "a_b:80", "a..b:80", "gateway", "gateway:0", "-a:1", ":1"]
)
def test_what_is_neither_a_name_nor_an_address_is_refused(text: str) -> None:
    """Among it addresses in an old spelling, which resolvers would take for loopback."""
    with pytest.raises(ValueError, match=r"nor NAME:PORT|has no port"):
        parse_gateway_address(text)


@pytest.mark.parametrize(
    ("host", "local"),
    [("localhost", True), ("west.localhost", True), ("localhost.example", False), ("mylocalhost", False)],
)
def test_a_name_is_loopback_by_what_it_means(host: str, local: bool) -> None:
    """No resolver is asked; no name means every address of the host."""
    assert (HostPort(host, 1).is_name, HostPort(host, 1).is_loopback) == (True, local)
    assert not HostPort(host, 1).is_unspecified
