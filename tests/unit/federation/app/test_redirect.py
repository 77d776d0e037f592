"""Which iptables is used, and what is said where none will do it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from controllers.injection.redirect_rules import Redirect, plan_redirect
from federation.app.redirect import Answer, has_ipv6, remove_redirect, run_program, set_redirect
from federation.model.errors import FederationError, MissingProgramError

GOOD = Answer(0, "", "")


class Programs:
    """Programs that answer what they are told to, by name; the rest succeeds."""

    def __init__(self, **answers: Answer) -> None:
        self.answers = {name.replace("_", "-"): answer for name, answer in answers.items()}
        self.calls: list[tuple[tuple[str, ...], str]] = []

    def __call__(self, command: tuple[str, ...], text: str) -> Answer:
        self.calls.append((command, text))
        return self.answers.get(command[0], GOOD)


def install(directory: Path, monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    """A machine that has these programs and no others."""
    for name in names:
        for half in ("save", "restore"):
            path = directory / f"{name}-{half}"
            path.write_text("")
            path.chmod(0o700)
    monkeypatch.setenv("PATH", str(directory))


def test_the_machines_own_iptables_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One look, one transaction that leaves other rules alone, for each family."""
    install(tmp_path, monkeypatch, "iptables", "iptables-legacy", "ip6tables")
    programs = Programs()

    assert set_redirect(Redirect(), (4, 6), programs) == ("iptables", "ip6tables")
    assert programs.calls == [
        (("iptables-save", "-t", "nat"), ""),
        (("iptables-restore", "--noflush"), plan_redirect(Redirect(), 4, "")),
        (("ip6tables-save", "-t", "nat"), ""),
        (("ip6tables-restore", "--noflush"), plan_redirect(Redirect(), 6, "")),
    ]


@pytest.mark.parametrize("half", ["save", "restore"])
def test_a_kernel_without_nf_tables_gets_the_legacy_rules(
    half: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever step fails, the next iptables is tried."""
    install(tmp_path, monkeypatch, "iptables", "iptables-legacy")
    programs = Programs(**{f"iptables_{half}": Answer(3, "", "Failed to initialize nft: Protocol not supported")})
    assert set_redirect(Redirect(), (4,), programs) == ("iptables-legacy",)


def test_a_refusal_names_every_program_and_its_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With what it takes."""
    install(tmp_path, monkeypatch, "iptables", "iptables-legacy")
    refused = Answer(4, "", "Permission denied (you must be root)")
    with pytest.raises(FederationError) as caught:
        set_redirect(Redirect(), (4,), Programs(iptables_save=refused, iptables_legacy_restore=Answer(2, "", "")))
    assert str(caught.value).endswith("iptables: Permission denied (you must be root); iptables-legacy: exit code 2")
    assert "NET_ADMIN" in caught.value.hint


def test_a_machine_without_iptables_is_told_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It can't be redirected; there is nothing to undo."""
    install(tmp_path, monkeypatch)
    with pytest.raises(MissingProgramError):
        set_redirect(Redirect(), (4,), Programs())
    assert remove_redirect(Programs()) == ()


def test_undo_asks_whoever_has_rules_of_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The others are left alone; one that can't be undone is told."""
    install(tmp_path, monkeypatch, "iptables", "iptables-legacy", "ip6tables")
    ours = Answer(0, plan_redirect(Redirect(), 4, ""), "")
    programs = Programs(iptables_legacy_save=ours)

    assert remove_redirect(programs) == ("iptables-legacy",)
    assert [command[0] for command, text in programs.calls if text] == ["iptables-legacy-restore"]
    with pytest.raises(FederationError, match="busy"):
        remove_redirect(Programs(iptables_save=ours, iptables_restore=Answer(1, "", "busy")))


def test_programs_get_their_input_and_never_raise() -> None:
    """One that isn't there has ended badly, with the reason."""
    assert run_program(("cat",), "rules") == Answer(0, "rules", "")
    missing = run_program((f"{os.devnull}/none",), "")
    assert missing.code != 0
    assert missing.words != ""


_LOOPBACK = "00000000000000000000000000000001 01 80 10 80       lo\n"
_LINK = "fe80000000000000004200fffe000001 02 40 20 80     eth0\n"
_OWN = "fd000000000000000000000000000001 02 40 00 80     eth0\n"


@pytest.mark.parametrize(
    ("interfaces", "there"),
    [(None, False), ("", False), (_LOOPBACK + _LINK, False), (_LOOPBACK + _OWN + _LINK, True)],
    ids=["no IPv6 in the kernel", "none", "of the link alone", "of its own"],
)
def test_a_pod_has_ipv6_with_an_address_that_others_reach(
    tmp_path: Path, interfaces: str | None, *, there: bool
) -> None:
    """Every interface has one of its link, which leads nowhere."""
    path = tmp_path / "if_inet6"
    if interfaces is not None:
        path.write_text(interfaces)
    assert has_ipv6(path) is there
