"""Connections of this network namespace to its sidecar, by iptables: applies what ``redirect_rules`` plans.

An edge. There are two implementations of iptables (nf_tables and legacy) with rules of their own, and which one works
is up to the kernel: the one that the machine prefers is tried first.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from controllers.injection.redirect_rules import Family, Redirect, plan_redirect, plan_undo
from federation.model.errors import FederationError, MissingProgramError

_NAMES: Final[dict[Family, str]] = {4: "iptables", 6: "ip6tables"}
_VARIANTS: Final = ("", "-nft", "-legacy")
_SECONDS: Final = 30.0
_INTERFACES: Final = Path("/proc/net/if_inet6")
# Address, interface's number, length of the prefix, scope, flags, interface (net/ipv6/addrconf.c, if6_seq_show).
_GLOBAL_SCOPE: Final = "00"
_MAX_WORDS: Final = 300

Run = Callable[[tuple[str, ...], str], "Answer"]


@dataclass(frozen=True, slots=True)
class Answer:
    """How a program ended."""

    code: int
    output: str
    words: str
    """Of its standard error."""


def has_ipv6(interfaces: Path = _INTERFACES) -> bool:
    """Whether this network namespace has an address of IPv6 by which others are reached, not of a link or host."""
    try:
        lines = interfaces.read_text().splitlines()
    except OSError:
        # A kernel without IPv6.
        return False
    return any(line.split()[3:4] == [_GLOBAL_SCOPE] for line in lines)


def run_program(command: tuple[str, ...], text: str) -> Answer:
    """Run a program to its end, with ``text`` on its standard input."""
    try:
        done = subprocess.run(command, input=text, capture_output=True, text=True, check=False, timeout=_SECONDS)
    except (OSError, subprocess.TimeoutExpired) as error:
        return Answer(1, "", str(error))
    return Answer(done.returncode, done.stdout, done.stderr.strip())


def set_redirect(redirect: Redirect, families: tuple[Family, ...], run: Run = run_program) -> tuple[str, ...]:
    """Have the connections redirected from now on, exactly as it says; returns the programs that were used.

    Raises MissingProgramError without iptables, FederationError where the kernel or the rights don't allow it.
    """
    return tuple(_set(redirect, family, run) for family in families)


def remove_redirect(run: Run = run_program) -> tuple[str, ...]:
    """Take all rules of ours away, whichever iptables holds them; returns the programs that had any."""
    return tuple(name for family in _NAMES for name in _remove(family, run))


def _set(redirect: Redirect, family: Family, run: Run) -> str:
    programs = _programs(family)
    if not programs:
        raise MissingProgramError(
            f"{_NAMES[family]}-restore is not on this machine", hint="install iptables, or use the project's image"
        )
    failures: list[str] = []
    for name in programs:
        saved = run((f"{name}-save", "-t", "nat"), "")
        if not saved.code:
            answer = run((f"{name}-restore", "--noflush"), plan_redirect(redirect, family, saved.output))
            if not answer.code:
                return name
            saved = answer
        failures.append(f"{name}: {saved.words[:_MAX_WORDS] or f'exit code {saved.code}'}")
    raise _refused(failures)


def _remove(family: Family, run: Run) -> Iterator[str]:
    for name in _programs(family):
        saved = run((f"{name}-save", "-t", "nat"), "")
        undo = "" if saved.code else plan_undo(saved.output)
        if undo:
            answer = run((f"{name}-restore", "--noflush"), undo)
            if answer.code:
                raise _refused([f"{name}: {answer.words[:_MAX_WORDS]}"])
            yield name


def _programs(family: Family) -> tuple[str, ...]:
    names = [f"{_NAMES[family]}{variant}" for variant in _VARIANTS]
    return tuple(name for name in names if shutil.which(f"{name}-restore") and shutil.which(f"{name}-save"))


def _refused(failures: list[str]) -> FederationError:
    return FederationError(
        f"connections can't be redirected: {'; '.join(failures)}",
        hint="it takes root with the capabilities NET_ADMIN and NET_RAW, and a kernel with nf_tables or iptable_nat",
    )
