"""What founding and joining write is taken back whole; what a membership has left is forgotten."""

from __future__ import annotations

from pathlib import Path

import pytest

from federation.app.member_files import MemberFiles, forget
from federation.membership.roster_file import RosterFile
from federation.model.configuration import ClusterSettings
from federation.model.errors import ConfigError, TrustError
from federation.model.settings import parse_cluster_settings


def settings_of(directory: Path, credentials: str) -> ClusterSettings:
    text = "{clusterset: demo, cluster: west, region: r, trustDomain: west.example, exchange: {url: 'redis://h', "
    return parse_cluster_settings(f"{text}credentialsFile: {credentials}}}}}", directory=directory)


def tree(directory: Path) -> dict[str, bytes | None]:
    return {
        str(path.relative_to(directory)): path.read_bytes() if path.is_file() else None for path in directory.rglob("*")
    }


def test_what_was_made_is_taken_back(tmp_path: Path) -> None:
    """Files, the key and the directories that were made for them; what was there has its content of before."""
    old = tmp_path / "old"
    old.write_bytes(b"before")
    before = tree(tmp_path)
    files = MemberFiles()
    files.put(old, b"after")
    files.put(old, b"after that")
    files.put(tmp_path / "a" / "b" / "secret", b"secret")
    files.put_text(tmp_path / "a" / "text", "text")
    files.key(tmp_path / "c" / "member.key")
    assert len(tree(tmp_path)) == 7
    files.take_back()
    assert tree(tmp_path) == before


def test_what_others_put_beside_it_stays(tmp_path: Path) -> None:
    """A directory that was made and is used by somebody else meanwhile is not removed."""
    files = MemberFiles()
    files.put(tmp_path / "a" / "secret", b"secret")
    (tmp_path / "a" / "manifest.yaml").write_text("mine")
    files.take_back()
    assert tree(tmp_path) == {"a": None, "a/manifest.yaml": b"mine"}


def test_secrets_are_private_and_settings_are_not(tmp_path: Path) -> None:
    """0600 for a private file and the key, whatever its directory."""
    files = MemberFiles()
    files.put(tmp_path / "secret", b"secret")
    files.key(tmp_path / "member.key")
    files.put_text(tmp_path / "cluster.yaml", "text")
    modes = [(tmp_path / name).stat().st_mode & 0o777 for name in ("secret", "member.key")]
    assert (modes, (tmp_path / "cluster.yaml").read_text()) == ([0o600, 0o600], "text")


def test_a_key_that_is_there_is_used_and_kept(tmp_path: Path) -> None:
    """Also when all else is taken back; one that others can read is refused."""
    first = MemberFiles().key(tmp_path / "member.key")
    files = MemberFiles()
    second = files.key(tmp_path / "member.key")
    files.take_back()
    assert first.private_bytes_raw() == second.private_bytes_raw()
    (tmp_path / "member.key").chmod(0o644)
    with pytest.raises(TrustError, match="wider than 0600"):
        MemberFiles().key(tmp_path / "member.key")


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    """As a fault of the configuration, not as a crash."""
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"file/secret can't be written"):
        MemberFiles().put(tmp_path / "file" / "secret", b"")


def test_a_membership_is_forgotten_whole(tmp_path: Path) -> None:
    """Both keys, the password, the roster and what was heard of others; manifests, settings and CA stay; twice is
    once."""
    settings = settings_of(tmp_path, "exchange.credentials")
    (tmp_path / "state" / "replicas").mkdir(parents=True)
    kept = ("cluster.yaml", "echo.yaml", "state/ca")
    for name in (
        "member.key",
        "member.key.next",
        "exchange.credentials",
        "state/leaving",
        "state/replicas/east",
        *kept,
    ):
        (tmp_path / name).write_text("x")
    RosterFile(settings.state_directory).path.write_text("x")
    forget(settings)
    forget(settings)
    assert sorted(tree(tmp_path)) == sorted([*kept, "state"])


def test_a_password_that_was_made_by_hand_is_not_ours_to_remove(tmp_path: Path) -> None:
    """A file of another name than the one that joining makes belongs to the operator."""
    (tmp_path / "by.hand").write_text("u:p\n")
    forget(settings_of(tmp_path, "by.hand"))
    assert (tmp_path / "by.hand").exists()
