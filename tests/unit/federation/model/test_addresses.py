"""Listen addresses: their grammar and their text."""

from __future__ import annotations

from pathlib import Path

import pytest

from federation.model.addresses import HostPort, UnixSocket, parse_host_port, parse_listen_address


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
