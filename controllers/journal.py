"""Journal: the little that a controller must remember across restarts beyond keys and replicas, in one JSON file.

Clusterset IPs (stable for the life of an import, KEP-1645) and when an export without creationTimestamp was first seen
(the age that conflicts are resolved by). A journal that can't be read is an error: starting anew would move addresses.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from ipaddress import IPv4Address
from pathlib import Path

import msgspec

from federation.model.errors import ConfigError
from federation.model.names import ServiceKey, parse_service_key
from federation.storage.private_file import replace_private


class _Document(msgspec.Struct, forbid_unknown_fields=True):
    vips: dict[str, str]
    first_seen: dict[str, datetime]


class Journal:
    """The file ``journal.json`` in the controller's state directory (0600)."""

    def __init__(self, directory: Path) -> None:
        """Read the journal; raises ConfigError where one is there that can't be read."""
        self._path = directory / "journal.json"
        self._vips: dict[ServiceKey, IPv4Address] = {}
        self._first_seen: dict[ServiceKey, datetime] = {}
        try:
            document = msgspec.json.decode(self._path.read_bytes(), type=_Document)
            self._vips = {parse_service_key(key): IPv4Address(ip) for key, ip in document.vips.items()}
            self._first_seen = {parse_service_key(key): when for key, when in document.first_seen.items()}
        except FileNotFoundError:
            pass
        except (OSError, ValueError) as error:
            raise ConfigError(
                f"journal {self._path} can't be read: {error}",
                hint="restore it, or remove it and accept that clusterset IPs may move and conflicts be decided anew",
            ) from error

    @property
    def vips(self) -> Mapping[ServiceKey, IPv4Address]:
        return self._vips

    @property
    def first_seen(self) -> Mapping[ServiceKey, datetime]:
        return self._first_seen

    def see(self, exported: Iterable[ServiceKey], gone: Iterable[ServiceKey], now: datetime) -> None:
        """Date exports that are new, forget those that are gone. Durable when it returns; raises OSError."""
        table = dict(self._first_seen)
        for key in gone:
            table.pop(key, None)
        for key in exported:
            table.setdefault(key, now)
        if table != self._first_seen:
            self._save(self._vips, table)
            self._first_seen = table

    def assign(self, vips: Mapping[ServiceKey, IPv4Address]) -> None:
        """Remember the clusterset IPs. Durable when it returns; raises OSError."""
        if vips != self._vips:
            self._save(vips, self._first_seen)
            self._vips = dict(vips)

    def _save(self, vips: Mapping[ServiceKey, IPv4Address], first_seen: Mapping[ServiceKey, datetime]) -> None:
        document = _Document(
            {str(key): str(vips[key]) for key in sorted(vips)},
            {str(key): first_seen[key] for key in sorted(first_seen)},
        )
        replace_private(self._path, msgspec.json.format(msgspec.json.encode(document)))
