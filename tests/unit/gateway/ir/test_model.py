"""The values of the IR: one spelling of names, one order."""

from __future__ import annotations

import pytest

from federation.model.names import sni
from gateway.ir.model import AppProtocol, ExportedPort, ImportedPort, InboundPort, Upstream, UpstreamLocality
from support.builders import ECHO, NORTH, WEST


def test_every_kind_of_port_has_its_sni_for_a_name() -> None:
    """Caller, gateway and server speak of a service port by the same name, or they would not meet."""
    ports = (
        ImportedPort(ECHO, 8080, AppProtocol.HTTP, (), ()),
        ExportedPort(ECHO, 8080, ()),
        InboundPort(ECHO, 8080, AppProtocol.HTTP, "10.0.0.1", 80),
    )
    assert {port.name for port in ports} == {sni(ECHO, 8080)}


@pytest.mark.parametrize(("protocol", "http"), [("http", True), ("http2", True), ("tcp", False)])
def test_only_http_is_http(protocol: str, http: bool) -> None:
    """HTTP of either version is routed, retried and hedged; everything else is passed on."""
    assert AppProtocol(protocol).is_http is http


def test_localities_are_ordered_by_priority_first() -> None:
    """Sorted localities are in the order in which they are tried."""
    near = UpstreamLocality(0, WEST, "us", "", (Upstream("192.0.2.1", 1),))
    far = UpstreamLocality(1, NORTH, "eu", "", ())
    assert sorted([far, near]) == [near, far]
