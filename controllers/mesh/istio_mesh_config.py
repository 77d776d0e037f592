"""Istio's mesh configuration: whether istiod trusts whom we trust, and the fragment that makes it. Pure.

Nothing is written here: the ConfigMap is its administrator's. Two things follow from a trust domain in
``caCertificates``: sidecars verify by its CA certificates, and servers accept its callers (istio
networking/plugin/authn). Istio pools all CA certificates, so each of them could vouch for any identity of any domain.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from controllers.mcs.objects import Document, mapping, section, sequence, text, texts
from controllers.mesh.base import Anchors
from federation.model.documents import read_yaml
from federation.model.problems import Problem

SUBJECT: Final = "mesh istio"
MULTIROOT: Final = "ISTIO_MULTIROOT_MESH"
XDS_AGENT: Final = "PROXY_CONFIG_XDS_AGENT"

_DEFAULT_TRUST_DOMAIN: Final = "cluster.local"
_CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----(.*?)-----END CERTIFICATE-----", re.DOTALL)


@dataclass(frozen=True, slots=True)
class TrustEntry:
    """One item of ``caCertificates``."""

    authorities: frozenset[bytes]
    """DER; empty for an item that names a URL."""
    url: str
    domains: frozenset[str]


@dataclass(frozen=True, slots=True)
class MeshConfig:
    """What of Istio's mesh configuration concerns us."""

    trust_domain: str = _DEFAULT_TRUST_DOMAIN
    aliases: frozenset[str] = frozenset()
    root_namespace: str = ""
    """Empty where it is that of istiod."""
    entries: tuple[TrustEntry, ...] = ()
    xds_agent: bool = False
    """Whether sidecars take CA certificates from istiod."""

    def missing(self, authorities: tuple[bytes, ...]) -> tuple[bytes, ...]:
        """Those of these CA certificates that are not in the configuration itself."""
        trusted = {der for entry in self.entries for der in entry.authorities}
        return tuple(der for der in authorities if der not in trusted)

    def is_fetched(self, domain: str) -> bool:
        """Whether istiod fetches the CA certificates of the domain from a URL; what it got is not to be seen."""
        return any(entry.url and domain in entry.domains for entry in self.entries)

    @property
    def accepted_domains(self) -> frozenset[str]:
        """The trust domains whose callers sidecars accept."""
        return frozenset({self.trust_domain, *self.aliases}).union(*(entry.domains for entry in self.entries))


def parse_mesh_config(config_map: Document) -> MeshConfig:
    """The ConfigMap ``istio``; raises ValueError where its ``mesh`` is no YAML mapping."""
    content = read_yaml(text(section(config_map, "data").get("mesh"))) or {}
    if not isinstance(content, Mapping):
        raise ValueError("data.mesh is no mapping")
    metadata = section(content, "defaultConfig", "proxyMetadata")
    return MeshConfig(
        trust_domain=text(content.get("trustDomain")) or _DEFAULT_TRUST_DOMAIN,
        aliases=frozenset(texts(content.get("trustDomainAliases"))),
        root_namespace=text(content.get("rootNamespace")),
        entries=tuple(_entry(mapping(item)) for item in sequence(content.get("caCertificates"))),
        xds_agent=str(metadata.get(XDS_AGENT)).lower() == "true",
    )


def _entry(item: Document) -> TrustEntry:
    pem, url = text(item.get("pem")), text(item.get("spiffeBundleUrl"))
    return TrustEntry(frozenset(_authorities(pem)), "" if pem else url, frozenset(texts(item.get("trustDomains"))))


def _authorities(pem: str) -> Iterator[bytes]:
    for body in _CERTIFICATE.findall(pem):
        try:
            yield base64.b64decode("".join(body.split()), validate=True)
        except binascii.Error:
            # Whoever reads it for trust will say so; here it is one that is missing.
            continue


