"""Reading cluster.yaml and sidecar.yaml from disk."""

from __future__ import annotations

from pathlib import Path

import pytest

from federation.app.sites import load_cluster, load_sidecar
from federation.model.errors import ConfigError

CLUSTER = """\
{clusterset: acme, cluster: us-east, region: us, trustDomain: us-east.acme, memberKeyFile: member.key,
 exchange: {url: "redis://127.0.0.1"}, xds: {listen: "127.0.0.1:15012"}}
"""
SIDECAR = "{clusterDirectory: .., namespace: demo, serviceAccount: echo, address: 127.0.0.1}"


def test_paths_are_relative_to_the_clusters_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever a command is run, a path in cluster.yaml starts at its own directory."""
    (tmp_path / "us-east").mkdir()
    (tmp_path / "us-east" / "cluster.yaml").write_text(CLUSTER)
    monkeypatch.chdir(tmp_path)
    settings = load_cluster(Path("us-east"))
    assert (settings.cluster, settings.member_key_file) == ("us-east", tmp_path / "us-east" / "member.key")


def test_paths_are_relative_to_the_sidecars_file(tmp_path: Path) -> None:
    """A sidecar's file may lie anywhere: its paths start where it is."""
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "sidecar.yaml").write_text(SIDECAR)
    assert load_sidecar(tmp_path / "a" / "sidecar.yaml").cluster_directory.resolve() == tmp_path


def test_every_violation_is_told_with_the_file(tmp_path: Path) -> None:
    """The error names the file and carries all that is wrong in it."""
    (tmp_path / "cluster.yaml").write_text(CLUSTER.replace("region", "regoin").replace("redis://", "http://"))
    with pytest.raises(ConfigError, match=f"^{tmp_path}/cluster.yaml: ") as caught:
        load_cluster(tmp_path)
    assert sorted(violation.partition(":")[0] for violation in caught.value.violations) == [
        "exchange.url",
        "region",
        "regoin",
    ]


def test_a_missing_cluster_file_hints_at_the_option(tmp_path: Path) -> None:
    """Who forgot --dir is told about it."""
    with pytest.raises(ConfigError, match=r"cluster.yaml can't be read: No such file") as caught:
        load_cluster(tmp_path)
    assert "--dir" in caught.value.hint


def test_a_missing_sidecar_file_hints_at_its_reference(tmp_path: Path) -> None:
    """The hint is about sidecars, not about clusters."""
    with pytest.raises(ConfigError, match=r"sidecar.yaml can't be read: No such file") as caught:
        load_sidecar(tmp_path / "sidecar.yaml")
    assert "docs/reference/sidecar.yaml" in caught.value.hint


def test_text_that_is_not_utf_8_is_refused(tmp_path: Path) -> None:
    """Bytes that are no text are an error of the file, not of the program."""
    (tmp_path / "cluster.yaml").write_bytes(b"clusterset: \xff\n")
    with pytest.raises(ConfigError, match="is not UTF-8 text"):
        load_cluster(tmp_path)
