"""A pod as the injection makes it, run in a network namespace: its init containers in their order, then its proxy.

Arguments, environment, users and capabilities are those of the containers. What is not: the places of volumes, and that
the first step runs as root without rights, since another user may not be able to read this Python.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from controllers.injection.annotations import Tuning
from controllers.injection.pod_patch import (
    ENVOY,
    PROXY_DIRECTORY,
    TOKEN_DIRECTORY,
    TRUST_DIRECTORY,
    TRUST_KEY,
    Injection,
    with_sidecar,
)
from controllers.injection.policy import BOOTSTRAP_CONTAINER, PROXY_CONTAINER
from federation.app.programs import find_envoy
from support.namespaces import Namespace
from support.processes import Child, federation_command

_VOLUMES = {PROXY_DIRECTORY: "proxy", TOKEN_DIRECTORY: "token", TRUST_DIRECTORY: "trust"}


class InjectedPod:
    """One pod of a network namespace; ``facts`` are its fields that containers are told, by path."""

    def __init__(
        self, stack: ExitStack, network: Namespace, injection: Injection, tuning: Tuning, facts: Mapping[str, str]
    ) -> None:
        pod: Any = with_sidecar({"metadata": {}, "spec": {"containers": [{"name": "app"}]}}, injection, tuning)
        self.containers: dict[str, Any] = {
            one["name"]: one for one in [*pod["spec"]["initContainers"], *pod["spec"]["containers"]]
        }
        del self.containers["app"]
        self._network = network
        self._facts = facts
        # Not below the test's own directory, which other users can't enter.
        self._root = Path(tempfile.mkdtemp(prefix="fgpod"))
        stack.callback(shutil.rmtree, self._root)
        self._root.chmod(0o755)
        for name in _VOLUMES.values():
            (self._root / name).mkdir()
        # The kubelet makes an empty volume that everybody may write.
        (self._root / "proxy").chmod(0o777)
        proxy = self.containers[PROXY_CONTAINER]
        self.proxy = Child("proxy", self._command(proxy), self._root / "proxy.log")

    def mount(self, token: Path, trust_bundle: Path) -> None:
        """Fill the volumes, with the modes that the kubelet gives where containers run as several users."""
        for source, target in ((token, "token/token"), (trust_bundle, f"trust/{TRUST_KEY}")):
            shutil.copyfile(source, self._root / target)
            (self._root / target).chmod(0o644)

    def start(self) -> None:
        """As the kubelet does: each step to its end, then the proxy."""
        for name, container in self.containers.items():
            if name != PROXY_CONTAINER:
                self._network.run(*self._command(container, inside=False))
        self.proxy.start()

    def capabilities(self) -> set[str]:
        """What the proxy's process may, and may ever get to."""
        lines = Path(f"/proc/{self.proxy.pid}/status").read_text().splitlines()
        return {line.split()[1].lstrip("0") for line in lines if line.startswith("Cap")}

    def _command(self, container: Any, *, inside: bool = True) -> list[str]:
        prefix = self._network.prefix if inside else ()
        words = container.get("command") or federation_command()
        program = [str(find_envoy()) if word == ENVOY else word for word in words]
        return [*prefix, *self._environment(container), *_rights(container), *program, *self._moved(container["args"])]

    def _environment(self, container: Any) -> list[str]:
        told = [f"{one['name']}={self._value(one)}" for one in container.get("env", ())]
        return ["env", *self._moved(told)]

    def _value(self, variable: Any) -> str:
        if "value" in variable:
            return str(variable["value"])
        return self._facts[variable["valueFrom"]["fieldRef"]["fieldPath"]]

    def _moved(self, words: list[str]) -> list[str]:
        """The words, with the places of volumes as they are on this machine."""
        moved = []
        for word in words:
            for path, name in _VOLUMES.items():
                word = word.replace(path, str(self._root / name))  # noqa: PLW2901 - one place after the other
            moved.append(word)
        return moved


def _rights(container: Any) -> list[str]:
    """The user of a container with its capabilities and no others, and without a way to more."""
    context = container["securityContext"]
    user = 0 if container["name"] == BOOTSTRAP_CONTAINER else context["runAsUser"]
    assert context["capabilities"]["drop"] == ["ALL"]
    kept = "".join(f",+{name.lower()}" for name in context["capabilities"].get("add", ()))
    return [
        "setpriv",
        *("--reuid", str(user), "--regid", str(user), "--clear-groups"),
        *("--inh-caps=-all", f"--bounding-set=-all{kept}", "--no-new-privs", "--pdeathsig", "KILL"),
    ]
