"""What a pod says about its sidecar: labels and annotations, read strictly. Pure.

Anybody may write them, so that what is wrong is a violation with the annotation's name, never an exception.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from controllers.injection.redirect_rules import Network, parse_networks
from controllers.mcs.objects import Document, section, text
from federation.model.errors import ConfigError

PREFIX: Final = "federation-gateway.dev/"
INJECTION: Final = f"{PREFIX}injection"
"""Label of a namespace: ``enabled`` injects its pods, ``manual`` those that ask for it."""
INJECT: Final = f"{PREFIX}inject"
"""Label or annotation of a pod, ``true`` or ``false``; the label counts first, as it can be selected by."""

_REDIRECT: Final = f"{PREFIX}redirect"
_INCLUDE: Final = f"{PREFIX}include-outbound-cidrs"
_EXCLUDE: Final = f"{PREFIX}exclude-outbound-cidrs"
_EXCLUDE_PORTS: Final = f"{PREFIX}exclude-outbound-ports"
_PROBE_PORT: Final = f"{PREFIX}probe-port"
_PROBE_PATH: Final = f"{PREFIX}probe-path"
_QUANTITIES: Final[Mapping[str, tuple[str, str]]] = {
    f"{PREFIX}proxy-cpu": ("requests", "cpu"),
    f"{PREFIX}proxy-memory": ("requests", "memory"),
    f"{PREFIX}proxy-cpu-limit": ("limits", "cpu"),
    f"{PREFIX}proxy-memory-limit": ("limits", "memory"),
}
KNOWN: Final = frozenset(
    {INJECT, _REDIRECT, _INCLUDE, _EXCLUDE, _EXCLUDE_PORTS, _PROBE_PORT, _PROBE_PATH, *_QUANTITIES}
)

# resource.Quantity of Kubernetes, without signs: nothing here may be negative.
_QUANTITY: Final = re.compile(r"([0-9]+(\.[0-9]*)?|\.[0-9]+)(m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei|[eE][0-9]{1,2})?")
_BOOLEANS: Final[Mapping[str, bool]] = {"true": True, "false": False}


@dataclass(frozen=True, slots=True)
class Probe:
    """The sidecar's own check of its application."""

    port: int
    path: str = "/"


@dataclass(frozen=True, slots=True)
class Tuning:
    """What one pod wants to be different."""

    redirect: bool = True
    """Whether its connections are sent through the sidecar; takes an init container with rights over the network."""
    include: tuple[Network, ...] | None = None
    """None: as everywhere in the cluster."""
    exclude: tuple[Network, ...] = ()
    exclude_ports: tuple[int, ...] = ()
    probe: Probe | None = None
    resources: tuple[tuple[str, str, str], ...] = ()
    """``requests`` or ``limits``, resource, quantity."""


def pod_choice(pod: Document) -> str:
    """What the pod says of being injected: ``true``, ``false``, something else that means nothing, or empty."""
    metadata = section(pod, "metadata")
    return text(section(metadata, "labels").get(INJECT)) or text(section(metadata, "annotations").get(INJECT))


def parse_tuning(pod: Document) -> tuple[Tuning, tuple[str, ...], tuple[str, ...]]:
    """What the annotations say, the violations in them, and those of our prefix that mean nothing."""
    given = {
        key: text(value).strip()
        for key, value in section(pod, "metadata", "annotations").items()
        if key.startswith(PREFIX)
    }
    reader = _Reader(given)
    include = reader.networks(_INCLUDE)
    tuning = Tuning(
        redirect=reader.boolean(_REDIRECT),
        include=include if _INCLUDE in given else None,
        exclude=reader.networks(_EXCLUDE),
        exclude_ports=reader.ports(_EXCLUDE_PORTS),
        probe=reader.probe(),
        resources=tuple(
            (kind, resource, quantity)
            for key, (kind, resource) in _QUANTITIES.items()
            if (quantity := reader.quantity(key))
        ),
    )
    if (choice := pod_choice(pod)) and choice not in _BOOLEANS:
        reader.refuse(INJECT, choice, "true or false")
    return tuning, tuple(reader.violations), tuple(sorted(given.keys() - KNOWN))


class _Reader:
    """Reads annotations one by one and gathers what is wrong."""

    def __init__(self, given: Mapping[str, str]) -> None:
        self._given = given
        self.violations: list[str] = []

    def refuse(self, key: str, value: str, wanted: str) -> None:
        self.violations.append(f"{key}: {value[:60]!r} is not {wanted}")

    def boolean(self, key: str) -> bool:
        value = self._given.get(key, "true")
        if value not in _BOOLEANS:
            self.refuse(key, value, "true or false")
        return _BOOLEANS.get(value, True)

    def networks(self, key: str) -> tuple[Network, ...]:
        try:
            return parse_networks(self._items(key), key)
        except ConfigError as error:
            self.violations += error.violations
            return ()

    def ports(self, key: str) -> tuple[int, ...]:
        return tuple(port for item in self._items(key) if (port := self._port(key, item)))

    def probe(self) -> Probe | None:
        path = self._given.get(_PROBE_PATH, "/")
        if not path.startswith("/") or not path.isprintable() or " " in path:
            self.refuse(_PROBE_PATH, path, "the path of a URL")
        if _PROBE_PORT not in self._given:
            if _PROBE_PATH in self._given:
                self.violations.append(f"{_PROBE_PATH}: means nothing without {_PROBE_PORT}")
            return None
        port = self._port(_PROBE_PORT, self._given[_PROBE_PORT])
        return Probe(port, path) if port else None

    def quantity(self, key: str) -> str:
        value = self._given.get(key, "")
        if key in self._given and _QUANTITY.fullmatch(value) is None:
            self.refuse(key, value, "a quantity, as 100m or 128Mi")
            return ""
        return value

    def _items(self, key: str) -> list[str]:
        return [item for part in self._given.get(key, "").split(",") if (item := part.strip())]

    def _port(self, key: str, value: str) -> int:
        """0 for one that is none."""
        port = int(value) if value.isascii() and value.isdecimal() and len(value) < 6 else 0
        if not 1 <= port <= 65535:
            self.refuse(key, value, "a port from 1 to 65535")
            return 0
        return port
