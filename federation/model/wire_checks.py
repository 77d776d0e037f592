"""What a field of a record may hold, and why a record is refused: the checks that ``wire`` is made of. Pure.

Each raises WireError with a message that names the field, and shows of a value no more than fits a line.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from enum import StrEnum
from typing import NoReturn

from federation.model.errors import WireError
from federation.model.names import ServiceKey, is_dns_label

_LABEL_VALUE = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")
_SPIFFE_SEGMENT = re.compile(r"[A-Za-z0-9._-]+")


class Reason(StrEnum):
    """Why something of a peer was not accepted: stable codes, the ``reason`` of WireError and Rejected."""

    OVERSIZED = "Oversized"
    UNREADABLE = "Unreadable"
    MALFORMED = "Malformed"
    INVALID = "Invalid"
    INCOMPLETE = "Incomplete"
    UNKNOWN_SCHEMA = "UnknownSchema"
    UNKNOWN_KIND = "UnknownKind"
    WRONG_KEY = "WrongKey"
    WRONG_TRUST_DOMAIN = "WrongTrustDomain"
    WRONG_CLUSTERSET = "WrongClusterset"
    WRONG_MEMBER = "WrongMember"
    BAD_SIGNATURE = "BadSignature"
    REPLAYED = "Replayed"
    BUNDLE_ROLLBACK = "BundleRollback"


def check_identity(identity: str, trust_domain: str) -> None:
    # SPIFFE-ID standard, section 2: at most 2048 bytes; path segments are not empty, "." or "..".
    prefix = f"spiffe://{trust_domain}/"
    if not identity.startswith(prefix):
        refuse(Reason.WRONG_TRUST_DOMAIN, f"identity {identity[:253]!r} is not in trust domain {trust_domain!r}")
    segments = identity.removeprefix(prefix).split("/")
    sound = all(_SPIFFE_SEGMENT.fullmatch(part) and part not in {".", ".."} for part in segments)
    if len(identity) > 2048 or not sound:
        refuse(Reason.INVALID, f"identity {identity[:253]!r} is no SPIFFE ID")


def check_service(field: str, key: ServiceKey) -> None:
    if not (is_dns_label(key.namespace) and is_dns_label(key.name)):
        refuse(Reason.INVALID, f"{field} {str(key)[:140]!r} names no service: both parts must be DNS labels")


def check_bounded(field: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        refuse(Reason.INVALID, f"{field} is {value}, must be {low} to {high}")


def check_items(field: str, items: Sequence[object], limit: int) -> None:
    if len(items) > limit:
        refuse(Reason.OVERSIZED, f"{field} has {len(items)} items, more than {limit}")


def check_distinct(field: str, items: Sequence[object]) -> None:
    if len(set(items)) != len(items):
        refuse(Reason.INVALID, f"{field} holds one value twice")


def check_text(field: str, value: str | None, limit: int) -> None:
    if value is not None and not (0 < len(value) <= limit and value.isprintable()):
        refuse(Reason.INVALID, f"{field} is not 1 to {limit} printable characters")


def check_label_value(field: str, value: str) -> None:
    if _LABEL_VALUE.fullmatch(value) is None:
        refuse(Reason.INVALID, f"{field} {value[:80]!r} is not a label value")


def check_ip(field: str, value: str) -> None:
    try:
        address = ipaddress.ip_address(value)
    except ValueError:
        refuse(Reason.INVALID, f"{field} {value[:80]!r} is not an IP address")
    if address.is_unspecified or address.is_multicast or "%" in value:
        refuse(Reason.INVALID, f"{field} {value!r} is no address of one host")


def refuse(reason: Reason, message: str) -> NoReturn:
    raise WireError(reason, message)
