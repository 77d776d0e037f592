"""Loopback addresses: what is free, and what is chosen where something is taken."""

from __future__ import annotations

import socket

import pytest

from federation.demo import loopback
from federation.demo.sites import Layout
from federation.model.addresses import HostPort
from federation.model.errors import FederationError


def test_an_address_that_is_listened_on_is_not_free() -> None:
    """A port is free until somebody listens on it."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        taken = HostPort(*server.getsockname())
        assert not loopback.is_free(taken)
    assert loopback.is_free(taken)


@pytest.mark.parametrize("ranges", [True, False])
def test_the_first_layout_with_room_is_chosen(monkeypatch: pytest.MonkeyPatch, ranges: bool) -> None:
    """A single taken address of the first layout leads to the next; without ranges, ports tell clusters apart."""
    taken = next(iter(loopback.addresses(Layout(ranges))))
    monkeypatch.setattr(
        loopback, "is_free", lambda address: address != taken and (ranges or address.host == "127.0.0.1")
    )
    with loopback.reserve_layout() as layout:
        assert layout == Layout(ranges, variant=1)


def test_two_demos_that_start_at_once_get_different_layouts(monkeypatch: pytest.MonkeyPatch) -> None:
    """While one demo has a layout, another finds the next, although nothing listens there; then it is free again."""
    monkeypatch.setattr(loopback, "is_free", lambda _: True)
    with loopback.reserve_layout() as first, loopback.reserve_layout() as second:
        assert first != second
    with loopback.reserve_layout() as third:
        assert third == first


def test_no_room_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where every layout is taken, the error says what to look for."""
    monkeypatch.setattr(loopback, "is_free", lambda _: False)
    with pytest.raises(FederationError, match="no free loopback addresses") as error, loopback.reserve_layout():
        pass
    assert "another demo" in error.value.hint
