"""cluster.yaml as it is made, and one that is there held against what was agreed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from federation.app.cluster_file import Place, Terms, cluster_text, settle
from federation.app.member_files import MemberFiles
from federation.model.errors import ConfigError
from federation.model.exchange_address import parse_exchange_address
from federation.model.settings import parse_cluster_settings

TERMS = Terms("acme", "west", "west.acme", parse_exchange_address("rediss://redis.example:6379"), True, True)
PLACE = Place("us", "lan", "us-1", "10.0.0.7:15443")


def test_a_new_file_says_all_that_was_given(tmp_path: Path) -> None:
    """And reads as good settings."""
    settings = parse_cluster_settings(cluster_text(TERMS, PLACE), directory=tmp_path)
    assert (settings.clusterset, settings.cluster, settings.trust_domain) == ("acme", "west", "west.acme")
    assert (settings.region, settings.network, settings.zone) == ("us", "lan", "us-1")
    assert str(settings.gateway.listen) == "10.0.0.7:15443"
    assert (settings.exchange.url, settings.exchange.ca_file, settings.exchange.credentials_file) == (
        TERMS.exchange,
        tmp_path / "exchange-ca.pem",
        tmp_path / "exchange.credentials",
    )


def test_what_was_not_given_is_left_to_the_defaults(tmp_path: Path) -> None:
    """The least there is to say: no CA, no password, no place but the region."""
    bare = cluster_text(replace(TERMS, pinned=False, credentials=False), Place("us"))
    keys = [line.partition(":")[0] for line in bare.splitlines()[1:]]
    assert keys == ["clusterset", "cluster", "region", "trustDomain", "exchange", "  url"]


def test_the_file_that_was_made_agrees_and_is_not_written_again(tmp_path: Path) -> None:
    """The second time it is read, also without a place, and left as it is."""
    settle(tmp_path, TERMS, PLACE, MemberFiles())
    (tmp_path / "cluster.yaml").write_text((tmp_path / "cluster.yaml").read_text() + "# mine\n")
    files = MemberFiles()
    assert settle(tmp_path, TERMS, None, files).cluster == "west"
    files.take_back()
    assert (tmp_path / "cluster.yaml").read_text().endswith("# mine\n")


def test_without_a_region_none_is_made(tmp_path: Path) -> None:
    """And the hint names the option."""
    with pytest.raises(ConfigError, match="no region is given") as caught:
        settle(tmp_path, TERMS, None, MemberFiles())
    assert "--region" in caught.value.hint


def test_an_installation_in_kubernetes_says_what_the_membership_does_not(tmp_path: Path) -> None:
    """Its region counts too, so that none need be given; without one the file is not made."""
    base = tmp_path / "base.yaml"
    base.write_text("region: eu\nkubernetes: {}\n")
    settings = settle(tmp_path, TERMS, None, MemberFiles())
    (tmp_path / "cluster.yaml").unlink()
    base.write_text("kubernetes: {}\n")
    with pytest.raises(ConfigError, match="region: is required"):
        settle(tmp_path, TERMS, None, MemberFiles())

    assert (settings.region, settings.cluster, settings.kubernetes is None) == ("eu", "west", False)


def test_every_key_that_disagrees_is_named(tmp_path: Path) -> None:
    """With what it is and what it must be."""
    settle(tmp_path, replace(TERMS, pinned=False, credentials=False), PLACE, MemberFiles())
    other = replace(TERMS, clusterset="b", cluster="c", trust_domain="d", exchange=parse_exchange_address("redis://e"))
    with pytest.raises(ConfigError, match="disagrees") as caught:
        settle(tmp_path, other, PLACE, MemberFiles())
    assert [violation.partition(":")[0] for violation in caught.value.violations] == [
        "clusterset",
        "cluster",
        "trustDomain",
        "exchange.url",
        "exchange.caFile",
        "exchange.credentialsFile",
    ]
    assert f"exchange.caFile: is not set, must be {tmp_path / 'exchange-ca.pem'}" in caught.value.violations


def test_a_place_that_is_none_is_refused(tmp_path: Path) -> None:
    """And the file that was made for it is taken back with the rest."""
    files = MemberFiles()
    with pytest.raises(ConfigError, match=r"gateway\.listen"):
        settle(tmp_path / "new", TERMS, Place("us", gateway="nowhere"), files)
    files.take_back()
    assert not (tmp_path / "new").exists()
