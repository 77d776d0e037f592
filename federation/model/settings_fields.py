"""The kinds of fields that the settings files are made of, and how a violation of one is worded.

Below ``settings``, which says which fields there are. Each kind turns what YAML gave into the value that the core
takes, or raises ValueError with the rule that is broken. Never echoes a URL: people put passwords into them.
"""

from __future__ import annotations

import re
from datetime import timedelta
from ipaddress import IPv4Network, ip_address, ip_network
from pathlib import Path
from typing import Annotated, Any, TypeVar
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainValidator,
    ValidationError,
    ValidationInfo,
)
from pydantic.alias_generators import to_camel

from federation.model.addresses import (
    HostPort,
    UnixSocket,
    parse_gateway_address,
    parse_host_port,
    parse_listen_address,
)
from federation.model.durations import parse_duration
from federation.model.exchange_address import ExchangeAddress, parse_exchange_address
from federation.model.names import ServiceKey, is_dns_label, is_trust_domain, parse_service_key

T = TypeVar("T")

# Default of every field whose value class has one; never read, see given().
LEFT_OUT: Any = None

_PLACE = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
_SPIFFE_ID = re.compile(r"spiffe://[a-z0-9._-]{1,255}(/[a-zA-Z0-9._-]+)+")
_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")


class Section(BaseModel):
    """A mapping of the file: camelCase keys, strict types, no other keys."""

    model_config = ConfigDict(strict=True, extra="forbid", alias_generator=to_camel, allow_inf_nan=False)


def given(section: Section) -> dict[str, Any]:
    """The fields that the file gave, and those whose default depends on the file's directory."""
    return {
        name: getattr(section, name)
        for name, field in type(section).model_fields.items()
        if name in section.model_fields_set or field.validate_default
    }


def violations(error: ValidationError) -> list[str]:
    """Every violation as ``path: what is wrong``, in the order of the fields."""
    return [
        f"{_path(item['loc'])}: {_wording(item['type'], item['msg'])}"
        for item in error.errors(include_url=False, include_input=False)
    ]


def _path(location: tuple[int | str, ...]) -> str:
    parts = (f"[{part}]" if isinstance(part, int) else f".{part}" for part in location)
    return "".join(parts).removeprefix(".") or "file"


def _wording(kind: str, message: str) -> str:
    fixed = {
        "missing": "is required",
        "extra_forbidden": "is no key of this file",
        "model_type": "must be a mapping",
        "tuple_type": "must be a list",
        "string_type": "must be a string",
        "int_type": "must be an integer",
        "float_type": "must be a number",
    }
    text = message.removeprefix("Value error, ").replace("Input should be", "must be")
    return fixed.get(kind, text)


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError("must be a string")
    return value


def _label(value: str) -> str:
    if not is_dns_label(value):
        raise ValueError("must be a DNS label: lower case letters, digits and inner dashes, at most 63 characters")
    return value


def _subdomain(value: str) -> str:
    if len(value) > 253 or _SUBDOMAIN.fullmatch(value) is None:
        raise ValueError("must be a DNS subdomain name: DNS labels joined by dots, at most 253 characters")
    return value


def _place(value: str) -> str:
    if _PLACE.fullmatch(value) is None:
        raise ValueError("must be 1 to 63 letters, digits, dashes, dots or underscores, as a Kubernetes label value")
    return value


def _trust_domain(value: str) -> str:
    if not is_trust_domain(value):
        raise ValueError("must be a SPIFFE trust domain: 1 to 255 of a-z, 0-9, dot, dash and underscore")
    return value


def _host_port(value: object) -> HostPort:
    return parse_host_port(_text(value))


def _loopback(value: object) -> HostPort:
    address = _host_port(value)
    if not address.is_loopback:
        raise ValueError(f"{str(address)!r} is not a loopback address; Envoy's admin port obeys whoever reaches it")
    return address


def _reachable(value: object) -> HostPort:
    address = parse_gateway_address(_text(value))
    if address.is_unspecified:
        raise ValueError(f"{str(address)!r} is no address that another cluster could reach")
    return address


def _listen_address(value: object, info: ValidationInfo) -> HostPort | UnixSocket:
    return parse_listen_address(_text(value), directory=_directory(info))


def _file_path(value: object, info: ValidationInfo) -> Path:
    text = _text(value)
    if not text or "\0" in text:
        raise ValueError("must be a path")
    return _directory(info) / text


