"""The member key and the next one: a crash at any step of a change leaves the key that the roster names."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from federation.app.member_keys import MemberKeys
from federation.membership.keys import load_signing_key, public_key, save_signing_key
from federation.membership.roster import RosterMember
from federation.model.errors import ConfigError, TrustError
from support.membership_values import EAST, NOW, key, public, roster_member

OWN = roster_member(EAST)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    save_signing_key(tmp_path / "member.key", key(EAST))
    return tmp_path / "member.key"


def rekeyed(fresh: bytes) -> RosterMember:
    """East as the roster has it once the authority granted another key."""
    return replace(OWN, public_key=fresh, retiring_key=OWN.public_key, retiring_until=NOW + timedelta(minutes=5))


def files(path: Path) -> list[str]:
    return sorted(file.name for file in path.parent.iterdir())


def test_the_next_key_is_made_once_and_private(path: Path) -> None:
    """Who asks again, after a crash too, is given the same key: the authority may have been asked for it already."""
    first, second = MemberKeys(path).prepare(), MemberKeys(path).prepare()
    assert public_key(first) == public_key(second) == MemberKeys(path).prepared
    assert path.with_name("member.key.next").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("granted", [False, True])
def test_a_crash_before_the_change_ends_with_the_key_that_the_roster_names(granted: bool, path: Path) -> None:
    """Not granted, the present key stays and the next one waits; granted, the next one takes its place."""
    fresh = public_key(MemberKeys(path).prepare())
    own = rekeyed(fresh) if granted else OWN
    assert public_key(MemberKeys(path).load(own)) == own.public_key
    assert (public_key(load_signing_key(path)), files(path)) == (
        own.public_key,
        ["member.key"] if granted else ["member.key", "member.key.next"],
    )


def test_a_crash_after_the_change_finds_it_done(path: Path) -> None:
    """The key before is destroyed."""
    keys = MemberKeys(path)
    fresh = public_key(keys.prepare())
    keys.activate()
    assert (public_key(MemberKeys(path).load(rekeyed(fresh))), files(path)) == (fresh, ["member.key"])


@pytest.mark.parametrize("content", [b"", b"-----BEGIN PRIVATE KEY-----\n"])
def test_a_torn_next_key_keeps_nobody_from_starting(content: bytes, path: Path) -> None:
    """It was never asked for: the present key is used, and another next one is made in its place."""
    path.with_name("member.key.next").write_bytes(content)
    keys = MemberKeys(path)
    assert (public_key(keys.load(OWN)), keys.prepared) == (public(EAST), None)
    assert public_key(keys.prepare()) == keys.prepared


def test_a_granted_key_that_cannot_be_moved_is_used_where_it_is(path: Path) -> None:
    """A directory in the way of the file is no reason to stand still with a good key."""
    keys = MemberKeys(path)
    fresh = public_key(keys.prepare())
    path.unlink()
    (path / "occupied").mkdir(parents=True)
    assert public_key(keys.load(rekeyed(fresh))) == fresh


def test_a_key_that_the_roster_does_not_name_is_refused(path: Path) -> None:
    """Also the one that retires: without the next key it would be believed for minutes, and then no more."""
    for own in (roster_member(EAST, "another"), rekeyed(public("another"))):
        with pytest.raises(TrustError, match="not the one that the roster names") as caught:
            MemberKeys(path).load(own)
        assert caught.value.reason == "WrongKey"


def test_a_missing_key_is_told(path: Path) -> None:
    """The key is made once, at the join: that it is gone is an error of what is there, with a hint."""
    path.unlink()
    with pytest.raises(ConfigError, match="is not there") as caught:
        MemberKeys(path).load(OWN)
    assert "restore it" in caught.value.hint


def test_a_next_key_that_cannot_be_written_is_told(path: Path) -> None:
    """As a value of the error family: the change of keys fails, not the controller."""
    (path.parent / ".member.key.next.new").mkdir()
    with pytest.raises(TrustError, match="can't be written"):
        MemberKeys(path).prepare()


def test_an_abandoned_key_is_gone(path: Path) -> None:
    """What was refused for good is not asked for again."""
    keys = MemberKeys(path)
    keys.prepare()
    keys.abandon()
    assert (keys.prepared, files(path)) == (None, ["member.key"])
