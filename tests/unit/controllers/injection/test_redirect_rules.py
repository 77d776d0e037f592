"""The text for iptables-restore: whose connections are redirected, how often it may be applied, how it is undone.

What a kernel makes of it is held by tests/envoy/test_redirect.py.
"""

from __future__ import annotations

from ipaddress import ip_network

import pytest

from controllers.injection.redirect_rules import Redirect, parse_networks, plan_redirect, plan_undo
from federation.model.errors import ConfigError

SAVED = """*nat
:PREROUTING ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:FEDERATION_OUTPUT - [0:0]
-A OUTPUT -p tcp -j FEDERATION_OUTPUT
-A FEDERATION_OUTPUT -p tcp -j REDIRECT --to-ports 15001
COMMIT
"""


def test_all_but_the_proxys_own_and_what_stays_within_is_redirected() -> None:
    """The chain is made or emptied, and jumped to, in one transaction."""
    assert plan_redirect(Redirect(), 4, "").splitlines() == [
        "*nat",
        ":FEDERATION_OUTPUT - [0:0]",
        "-A FEDERATION_OUTPUT -m owner --uid-owner 1337 -j RETURN",
        "-A FEDERATION_OUTPUT -o lo -j RETURN",
        "-A FEDERATION_OUTPUT -d 127.0.0.0/8 -j RETURN",
        "-A FEDERATION_OUTPUT -p tcp -j REDIRECT --to-ports 15001",
        "-A OUTPUT -p tcp -j FEDERATION_OUTPUT",
        "COMMIT",
    ]


def test_what_is_excluded_comes_before_what_is_included() -> None:
    """Each family gets its own networks only; ports count for both."""
    networks = parse_networks(["10.96.0.0/12", "fd00::/108"], "--include")
    redirect = Redirect(7, 15009, networks, parse_networks(["10.96.0.1", "fd00::1/128"], "--exclude"), (53, 5432))
    rules = {
        family: [line.partition(" FEDERATION_OUTPUT ")[2] for line in plan_redirect(redirect, family, "").splitlines()]
        for family in (4, 6)
    }

    assert rules[4][5:-2] == [
        "-p tcp --dport 53 -j RETURN",
        "-p tcp --dport 5432 -j RETURN",
        "-d 10.96.0.1/32 -j RETURN",
        "-d 10.96.0.0/12 -p tcp -j REDIRECT --to-ports 15009",
    ]
    assert rules[6][4] == "-d ::1/128 -j RETURN"
    assert rules[6][7:-2] == ["-d fd00::1/128 -j RETURN", "-d fd00::/108 -p tcp -j REDIRECT --to-ports 15009"]


def test_only_networks_of_another_family_redirect_nothing_of_this_one() -> None:
    """An included network of IPv6 does not make all of IPv4 included."""
    redirect = Redirect(include=(ip_network("fd00::/108"),))
    assert "REDIRECT" not in plan_redirect(redirect, 4, "")
    assert "REDIRECT" in plan_redirect(redirect, 6, "")


def test_what_is_there_already_is_not_jumped_to_twice() -> None:
    """The rules are written anew, the jump stays the one."""
    assert "-A OUTPUT" not in plan_redirect(Redirect(), 4, SAVED)
    assert plan_redirect(Redirect(), 4, SAVED).count("REDIRECT") == 1


def test_undo_takes_all_of_ours_and_nothing_else() -> None:
    """Every jump, then the chain; where nothing is there, nothing is done."""
    twice = SAVED.replace("COMMIT", "-A OUTPUT -p tcp -j FEDERATION_OUTPUT\nCOMMIT")
    assert plan_undo(twice).splitlines() == [
        "*nat",
        *["-D OUTPUT -p tcp -j FEDERATION_OUTPUT"] * 2,
        "-F FEDERATION_OUTPUT",
        "-X FEDERATION_OUTPUT",
        "COMMIT",
    ]
    assert plan_undo("*nat\n:OUTPUT ACCEPT [0:0]\nCOMMIT\n") == ""


def test_every_bad_network_is_named() -> None:
    """All violations at once, each with the option that it was given to."""
    with pytest.raises(ConfigError) as caught:
        parse_networks(["10.0.0.1/8", "10.0.0.0/8", "east"], "--include")
    assert [violation.partition(":")[0] for violation in caught.value.violations] == ["--include"] * 2
    assert "10.0.0.1/8 has host bits set" in caught.value.violations[0]
