"""Values about the running server, for status, metrics and the dashboard; nothing here flows back into a build."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime

from gateway.xds.protos import ENDPOINT
from gateway.xds.stream import TypeStatus


@dataclass(frozen=True, slots=True)
class StreamStatus:
    """One connected stream."""

    node: str
    """The name of the node's view in the cache."""
    subject: str
    """Whom the token proved."""
    since: datetime
    types: tuple[TypeStatus, ...]
    unseen: bool = False
    """Whether the view has changed and the stream has not looked yet."""

    @property
    def settled(self) -> bool:
        """Whether the node has answered all endpoints that it is to have."""
        return not self.unseen and not any(kind.busy for kind in self.types if kind.type_url == ENDPOINT)


@dataclass(slots=True)
class XdsCounters:
    """Plain numbers since the start, added to on the hot path and read by a collector. By type means by type URL."""

    responses_sent: Counter[str] = field(default_factory=Counter)
    resources_sent: Counter[str] = field(default_factory=Counter)
    removals_sent: Counter[str] = field(default_factory=Counter)
    nacks: Counter[str] = field(default_factory=Counter)
    """Refused responses, those included that isolating one bad resource took."""
    streams_connected: int = 0
    """Now."""
    auth_refused: int = 0
    denied_secrets: int = 0
    """Secrets asked for by name that are not in the node's own view."""
