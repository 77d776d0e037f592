"""The command lines of docker, kind, kubectl and our own that make a clusterset. Pure: what is run, not running it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from federation.app.kind.topology import KindCluster

NAMESPACE: Final = "federation-system"
ADMIN_FILE: Final = "exchange-admin.credentials"
CA_FILE: Final = "exchange-ca.pem"
EXCHANGE_NODE_PORT: Final = 30379

_LAST_LINES: Final = 12
_QUICK: Final = 60.0
_SLOW: Final = 900.0
"""Image builds and downloads on a slow line."""
READY_SECONDS: Final = 300
_OURS: Final = READY_SECONDS + _QUICK


@dataclass(frozen=True, slots=True)
class Command:
    """A program and its arguments."""

    words: tuple[str, ...]
    stdin: str = field(default="", repr=False)
    """May be a secret: never shown."""
    seconds: float = _QUICK
    """How long it may take."""
    title: str = ""
    """How it is called in messages; empty: by its first words."""

    @property
    def told(self) -> str:
        return self.title or " ".join(self.words[:3])


@dataclass(frozen=True, slots=True)
class Ended:
    """What came of a command."""

    code: int
    stdout: str
    stderr: str

    @property
    def last_lines(self) -> str:
        """What it said at the end, as evidence for a person."""
        lines = (self.stderr or self.stdout).strip().splitlines()
        return "\n".join(line.rstrip() for line in lines[-_LAST_LINES:])


def docker(*words: str, seconds: float = _QUICK) -> Command:
    return Command(("docker", *words), seconds=seconds)


def kind(*words: str, seconds: float = _QUICK) -> Command:
    return Command(("kind", *words), seconds=seconds)


@dataclass(frozen=True, slots=True)
class Kit:
    """What the commands of one run have in common."""

    work: Path
    """A private directory: kubeconfigs, values, credentials of the exchange. It goes with the run."""
    program: tuple[str, ...]
    """The words that start our own command line."""

    def kubeconfig(self, cluster: KindCluster) -> Path:
        """Of the cluster alone."""
        return self.work / f"{cluster.name}.kubeconfig"

    def values(self, cluster: KindCluster) -> Path:
        return self.work / f"{cluster.name}.values.yaml"

    def kubectl(self, cluster: KindCluster, *words: str, stdin: str = "", seconds: float = _QUICK) -> Command:
        return Command(("kubectl", "--kubeconfig", str(self.kubeconfig(cluster)), *words), stdin, seconds)

    def rolled_out(self, cluster: KindCluster, namespace: str, workload: str) -> Command:
        """Waits until every pod of it is new and ready."""
        words = ("rollout", "status", workload, "--namespace", namespace, f"--timeout={READY_SECONDS}s")
        return self.kubectl(cluster, *words, seconds=READY_SECONDS + _QUICK)

    def federation(
        self, cluster: KindCluster, command: Sequence[str], *options: str, stdin: str = "", seconds: float = _OURS
    ) -> Command:
        """One of our own commands, for a cluster."""
        access = ("--kubeconfig", str(self.kubeconfig(cluster)), "--context", cluster.context, "--namespace", NAMESPACE)
        title = f"federation {' '.join(command)} --context {cluster.context}"
        return Command((*self.program, *command, *access, *options), stdin, seconds, title)

    def install(self, cluster: KindCluster) -> Command:
        return self.federation(cluster, ["install"], "-f", str(self.values(cluster)))

    def init(self, cluster: KindCluster, clusterset: str) -> Command:
        told = ("--clusterset", clusterset, "--cluster-id", cluster.name, "--region", cluster.region)
        # By the name of its container the node is known on docker's network, on which all nodes are, and in their pods.
        url = f"rediss://{cluster.control_plane}:{EXCHANGE_NODE_PORT}"
        known = ("--exchange-ca", str(self.work / CA_FILE), "--exchange-admin", str(self.work / ADMIN_FILE))
        return self.federation(cluster, ["init"], *told, "--exchange", url, *known)

    def token(self, seat: KindCluster, cluster: KindCluster) -> Command:
        return self.federation(seat, ["token", "create"], "--cluster", cluster.name)

    def join(self, cluster: KindCluster, token: str) -> Command:
        """The token goes by standard input: command lines are seen by everybody on the host."""
        return self.federation(cluster, ["join"], "--region", cluster.region, "--token-file", "-", stdin=token)

    def dns_install(self, cluster: KindCluster) -> Command:
        return self.federation(cluster, ["dns", "install"])


def create(cluster: KindCluster, kubeconfig: Path, node_image: str) -> Command:
    """``kubeconfig`` is a file of its own: runs side by side would lock each other out of the user's."""
    words = ("create", "cluster", "--name", cluster.name, "--config", str(cluster.config))
    image = ("--image", node_image) if node_image else ()
    wait = ("--kubeconfig", str(kubeconfig), "--wait", f"{READY_SECONDS}s", *image)
    return kind(*words, *wait, seconds=_SLOW)


def delete(cluster: KindCluster) -> Command:
    return kind("delete", "cluster", "--name", cluster.name, seconds=_SLOW)


def load(image: str, cluster: KindCluster) -> Command:
    return kind("load", "docker-image", image, "--name", cluster.name, seconds=_SLOW)


def build(image: str, source: Path) -> Command:
    dockerfile = source / "deploy" / "image" / "Dockerfile"
    return docker("build", "--tag", image, "--file", str(dockerfile), str(source), seconds=_SLOW)


def pull(image: str) -> Command:
    return docker("pull", image, seconds=_SLOW)


def image_id(image: str) -> Command:
    return docker("image", "inspect", "--format", "{{.Id}}", image)


def images_on(node: str) -> Command:
    """What is loaded on a node, as JSON."""
    return docker("exec", node, "crictl", "images", "--output", "json")
