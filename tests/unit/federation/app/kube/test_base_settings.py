"""Settings of an installation and of a membership, put together."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from federation.app.kube.base_settings import composed, parse_base_settings
from federation.model.errors import ConfigError

BASE = "region: eu\nkubernetes: {}\nhttp: {listen: 0.0.0.0:15014}\nexchange: {leaseSeconds: 5}\ncluster: other\n"
MEMBER = "clusterset: acme\ncluster: east\ntrustDomain: east.acme\nregion: us\nexchange: {url: redis://r}\nzone: a\n"


def test_the_membership_says_who_the_cluster_is_and_the_installation_the_rest() -> None:
    """Where the exchange is the membership says, as long as the installation does not."""
    assert yaml.safe_load(composed(BASE, MEMBER)) == {
        "clusterset": "acme",
        "cluster": "east",
        "trustDomain": "east.acme",
        "region": "eu",
        "zone": "a",
        "kubernetes": {},
        "http": {"listen": "0.0.0.0:15014"},
        "exchange": {"leaseSeconds": 5, "url": "redis://r"},
    }


def test_an_installation_moves_a_member_to_another_exchange() -> None:
    """By the CA and with the user that it has; a later installation that says nothing leaves it there."""
    member = MEMBER.replace("redis://r", "rediss://r, caFile: exchange-ca.pem, credentialsFile: exchange.credentials")
    moved = composed("kubernetes: {}\nexchange: {url: 'rediss://new'}\n", member)
    there = {"url": "rediss://new", "caFile": "exchange-ca.pem", "credentialsFile": "exchange.credentials"}

    assert yaml.safe_load(moved)["exchange"] == there
    assert yaml.safe_load(composed("kubernetes: {}\n", moved))["exchange"] == there


def test_what_an_installation_says_no_more_is_gone() -> None:
    """Otherwise the settings of an earlier one would stay for ever, beneath all that follow."""
    once = composed(f"{BASE}ca: {{bundleFile: /ca/bundle.pem}}\nmesh: {{sidecarPort: 0}}\n", MEMBER)
    again = yaml.safe_load(composed("kubernetes: {}\nexchange: {beatSeconds: 2}\n", once))

    assert sorted(again) == ["cluster", "clusterset", "exchange", "kubernetes", "region", "trustDomain", "zone"]
    assert again["exchange"] == {"beatSeconds": 2, "url": "redis://r"}


def test_to_put_them_together_again_changes_nothing() -> None:
    """It is done at every start."""
    once = composed(BASE, MEMBER)

    assert composed(BASE, once) == once


def test_an_installation_is_judged_before_there_is_a_membership() -> None:
    """Every violation is told then; and a section that is none of Kubernetes' is no installation there."""
    assert parse_base_settings(BASE, directory=Path("/d")).http.listen.port == 15014
    for text, told in (("region: eu", "kubernetes"), ("kubernetes: {}\nhttp: 1", "http"), ("- 1", "mapping")):
        with pytest.raises(ConfigError, match=told):
            parse_base_settings(text, directory=Path("/d"))


@pytest.mark.parametrize("key", ["stateDirectory", "memberKeyFile", "authorityDirectory"])
def test_what_is_shared_stays_in_its_place(key: str) -> None:
    """Elsewhere it would go with the pod."""
    with pytest.raises(ConfigError, match=key):
        parse_base_settings(f"{BASE}{key}: /elsewhere\n", directory=Path("/d"))
