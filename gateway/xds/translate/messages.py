"""Small constructors of Envoy messages that every translator needs."""

from __future__ import annotations

from gateway.xds import protos as pb


def milliseconds(value: int) -> pb.Message:
    return pb.Duration(seconds=value // 1000, nanos=value % 1000 * 1_000_000)


def socket_address(host: str, port: int) -> pb.Message:
    return pb.Address(socket_address=pb.SocketAddress(address=host, port_value=port))
