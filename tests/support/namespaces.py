"""Network namespaces joined by a bridge: networks of clusters that can be cut from one another, gone at the end.

Addresses are 10.203.N.0/24: .1, .2 and so on are the namespaces, .254 is this machine, which reaches all of them.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from contextlib import ExitStack
from dataclasses import dataclass

import pytest


@dataclass(frozen=True)
class Namespace:
    """One network namespace and its address."""

    name: str
    host: str

    @property
    def prefix(self) -> tuple[str, ...]:
        return ("ip", "netns", "exec", self.name)

    def run(self, *command: str) -> str:
        return run(*self.prefix, *command)

    def cut(self, other: Namespace) -> None:
        """Drop all packets from and to the other; its own end says nothing either way."""
        self.run("iptables", "-A", "INPUT", "-s", other.host, "-j", "DROP")
        self.run("iptables", "-A", "OUTPUT", "-d", other.host, "-j", "DROP")

    def heal(self) -> None:
        self.run("iptables", "-F")


def run(*command: str) -> str:
    """What a command prints; raises OSError with its last words where it fails."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    if done.returncode:
        raise OSError(f"{' '.join(command[:6])}: {done.stderr.strip()[-300:]}")
    return done.stdout


def skip_without_namespaces() -> None:
    """Skip the test where network namespaces can't be had, with the reason."""
    if os.geteuid() != 0:
        pytest.skip("network namespaces need root")
    if missing := [program for program in ("ip", "iptables") if shutil.which(program) is None]:
        pytest.skip(f"not on this machine: {', '.join(missing)}")


def bridged_namespaces(stack: ExitStack, count: int) -> tuple[Namespace, ...]:
    """Namespaces that reach one another; skips where they can't be had."""
    skip_without_namespaces()
    suffix = os.getpid() % 10_000_000
    network, bridge = f"10.203.{suffix % 250}", f"fgb{suffix}"
    made = tuple(Namespace(f"fg{number}n{suffix}", f"{network}.{number}") for number in range(1, count + 1))
    try:
        run("ip", "link", "add", bridge, "type", "bridge")
        stack.callback(run, "ip", "link", "del", bridge)
        run("ip", "address", "add", f"{network}.254/24", "dev", bridge)
        run("ip", "link", "set", bridge, "up")
        for number, namespace in enumerate(made, 1):
            run("ip", "netns", "add", namespace.name)
            stack.callback(run, "ip", "netns", "del", namespace.name)
            outside = f"fg{number}v{suffix}"
            run("ip", "link", "add", outside, "type", "veth", "peer", "name", "eth0", "netns", namespace.name)
            # A namespace lives on while a connection in it has packets to send again.
            stack.callback(run, "ip", "link", "del", outside)
            run("ip", "link", "set", outside, "master", bridge, "up")
            namespace.run("ip", "link", "set", "lo", "up")
            namespace.run("ip", "address", "add", f"{namespace.host}/24", "dev", "eth0")
            namespace.run("ip", "link", "set", "eth0", "up")
        made[0].run("iptables", "-L")
    except OSError as error:
        pytest.skip(f"no network namespaces with iptables here: {error}")
    return made