def _directory(info: ValidationInfo) -> Path:
    """Where the file lies, handed to every validator by the parser of the whole."""
    context: dict[str, Path] = info.context or {}
    return context["directory"]


def _address(value: object) -> str:
    text = _text(value)
    try:
        address = ip_address(text)
    except ValueError:
        raise ValueError(f"{text!r} is not an IP address") from None
    if address.is_unspecified or address.is_multicast or "%" in text:
        raise ValueError(f"{text!r} is not the address of one workload")
    return str(address)


def _any_network(text: str) -> str:
    try:
        return str(ip_network(text))
    except ValueError as error:
        raise ValueError(f"is no network: {error}") from None


def _network(value: object) -> IPv4Network:
    text = _text(value)
    try:
        network = IPv4Network(text)
    except ValueError as error:
        raise ValueError(f"{text!r} is not an IPv4 range such as 240.96.0.0/12: {error}") from None
    if network.prefixlen > 24:
        raise ValueError(f"{text!r} is too small, a /24 is the least")
    return network


def _duration(value: object) -> timedelta:
    duration = parse_duration(_text(value))
    if not duration:
        raise ValueError("must be longer than zero")
    return duration


def _dns_ttl(value: object) -> timedelta:
    ttl = parse_duration(_text(value))
    # What a stale answer costs grows with it, and DNS counts seconds.
    if ttl.microseconds or not timedelta(seconds=1) <= ttl <= timedelta(hours=1):
        raise ValueError("must be whole seconds, from 1s to 1h")
    return ttl


def _service(value: object) -> ServiceKey:
    return parse_service_key(_text(value))


def _exchange_url(value: object) -> ExchangeAddress:
    return parse_exchange_address(_text(value))


def _https_url(value: str) -> str:
    try:
        parts = urlsplit(value)
        host, user = parts.hostname, parts.username
        parts.port  # noqa: B018  reading it judges it
    except ValueError:
        raise ValueError("must be a URL") from None
    if parts.scheme != "https" or not host:
        raise ValueError("must begin with https:// and a host")
    if user is not None or parts.fragment:
        raise ValueError("must contain neither userinfo nor a fragment")
    return value


def _spiffe_id(value: str) -> str:
    if len(value) > 2048 or _SPIFFE_ID.fullmatch(value) is None or {".", ".."} & set(value.split("/")):
        raise ValueError("must be the SPIFFE ID of a workload: spiffe://TRUST-DOMAIN/PATH")
    return value


def _as_tuple(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value


Items = Annotated[tuple[T, ...], BeforeValidator(_as_tuple)]
Label = Annotated[str, AfterValidator(_label)]
Subdomain = Annotated[str, AfterValidator(_subdomain)]
Place = Annotated[str, AfterValidator(_place)]
Zone = Annotated[str, AfterValidator(lambda value: _place(value) if value else value)]
TrustDomain = Annotated[str, AfterValidator(_trust_domain)]
HttpsUrl = Annotated[str, AfterValidator(_https_url)]
SpiffeId = Annotated[str, AfterValidator(_spiffe_id)]
ExchangeUrl = Annotated[ExchangeAddress, PlainValidator(_exchange_url)]
Seconds = Annotated[float, Field(gt=0)]
Port = Annotated[int, Field(ge=1, le=65535)]
Mebibytes = Annotated[int, Field(ge=0, le=1 << 20)]
Connections = Annotated[int, Field(ge=1, le=10_000_000)]
PortOrZero = Annotated[int, Field(ge=0, le=65535)]
HttpPath = Annotated[str, Field(pattern=r"^/[!-~]*$")]
Listen = Annotated[HostPort, PlainValidator(_host_port)]
LoopbackListen = Annotated[HostPort, PlainValidator(_loopback)]
Reachable = Annotated[HostPort, PlainValidator(_reachable)]
ListenOrSocket = Annotated[HostPort | UnixSocket, PlainValidator(_listen_address)]
FilePath = Annotated[Path, PlainValidator(_file_path)]
WorkloadAddress = Annotated[str, PlainValidator(_address)]
Network = Annotated[str, AfterValidator(_any_network)]
VipRange = Annotated[IPv4Network, PlainValidator(_network)]
Duration = Annotated[timedelta, PlainValidator(_duration)]
DnsTtl = Annotated[timedelta, PlainValidator(_dns_ttl)]
Service = Annotated[ServiceKey, PlainValidator(_service)]