def check_trust(config: MeshConfig, anchors: Anchors, *, trust_domain: str, multiroot: bool | None) -> list[Problem]:
    """What keeps this mesh and the clusterset from verifying each other. ``anchors`` are those of the peers;
    ``multiroot`` is None where istiod's environment is not to be seen."""
    found = []
    if config.trust_domain != trust_domain:
        told = f"its trust domain is {config.trust_domain}, and cluster.yaml says {trust_domain}"
        found.append(Problem(SUBJECT, "TrustDomainDiffers", f"{told}; set trustDomain in the mesh configuration"))
    peers = {domain: authorities for domain, authorities in anchors.items() if domain != trust_domain}
    if not peers:
        return found
    if multiroot is False:
        told = "istiod ignores the CA certificates of other trust domains"
        found.append(Problem(SUBJECT, "MultiRootOff", f"{told}; set {MULTIROOT}=true in its environment"))
    if not config.xds_agent:
        told = f'sidecars take no CA certificates from istiod; set {XDS_AGENT}: "true"'
        found.append(
            Problem(SUBJECT, "XdsAgentOff", f"{told} under defaultConfig.proxyMetadata, and restart the workloads")
        )
    for domain, authorities in sorted(peers.items()):
        found += _check_domain(config, domain, authorities)
    strange = config.accepted_domains - {config.trust_domain, trust_domain, *config.aliases, *peers}
    for domain in sorted(strange):
        told = f"caCertificates has the trust domain {domain}, which no member of the clusterset has"
        found.append(Problem(SUBJECT, "StrangeTrustDomain", f"{told}; remove it, unless something else needs it"))
    return found


def _check_domain(config: MeshConfig, domain: str, authorities: tuple[bytes, ...]) -> Iterator[Problem]:
    missing = () if config.is_fetched(domain) else config.missing(authorities)
    if missing:
        told = f"{len(missing)} of {len(authorities)} CA certificates of {domain} are not in caCertificates"
        yield Problem(
            SUBJECT, "CaNotTrusted", f"{told}, so calls that need them fail; add them to the mesh configuration"
        )
    own = {der for entry in config.entries if domain in entry.domains for der in entry.authorities}
    if withdrawn := own.difference(authorities):
        told = f"{len(withdrawn)} of the CA certificates of {domain} in caCertificates are not of its bundle"
        yield Problem(SUBJECT, "CaWithdrawn", f"{told}, and what they sign is believed; remove them")
    if domain not in config.accepted_domains:
        told = f"callers of {domain} are refused; name it under trustDomains beside its CA certificates"
        yield Problem(SUBJECT, "CallersRefused", f"{told} in caCertificates")


def verified_domains(config: MeshConfig, anchors: Anchors) -> frozenset[str]:
    """The trust domains whose CA certificates all stand in the mesh configuration: by these sidecars verify."""
    return frozenset(
        domain
        for domain, authorities in anchors.items()
        if not config.missing(authorities) and domain in config.accepted_domains
    )


def mesh_config_fragment(trust_domain: str, anchors: Anchors) -> str:
    """What the mesh configuration must hold for this clusterset, as YAML to be merged into it."""
    lines = [
        f"trustDomain: {trust_domain}",
        "defaultConfig:",
        "  proxyMetadata:",
        f'    {XDS_AGENT}: "true"',
    ]
    certificates = [
        (domain, der)
        for domain, authorities in sorted(anchors.items())
        if domain != trust_domain
        for der in authorities
    ]
    if certificates:
        lines.append("caCertificates:")
    for domain, der in certificates:
        lines += [f"- trustDomains: [{domain}]", "  pem: |", *(f"    {line}" for line in _pem_lines(der))]
    return "".join(f"{line}\n" for line in lines)


def _pem_lines(der: bytes) -> list[str]:
    body = base64.b64encode(der).decode()
    wrapped = [body[start : start + 64] for start in range(0, len(body), 64)]
    return ["-----BEGIN CERTIFICATE-----", *wrapped, "-----END CERTIFICATE-----"]
