"""TrustDomain and SpiffeId: the grammar of the SPIFFE-ID standard and the identities this project gives out.

Pure. It parses and spells names; whether an identity is genuine is the business of ``verification``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NewType

from federation.model.names import GATEWAY_PATH, is_dns_label

TrustDomain = NewType("TrustDomain", str)
"""Name of a trust domain, lower case, without the scheme: ``east.example.org``."""

_SCHEME = "spiffe://"
_MAX_TRUST_DOMAIN = 255
_MAX_ID = 2048
# Both cases here, and folded after the match: Unicode has letters that fold into ASCII.
_TRUST_DOMAIN = re.compile(r"[a-zA-Z0-9._-]+")
_SEGMENT = re.compile(r"[a-zA-Z0-9._-]+")


@dataclass(frozen=True, slots=True, order=True)
class SpiffeId:
    """One identity: a trust domain and a path that is empty (the trust domain itself) or starts with a
    slash."""

    trust_domain: TrustDomain
    path: str = ""

    def __str__(self) -> str:
        return f"{_SCHEME}{self.trust_domain}{self.path}"


def parse_trust_domain(text: str) -> TrustDomain:
    """Read a trust domain name, folding case (SPIFFE-ID §2.1); raises ValueError with what is wrong."""
    if not text:
        raise ValueError("trust domain is empty")
    if len(text) > _MAX_TRUST_DOMAIN:
        raise ValueError(f"trust domain is longer than {_MAX_TRUST_DOMAIN} bytes")
    if _TRUST_DOMAIN.fullmatch(text) is None:
        raise ValueError(f"trust domain {text!r} may hold only letters, digits, dots, dashes and underscores")
    return TrustDomain(text.lower())


def parse_spiffe_id(text: str) -> SpiffeId:
    """Read a SPIFFE ID (SPIFFE-ID §2): scheme and trust domain fold case, the path does not.

    Raises ValueError with one sentence that names the part that breaks the standard.
    """
    if len(text) > _MAX_ID:
        raise ValueError(f"SPIFFE ID is longer than {_MAX_ID} bytes")
    if text[: len(_SCHEME)].lower() != _SCHEME:
        raise ValueError(f"{text!r} does not start with {_SCHEME}")
    authority, slash, rest = text[len(_SCHEME) :].partition("/")
    trust_domain = parse_trust_domain(authority)
    if slash:
        _check_path(rest)
    return SpiffeId(trust_domain, slash + rest)


def _check_path(path: str) -> None:
    for segment in path.split("/"):
        if not segment:
            raise ValueError("path of the SPIFFE ID has an empty segment or ends with a slash")
        if segment in {".", ".."}:
            raise ValueError(f"path of the SPIFFE ID has the relative segment {segment!r}")
        if _SEGMENT.fullmatch(segment) is None:
            raise ValueError(f"path segment {segment!r} may hold only letters, digits, dots, dashes and underscores")


def workload_id(trust_domain: TrustDomain, namespace: str, service_account: str) -> SpiffeId:
    """Identity of a workload by service account, ``/ns/<namespace>/sa/<account>`` (the convention of
    Kubernetes meshes).

    Raises ValueError where a name can't be one of Kubernetes' (an account is a DNS subdomain, so it may
    hold dots).
    """
    if not is_dns_label(namespace):
        raise ValueError(f"namespace {namespace!r} is not a DNS label")
    if not all(is_dns_label(label) for label in service_account.split(".")):
        raise ValueError(f"service account {service_account!r} is not a DNS subdomain")
    return SpiffeId(trust_domain, f"/ns/{namespace}/sa/{service_account}")


# Outside /ns/: no workload, whatever its namespace is called, can be given the identity of a part of the
# federation.
def gateway_id(trust_domain: TrustDomain) -> SpiffeId:
    """Identity of a cluster's east-west gateways."""
    return SpiffeId(trust_domain, GATEWAY_PATH)


def controller_id(trust_domain: TrustDomain) -> SpiffeId:
    """Identity of a cluster's controllers."""
    return SpiffeId(trust_domain, "/federation/controller")
