"""`federation redirect`: what its options come to."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from controllers.injection.redirect_rules import Redirect, parse_networks, plan_redirect
from federation.app import redirect as edge
from federation.cli.main import app


def test_options_become_rules() -> None:
    """What is printed is what would be applied."""
    options = [
        "--uid",
        "7",
        "--port",
        "9",
        "--include",
        "10.96.0.0/12",
        "--exclude",
        "10.96.0.1",
        "--exclude-port",
        "53",
        "--no-ipv6",
    ]
    done = CliRunner().invoke(app, ["redirect", *options, "--print"])
    wanted = Redirect(7, 9, parse_networks(["10.96.0.0/12"], ""), parse_networks(["10.96.0.1"], ""), (53,))
    assert (done.exit_code, done.output) == (0, plan_redirect(wanted, 4, ""))


def test_both_families_are_printed_where_both_are_asked_for() -> None:
    """First IPv4."""
    done = CliRunner().invoke(app, ["redirect", "--ipv6", "--print"])
    assert done.output == plan_redirect(Redirect(), 4, "") + plan_redirect(Redirect(), 6, "")


@pytest.mark.parametrize("there", [False, True])
def test_ipv6_is_redirected_where_there_is_an_address_of_it(monkeypatch: pytest.MonkeyPatch, *, there: bool) -> None:
    """Unless the options say which."""
    monkeypatch.setattr(edge, "has_ipv6", lambda: there)
    done = CliRunner().invoke(app, ["redirect", "--print"])
    assert done.output == plan_redirect(Redirect(), 4, "") + (plan_redirect(Redirect(), 6, "") if there else "")


def test_it_says_what_was_done(monkeypatch: pytest.MonkeyPatch) -> None:
    """Applied, undone, and nothing to undo."""
    undone: list[tuple[str, ...]] = [("iptables",), ()]
    monkeypatch.setattr(edge, "set_redirect", lambda wanted, families: ("iptables",) if families == (4,) else ())
    monkeypatch.setattr(edge, "remove_redirect", lambda: undone.pop(0))
    monkeypatch.setattr(edge, "has_ipv6", lambda: False)
    outputs = [CliRunner().invoke(app, ["redirect", *options]).output for options in ([], ["--undo"], ["--undo"])]
    assert outputs == [
        "TCP connections of this network namespace go to port 15001 (iptables)\n",
        "no longer redirected (iptables)\n",
        "nothing was redirected\n",
    ]
