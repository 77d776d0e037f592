"""Looks whether a step is true, and makes it true, with docker, kind, kubectl and our own commands. An edge."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from federation.app.kind import commands
from federation.app.kind.commands import ADMIN_FILE, CA_FILE, NAMESPACE, Command, Ended, docker, kind
from federation.app.kind.flow import Tell
from federation.app.kind.host_checks import HostFacts, judge_host
from federation.app.kind.installation import EXCHANGE_KEYS, digest, exchange_image, values_text
from federation.app.kind.look import Look
from federation.app.kind.plan import Deed, StepId
from federation.app.kind.programs import ProgramError, output, run, succeeded
from federation.app.kind.sample import SAMPLE_NAMESPACE, URL, call, deployments, sample_manifests
from federation.app.kind.sight import DIGEST, has_image, read_digest, read_secret
from federation.app.kind.topology import KindCluster
from federation.install.vocabulary import CONTROLLER, EXCHANGE, GATEWAY
from federation.model.errors import ConfigError, FederationError, MissingProgramError
from federation.storage.private_file import replace_private

BUILT: Final = "federation-gateway:kind"
"""What the image is called while it is built; it is then named after what is in it, so that a change rolls out."""
LIMITS = Path("/proc/sys/fs/inotify")
CALLS: Final = 12
TRIES = 60
"""Of what takes some seconds after what it waits for: a first leader; endpoints, trust and names that travel."""
PAUSE_SECONDS = 2.0
"""Between two tries."""
_NOBODY_LEADS: Final = 3
"""Exit code of our command line: there is nobody yet who could do it."""


@dataclass(frozen=True, slots=True)
class Options:
    """What a run is told beside the topology."""

    image: str = ""
    """Ready-made; empty: built from ``source``."""
    node_image: str = ""
    """Of kind's nodes; empty: kind's own."""
    source: Path = Path()
    """The checkout."""


class Deeds:
    """The steps of one topology; ``answers`` counts those of the final calls, by the cluster that gave them."""

    def __init__(self, look: Look, options: Options, tell: Tell) -> None:
        self.answers: Counter[str] = Counter()
        self._look = look
        self._topology = look.topology
        self._kit = look.kit
        self._options = options
        self._tell = tell
        self._image = options.image
        self._user_kubeconfig = asyncio.Lock()
        self._nodes: dict[str, tuple[str, ...]] = {}
        self._clusters = {cluster.name: cluster for cluster in self._topology.clusters}
        never: Callable[[], Awaitable[bool]] = _false
        self._once: Mapping[Deed, tuple[Callable[[], Awaitable[bool]], Callable[[], Awaitable[None]]]] = {
            Deed.HOST: (self._host_is_good, _nothing),
            Deed.IMAGE: (self._image_is_there, self._make_image),
            Deed.CALL: (never, self._call),
        }
        self._in_cluster: Mapping[
            Deed, tuple[Callable[[KindCluster], Awaitable[bool]], Callable[[KindCluster], Awaitable[None]]]
        ] = {
            Deed.CLUSTER: (self._cluster_runs, self._make_cluster),
            Deed.LOAD: (self._image_is_loaded, self._load_image),
            Deed.EXCHANGE_IMAGE: (self._exchange_image_is_loaded, self._load_exchange_image),
            Deed.INSTALL: (self._is_installed, self._install),
            Deed.EXCHANGE: (self._exchange_runs, self._await_exchange),
            Deed.FOUND: (self._look.is_member, self._found),
            Deed.AUTHORITY: (self._controllers_run, self._await_controllers),
            Deed.JOIN: (self._look.is_member, self._join),
            Deed.READY: (self._all_run, self._await_all),
            Deed.DNS: (self._look.forwards, self._forward),
            Deed.SAMPLE: (self._sample_runs, self._deploy_sample),
        }

    async def is_true(self, step: StepId) -> bool:
        if step.deed in self._once:
            return await self._once[step.deed][0]()
        return await self._in_cluster[step.deed][0](self._clusters[step.cluster])

    async def make_true(self, step: StepId) -> None:
        if step.deed in self._once:
            await self._once[step.deed][1]()
        else:
            await self._in_cluster[step.deed][1](self._clusters[step.cluster])

    # Host and image

    async def _host_is_good(self) -> bool:
        facts = HostFacts(
            await _tried(docker("version", "--format", "{{.Server.Version}}")),
            await _tried(docker("info", "--format", "{{.MemTotal}}")),
            await _tried(kind("version")),
            await _tried(Command(("kubectl", "version", "--client", "--output", "json"))),
            _limits(LIMITS),
        )
        if lacks := judge_host(facts, sum(cluster.nodes for cluster in self._topology.clusters)):
            raise ConfigError(
                "this host can't have the clusters",
                violations=[f"{lack.what}: {lack.fix}" for lack in lacks],
                hint="`federation demo` shows the same without docker, on this machine's processes",
            )
        return True

    async def _image_is_there(self) -> bool:
        if not self._options.image:
            # Docker keeps what has not changed; building looks at everything anyway.
            return False
        return not (await run(commands.image_id(self._options.image))).code

    async def _make_image(self) -> None:
        if self._options.image:
            await output(commands.pull(self._options.image))
            return
        source = self._options.source
        if not (source / "deploy" / "image" / "Dockerfile").is_file():
            raise ConfigError(
                f"{source} has no deploy/image/Dockerfile to build the image from",
                hint="run it in the checkout, or name a ready-made image with --image",
            )
        await output(commands.build(BUILT, source))
        content = (await output(commands.image_id(BUILT))).strip().removeprefix("sha256:")
        self._image = f"{BUILT}-{content[:12]}"
        await output(docker("tag", BUILT, self._image))

    # One cluster

    async def _cluster_runs(self, cluster: KindCluster) -> bool:
        if cluster.name not in await self._look.existing():
            return False
        await self._look.take_kubeconfig(cluster)
        return await self._nodes_are_ready(cluster)

    async def _nodes_are_ready(self, cluster: KindCluster) -> bool:
        nodes = await self._look.nodes(cluster)
        self._nodes[cluster.name] = nodes.names
        return nodes.ready >= max(len(nodes.names), cluster.nodes)

    async def _make_cluster(self, cluster: KindCluster) -> None:
        if cluster.name not in await self._look.existing():
            try:
                await output(commands.create(cluster, self._kit.kubeconfig(cluster), self._options.node_image))
            except BaseException:
                # Cut off or failed: what kind left would be in the way of the next run. It was not there before.
                await asyncio.shield(run(commands.delete(cluster)))
                raise
            await self._look.take_kubeconfig(cluster)
        async with self._user_kubeconfig:
            await output(kind("export", "kubeconfig", "--name", cluster.name))
        ready = ("wait", "--for=condition=Ready", "nodes", "--all", f"--timeout={commands.READY_SECONDS}s")
        await output(self._kit.kubectl(cluster, *ready, seconds=commands.READY_SECONDS + 60.0))
        if not await self._nodes_are_ready(cluster):
            raise ProgramError(
                f"cluster {cluster.name} has not all of its {cluster.nodes} nodes",
                hint=f"`kind delete cluster --name {cluster.name}`, and do the same again",
            )

    async def _is_loaded(self, cluster: KindCluster, image: str, *, lasting: bool) -> bool:
        wanted = (await self._look.found(commands.image_id(image))).strip()
        nodes = self._nodes[cluster.name]
        printed = await asyncio.gather(*(self._look.found(commands.images_on(node)) for node in nodes))
        return all(has_image(one, wanted, image if lasting else "") for one in printed)

    async def _image_is_loaded(self, cluster: KindCluster) -> bool:
        # One that was built here is named after its content; of another nobody knows.
        return await self._is_loaded(cluster, self._image, lasting=not self._options.image)

    async def _load_image(self, cluster: KindCluster) -> None:
        await output(commands.load(self._image, cluster))

    async def _exchange_image_is_loaded(self, cluster: KindCluster) -> bool:
        return await self._is_loaded(cluster, exchange_image(self._topology), lasting=True)

    async def _load_exchange_image(self, cluster: KindCluster) -> None:
        image = exchange_image(self._topology)
        if (await run(commands.image_id(image))).code:
            await output(commands.pull(image))
        await output(commands.load(image, cluster))

    async def _is_installed(self, cluster: KindCluster) -> bool:
        words = ("get", "namespace", NAMESPACE, "--output", "json")
        there = read_digest(await self._look.found(self._kit.kubectl(cluster, *words)))
        return there == digest(values_text(self._topology, cluster, self._image))

    async def _install(self, cluster: KindCluster) -> None:
        values = values_text(self._topology, cluster, self._image)
        replace_private(self._kit.values(cluster), values.encode())
        await output(self._kit.install(cluster))
        note = f"{DIGEST}={digest(values)}"
        await output(self._kit.kubectl(cluster, "annotate", "--overwrite", "namespace", NAMESPACE, note))

    # Exchange and membership

    async def _exchange_runs(self, cluster: KindCluster) -> bool:
        words = ("rollout", "status", f"statefulset/{EXCHANGE}", "--namespace", NAMESPACE, "--watch=false")
        return "complete" in await self._look.found(self._kit.kubectl(cluster, *words))

    async def _await_exchange(self, cluster: KindCluster) -> None:
        await output(self._kit.rolled_out(cluster, NAMESPACE, f"statefulset/{EXCHANGE}"))

    async def _found(self, cluster: KindCluster) -> None:
        words = ("get", "secret", EXCHANGE, "--namespace", NAMESPACE, "--output", "json")
        values = read_secret(await output(self._kit.kubectl(cluster, *words)), *EXCHANGE_KEYS)
        if values is None:
            raise ProgramError(
                f"Secret {NAMESPACE}/{EXCHANGE} of {cluster.name} lacks {' or '.join(EXCHANGE_KEYS)}",
                hint="`federation install` makes it: has somebody replaced it?",
            )
        for name, value in zip((CA_FILE, ADMIN_FILE), values, strict=True):
            replace_private(self._kit.work / name, value)
        await self._led(self._kit.init(cluster, self._topology.clusterset))

    async def _join(self, cluster: KindCluster) -> None:
        token = await self._led(self._kit.token(self._topology.seat, cluster))
        await self._led(self._kit.join(cluster, token.strip()))

    async def _led(self, command: Command) -> str:
        """What one of our commands prints that runs in the pod that leads: controllers that have just been installed,
        or have just lost their leader, need a moment."""
        for _ in range(TRIES):
            ended = await run(command)
            if ended.code != _NOBODY_LEADS:
                break
            await asyncio.sleep(PAUSE_SECONDS)
        return succeeded(command, ended)

    async def _controllers_run(self, cluster: KindCluster) -> bool:
        return (await self._look.workload(cluster, NAMESPACE, CONTROLLER)).whole

    async def _await_controllers(self, cluster: KindCluster) -> None:
        await output(self._kit.rolled_out(cluster, NAMESPACE, f"deployment/{CONTROLLER}"))

    async def _all_run(self, cluster: KindCluster) -> bool:
        return (await self._look.workload(cluster, NAMESPACE, CONTROLLER, GATEWAY)).whole

    async def _await_all(self, cluster: KindCluster) -> None:
        for name in (CONTROLLER, GATEWAY):
            await output(self._kit.rolled_out(cluster, NAMESPACE, f"deployment/{name}"))

    async def _forward(self, cluster: KindCluster) -> None:
        await output(self._kit.dns_install(cluster))

    # Sample

    def _manifests(self, cluster: KindCluster) -> str:
        return sample_manifests(self._topology, cluster, self._image)

    async def _sample_runs(self, cluster: KindCluster) -> bool:
        # It exits with 1 where something differs.
        same = await run(self._kit.kubectl(cluster, "diff", "--filename", "-", stdin=self._manifests(cluster)))
        return not same.code and (await self._look.sample(cluster)).whole

    async def _deploy_sample(self, cluster: KindCluster) -> None:
        await output(self._kit.kubectl(cluster, "apply", "--filename", "-", stdin=self._manifests(cluster)))
        for name in deployments(self._topology, cluster):
            await output(self._kit.rolled_out(cluster, SAMPLE_NAMESPACE, f"deployment/{name}"))

    async def _call(self) -> None:
        for name in self._topology.callers:
            asked = call(self._kit, self._clusters[name])
            self._tell(f"kubectl --context {self._clusters[name].context} {' '.join(asked.words[3:9])} GET {URL}")
            await self._first_answer(asked)
            for _ in range(CALLS):
                self.answers[_cluster_of(await output(asked))] += 1
        self._tell(f"answers: {', '.join(f'{count} from {name}' for name, count in sorted(self.answers.items()))}")

    async def _first_answer(self, asked: Command) -> None:
        for _ in range(TRIES):
            ended = await run(asked)
            if not ended.code:
                return
            await asyncio.sleep(PAUSE_SECONDS)
        raise ProgramError(
            f"no answer from {URL}: {ended.last_lines.splitlines()[-1] if ended.last_lines else 'it says nothing'}",
            hint="docs/kind.md says what to look at, step by step",
        )


def _cluster_of(answer: str) -> str:
    try:
        return str(json.loads(answer)["cluster"])
    except (ValueError, LookupError, TypeError) as error:
        raise ProgramError(f"the sample answers something else: {answer[:200]!r}") from error


def _limits(directory: Path) -> dict[str, int]:
    found = {}
    for name in ("max_user_instances", "max_user_watches"):
        try:
            found[name] = int((directory / name).read_text())
        except (OSError, ValueError):
            continue
    return found


async def _tried(command: Command) -> Ended | None:
    try:
        return await run(command)
    except MissingProgramError:
        return None
    except FederationError as error:
        return Ended(1, "", str(error))


async def _false() -> bool:
    return False


async def _nothing() -> None:
    return None
