"""Names: clusters, services, records, hosts and SNIs, with their grammars, spelled in this one place."""

from __future__ import annotations

import re
from dataclasses import dataclass
from sys import intern
from typing import NewType

ClusterId = NewType("ClusterId", str)
"""One DNS label of at most 63 characters (KEP-1645 allows a subdomain; CoreDNS and label values do not)."""

RecordKey = NewType("RecordKey", str)
"""Key of one record of one member: ``gateway``, ``bundle``, ``trust``, ``export/<ns>/<name>`` or
``endpoints/<ns>/<name>``."""

CLUSTERSET_DOMAIN = "clusterset.local"

GATEWAY_PATH = "/federation/gateway"
"""Path of the SPIFFE ID of a cluster's gateways. Outside ``/ns/``: no workload can be given it."""

GATEWAY_KEY = RecordKey("gateway")
BUNDLE_KEY = RecordKey("bundle")
TRUST_KEY = RecordKey("trust")

_DNS_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
# The last label starts with a letter, or resolvers take the name for an address in an old spelling (127.1, 0x7f000001).
_DNS_NAME = re.compile(r"([a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?\.)*[a-z]([-a-z0-9]{0,61}[a-z0-9])?")
_TRUST_DOMAIN = re.compile(r"[a-z0-9._-]{1,255}")
# Istio's DNS-SRV spelling of `outbound|PORT|SUBSET|HOST`; the subset is always empty here.
_SNI = re.compile(
    r"outbound_\.(?P<port>[0-9]{1,5})_\._\.(?P<name>[^.]+)\.(?P<namespace>[^.]+)\.svc\." + re.escape(CLUSTERSET_DOMAIN)
)

# No leading zeros: a shard has one name.
_SHARD = re.compile(r"s(?P<shard>0|[1-9][0-9]?)\.(?P<name>outbound_\..+)")


def is_dns_label(text: str) -> bool:
    """Whether ``text`` is an RFC 1123 label: lower case letters, digits and inner dashes, 1 to 63 characters."""
    return _DNS_LABEL.fullmatch(text) is not None


def is_dns_name(text: str) -> bool:
    """Whether ``text`` is a host name: RFC 1123 labels in lower case, at most 253 characters, and no IP address."""
    return len(text) <= 253 and _DNS_NAME.fullmatch(text) is not None


def is_trust_domain(text: str) -> bool:
    """Whether ``text`` is a SPIFFE trust domain name in its one spelling, lower case (SPIFFE-ID §2.1)."""
    return _TRUST_DOMAIN.fullmatch(text) is not None


def key_name(public_key: bytes) -> str:
    """What a person calls a public key: the first 16 digits of its hex form."""
    return public_key.hex()[:16]


@dataclass(frozen=True, slots=True, order=True)
class ServiceKey:
    """A service, the same in every cluster of the set (namespace sameness, KEP-1645)."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"

    @property
    def host(self) -> str:
        """The clusterset host name, ``<name>.<namespace>.svc.clusterset.local``."""
        return f"{self.name}.{self.namespace}.svc.{CLUSTERSET_DOMAIN}"


def parse_service_key(text: str) -> ServiceKey:
    """Read ``namespace/name``; raises ValueError unless both are DNS labels."""
    namespace, _, name = text.partition("/")
    if not (is_dns_label(namespace) and is_dns_label(name)):
        raise ValueError(f"{text!r} is not NAMESPACE/NAME")
    return ServiceKey(namespace, name)


def sni(key: ServiceKey, port: int) -> str:
    """SNI and Envoy cluster name of one service port: ``outbound_.8080_._.echo.demo.svc.clusterset.local``."""
    # One string, of which a controller with thousands of services has a dozen references each.
    return intern(f"outbound_.{port}_._.{key.host}")


def shard_sni(name: str, shard: int) -> str:
    """SNI of one shard of a service port's endpoints: ``s3.`` before ``name``, the SNI of the service port.

    A label in front, so that servers match all shards of a port by one wildcard.
    """
    return f"s{shard}.{name}"


def parse_shard_sni(text: str) -> tuple[str, int] | None:
    """The SNI of the service port, and the number of the shard; None where the text names no shard."""
    match = _SHARD.fullmatch(text)
    return None if match is None else (match["name"], int(match["shard"]))


def parse_sni(text: str) -> tuple[ServiceKey, int] | None:
    """The service port that an SNI names, or None where it is none of ours."""
    match = _SNI.fullmatch(text)
    if match is None:
        return None
    port = int(match["port"])
    if not (0 < port < 65536 and is_dns_label(match["name"]) and is_dns_label(match["namespace"])):
        return None
    return ServiceKey(match["namespace"], match["name"]), port


def export_key(key: ServiceKey) -> RecordKey:
    return RecordKey(f"export/{key}")


def endpoints_key(key: ServiceKey) -> RecordKey:
    return RecordKey(f"endpoints/{key}")


def service_of(record: RecordKey) -> ServiceKey | None:
    """The service that an ``export/…`` or ``endpoints/…`` key speaks of; None for the other kinds and for bad keys."""
    kind, _, rest = record.partition("/")
    if kind not in {"export", "endpoints"}:
        return None
    try:
        return parse_service_key(rest)
    except ValueError:
        return None
