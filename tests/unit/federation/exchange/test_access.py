"""The ACL rules, as text; what servers make of them is in tests/contract/test_access.py."""

from __future__ import annotations

from fnmatch import fnmatchcase

import pytest

from federation.exchange.access import authority_rules, has_member_users, member_rules, passwords_of, username
from federation.exchange.board import stored_keys
from federation.model.names import ClusterId

EAST, WEST = ClusterId("east"), ClusterId("west")
OWN = ("log", "man", "lease", "snap:[0-9]", "snap:[1-5][0-9]", "snap:6[0-3]", "request")
SCRIPTS = {"eval", "evalsha", "eval_ro", "evalsha_ro", "script", "script|load", "fcall", "function"}


def test_names_of_users_are_never_those_of_another_clusterset() -> None:
    """A dot, which is in no DNS label, parts clusterset and cluster."""
    assert username("a", ClusterId("b-c")) == "fg.a.b-c"
    assert username("a-b", ClusterId("c")) == "fg.a-b.c"


def test_a_member_writes_its_own_and_reads_all() -> None:
    """Beside its own keys and channels all is read-only, and nothing of an administrator's is given."""
    rules = member_rules("acme", EAST)
    own = [*(f"~fg:acme:{{east}}:{name}" for name in OWN), "%R~fg:acme:*"]
    assert [rule for rule in rules if rule[0] in "~%"] == own
    assert [rule for rule in rules if rule[0] == "&"] == ["&fg:acme:{east}:n", "&fg:acme:requests"]
    assert rules[-1] == "(+subscribe resetchannels &fg:acme:*)"
    given = {rule[1:] for rule in rules if rule[0] == "+"}
    assert given.isdisjoint({"@all", "subscribe", "psubscribe", "keys", "config", "flushall", "acl|list", *SCRIPTS})
    assert rules[:4] == ("resetkeys", "resetchannels", "clearselectors", "-@all")


def test_a_member_may_write_what_a_purge_removes() -> None:
    """Every key that its patterns allow is one that the authority removes with it, and all of those but the answer,
    which is the authority's, are allowed."""
    patterns = [rule[1:] for rule in member_rules("acme", EAST) if rule[0] == "~"]
    purged = stored_keys("acme", EAST)
    allowed = {key for key in purged if any(fnmatchcase(key, pattern) for pattern in patterns)}
    assert set(purged) - allowed == {"fg:acme:{east}:answer"}
    others = [f"fg:acme:{{east}}:{name}" for name in ("snap:64", "snap:70", "snap:007", "snap:", "check", "answer", "")]
    assert not any(fnmatchcase(key, pattern) for key in others for pattern in patterns)


def test_the_authority_has_the_clusterset_and_its_users() -> None:
    """All keys and channels of the clusterset, and ACL; nothing else of an administrator's."""
    rules = authority_rules("acme")
    assert [rule for rule in rules if rule[0] in "~%&"] == ["~fg:acme:*", "&fg:acme:*"]
    given = {rule[1:] for rule in rules if rule[0] == "+"}
    assert {"acl|setuser", "acl|deluser", "acl|list", "subscribe", "publish"} <= given
    assert given.isdisjoint({"@all", "acl", "keys", "config", "flushall", *SCRIPTS})


@pytest.mark.parametrize(
    ("version", "new_enough"),
    [("redis 7.0.0", True), ("redis 8.2.1", True), ("valkey 7.2.5", True), ("redis 6.2.14", False), ("redis ?", False)],
)
def test_members_are_kept_apart_from_redis_7_on(version: str, new_enough: bool) -> None:
    """Valkey began with Redis 7.2."""
    assert has_member_users(version) is new_enough


def test_users_of_all_servers_are_seen() -> None:
    """A user that one server lacks is shown without the passwords that it would need; others' users are not shown."""
    first = [
        "user default on nopass ~* &* +@all",
        "user fg.acme.east on #aa #bb ~fg:acme:{east}:* -@all +get",
        "user fg.acme.west on sanitize-payload #cc -@all",
        "user fg.acme on #dd -@all",
        "user fg.other.east on #ee -@all",
        "user fg.acme.NO on #ff -@all",
    ]
    second = ["user fg.acme.east on #bb -@all"]
    assert passwords_of("acme", [first]) == {EAST: frozenset({"aa", "bb"}), WEST: frozenset({"cc"})}
    assert passwords_of("acme", [first, second]) == {EAST: frozenset({"bb"}), WEST: frozenset()}
