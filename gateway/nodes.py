"""Nodes: what an Envoy of ours tells the control plane about itself, in its node metadata.

The metadata decides which listeners a node gets, never which identity: that comes from its token alone. Written by the
process that starts Envoy, read by the controller; both sides are here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import msgspec

from federation.model.errors import ConfigError

Host = Annotated[str, msgspec.Meta(min_length=1, max_length=255)]
Port = Annotated[int, msgspec.Meta(ge=1, le=65535)]

METADATA_KEY = "federation"


class Listen(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An address that the node's Envoy binds."""

    host: Host
    port: Port


class LocalPort(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Explicit outbound: one local port that leads to one imported service port."""

    namespace: str
    name: str
    port: Port
    listen: Listen


class ProbeSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The sidecar's own check of its application: any answer below 500 is good."""

    port: Port
    path: str
    interval_ms: Annotated[int, msgspec.Meta(ge=10)]
    timeout_ms: Annotated[int, msgspec.Meta(ge=10)]


class SidecarNode(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, tag_field="role", tag="sidecar"
):
    """A workload's sidecar."""

    address: Host
    """The workload's address: inbound connections arrive here, and the application listens here."""
    inbound_port: Port
    http_proxy: Listen | None = None
    redirect_port: Port | None = None
    redirect_ipv6: bool = False
    """Whether connections over IPv6 are redirected too."""
    outbound: tuple[LocalPort, ...] = ()
    probe: ProbeSpec | None = None


class GatewayNode(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, tag_field="role", tag="gateway"
):
    """An east-west gateway of the cluster."""

    listen: Listen
    egress: bool = False
    """Whether it also listens at every clusterset IP, for callers without a sidecar."""


Node = SidecarNode | GatewayNode


def node_metadata(node: Node) -> dict[str, object]:
    """The ``node.metadata`` of an Envoy bootstrap, as a JSON object.

    What is as by default is left out: a controller that does not know it yet takes the node then.
    """
    spec: dict[str, object] = msgspec.to_builtins(node)
    return {METADATA_KEY: spec}


def parse_node_metadata(metadata: Mapping[str, object]) -> Node:
    """Read a connected Envoy's metadata; raises ConfigError naming the field at fault."""
    raw = metadata.get(METADATA_KEY)
    if raw is None:
        raise ConfigError(f"the node's metadata has no {METADATA_KEY!r} object", hint="start Envoy with `federation`")
    try:
        # Numbers of a protobuf Struct are doubles; lax conversion takes 15006.0 for 15006.
        node: Node = msgspec.convert(raw, SidecarNode | GatewayNode, strict=False)
    except msgspec.ValidationError as error:
        raise ConfigError(f"the node's metadata is unusable: {error}") from error
    return node
