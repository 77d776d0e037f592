"""Istio's mesh configuration: what is read of it, what is missing, and the fragment that helps."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
import yaml

from controllers.mesh.istio_mesh_config import (
    MeshConfig,
    check_trust,
    mesh_config_fragment,
    parse_mesh_config,
    verified_domains,
)
from support.certificates import Ca, make_ca

NOW = datetime(2026, 1, 1, tzinfo=UTC)
WEST, NEXT, SOUTH = (make_ca(NOW, name=name) for name in ("west", "west's next", "south"))
PEERS = {"west.test": (WEST.der,)}
READY = {"trustDomain": "east.test", "defaultConfig": {"proxyMetadata": {"PROXY_CONFIG_XDS_AGENT": "true"}}}


def config(**content: Any) -> MeshConfig:
    return parse_mesh_config({"data": {"mesh": yaml.safe_dump(content)}})


def entry(*authorities: Ca, domains: tuple[str, ...] = ("west.test",)) -> dict[str, Any]:
    return {"pem": "".join(ca.pem for ca in authorities), "trustDomains": list(domains)}


def reasons(
    found: MeshConfig, anchors: dict[str, tuple[bytes, ...]] | None = None, *, multiroot: bool | None = True
) -> list[str]:
    problems = check_trust(found, PEERS if anchors is None else anchors, trust_domain="east.test", multiroot=multiroot)
    return [problem.reason for problem in problems]


def test_a_mesh_that_trusts_the_peers_has_nothing_to_be_told() -> None:
    """By certificates that stand in the configuration, with the trust domain beside them."""
    assert reasons(config(**READY, caCertificates=[entry(WEST)])) == []


def test_the_fragment_makes_a_mesh_trust_the_peers() -> None:
    """Whoever takes it over as it is, is told nothing more; the own domain's certificates are not in it."""
    anchors = {"west.test": (WEST.der, NEXT.der), "south.test": (SOUTH.der,), "east.test": (make_ca(NOW).der,)}
    taken = yaml.safe_load(mesh_config_fragment("east.test", anchors))
    assert reasons(config(**taken), anchors) == []
    assert len(taken["caCertificates"]) == 3


def test_without_peers_the_fragment_has_no_certificates() -> None:
    """And what it has is read as meant."""
    assert config(**yaml.safe_load(mesh_config_fragment("east.test", {}))) == config(**READY)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ({**READY, "trustDomain": "cluster.local"}, "TrustDomainDiffers"),
        ({**READY, "defaultConfig": {}}, "XdsAgentOff"),
        ({**READY, "caCertificates": [entry(SOUTH)]}, "CaNotTrusted"),
        ({**READY, "caCertificates": [entry(WEST, domains=())]}, "CallersRefused"),
        ({**READY, "caCertificates": [entry(WEST, NEXT)]}, "CaWithdrawn"),
        ({**READY, "caCertificates": [entry(WEST), entry(SOUTH, domains=("gone.test",))]}, "StrangeTrustDomain"),
    ],
)
def test_what_is_amiss_is_told(content: dict[str, Any], reason: str) -> None:
    """Each by its own reason."""
    assert reason in reasons(config(**{"caCertificates": [entry(WEST)], **content}))


def test_a_root_that_istiod_ignores_is_told_where_it_can_be_seen() -> None:
    """With a control plane elsewhere nobody knows its environment."""
    found = config(**READY, caCertificates=[entry(WEST)])
    assert reasons(found, multiroot=False) == ["MultiRootOff"]
    assert reasons(found, multiroot=None) == []


def test_without_peers_only_the_own_trust_domain_counts() -> None:
    """A cluster that has joined nobody yet needs nothing of the rest."""
    assert reasons(config(trustDomain="east.test"), {}, multiroot=False) == []
    assert reasons(config(), {}) == ["TrustDomainDiffers"]


def test_certificates_that_are_fetched_are_believed_to_be_there() -> None:
    """What istiod got is not to be seen, so that nothing is claimed about it: neither a fault nor that it verifies."""
    fetched = {"spiffeBundleUrl": "https://bundles.west.test", "trustDomains": ["west.test"]}
    found = config(**READY, caCertificates=[fetched])
    assert reasons(found) == []
    assert verified_domains(found, PEERS) == frozenset()


def test_a_domain_is_verified_once_all_its_certificates_are_there() -> None:
    """A next CA that is only in the bundle is not verified by yet."""
    found = config(**READY, caCertificates=[entry(WEST)])
    assert verified_domains(found, PEERS) == {"west.test"}
    assert verified_domains(found, {"west.test": (WEST.der, NEXT.der)}) == frozenset()


@pytest.mark.parametrize("mesh", ["", "{}", "caCertificates: 7", "trustDomainAliases: {a: b}", "defaultConfig: []"])
def test_odd_content_counts_as_nothing(mesh: str) -> None:
    """It is Istio's to refuse."""
    assert parse_mesh_config({"data": {"mesh": mesh}}) == MeshConfig()


@pytest.mark.parametrize("mesh", ["- a", "a: [", "a: 1\na: 2"])
def test_what_is_no_mapping_is_an_error(mesh: str) -> None:
    """Nothing can be said about the mesh then."""
    with pytest.raises(ValueError):  # noqa: PT011  (YAML's errors and ours)
        parse_mesh_config({"data": {"mesh": mesh}})


def test_a_certificate_that_is_none_is_one_that_is_missing() -> None:
    """A damaged copy does not count."""
    damaged = WEST.pem.replace("\n", "\n!", 2)
    assert "CaNotTrusted" in reasons(config(**READY, caCertificates=[{"pem": damaged, "trustDomains": ["west.test"]}]))


def test_no_certificate_stands_in_a_problem() -> None:
    """Problems go to logs and reports; the fragment is asked for."""
    for problem in check_trust(MeshConfig(), PEERS, trust_domain="east.test", multiroot=False):
        assert "BEGIN" not in problem.message
