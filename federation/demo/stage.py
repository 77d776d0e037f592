"""The stage: the directories, and the processes of three clusters, that the story starts, breaks and brings back.

An edge. It runs what a user would run (``federation init``, ``token create``, ``join``, ``controller``, …) and waits
for what a user would look at: ``/readyz``, Envoy's own readiness, certificates as they are served.
"""

from __future__ import annotations

import asyncio
import os
import sys
from asyncio.subprocess import PIPE
from collections.abc import Awaitable, Callable, Iterable, Sequence
from pathlib import Path

import aiohttp

from federation.demo.caller import Targets
from federation.demo.certificates import presented_serials, served_issuer
from federation.demo.processes import POLL_SECONDS, Child, Fleet
from federation.demo.sites import (
    BACKEND_ACCOUNT,
    BILLING,
    CLIENT_ACCOUNT,
    CLUSTERSET,
    ECHO,
    LEDGER,
    NAMESPACE,
    SLOW,
    ClientPlan,
    PodPlan,
    SitePlan,
    cluster_text,
    manifests,
    renewed,
    sidecar_text,
)
from federation.exchange.secure_server import ExchangeServer
from federation.membership.tokens import create_token
from federation.model.addresses import HostPort
from federation.model.errors import FederationError
from federation.model.names import sni

FEDERATION = (sys.executable, "-P", "-m", "federation.cli.main")
"""The command line tool, run from this very environment."""

_WORKLOADS = (sys.executable, "-P", "-m", "federation.demo.workloads")

READY_SECONDS = 60.0
"""Far longer than anything takes to start: twenty processes on one busy core."""


class Stage:
    """The clusters and Redis, as processes. Nothing runs before ``start``; the fleet's owner ends what runs."""

    def __init__(self, root: Path, sites: Sequence[SitePlan], fleet: Fleet, exchange: ExchangeServer) -> None:
        self.root = root
        self.sites = {site.cluster: site for site in sites}
        self._fleet = fleet
        self._exchange = exchange
        self._running: dict[str, Child] = {}
        self._client = next(site.client for site in sites if site.client is not None)

    @property
    def client(self) -> ClientPlan:
        return self._client

    @property
    def targets(self) -> Targets:
        """Where the caller finds its services: its sidecar's local ports."""
        ports = self.client.outbound
        return Targets(echo=ports[ECHO], slow=ports[SLOW], billing=ports[BILLING], ledger=ports[LEDGER])

    def directory(self, cluster: str) -> Path:
        return self.root / cluster

    def write_files(self) -> None:
        """Write every cluster's directory: settings, the proxies' tokens and manifests."""
        for cluster, site in self.sites.items():
            directory = self.directory(cluster)
            (directory / "tokens").mkdir(mode=0o700, parents=True)
            accounts = [BACKEND_ACCOUNT] if site.client is None else [BACKEND_ACCOUNT, CLIENT_ACCOUNT]
            for name in ("gateway", *(f"{NAMESPACE}.{account}" for account in accounts)):
                create_token(directory / "tokens" / f"{name}.token")
            (directory / "cluster.yaml").write_text(cluster_text(site, exchange_url=self._exchange.url))
            self._write_manifests(site, ready=True)

    async def start(self) -> None:
        """Write the directories, found the clusterset and have the others join it, start everything, and wait until
        all of it is ready.
        """
        self._exchange.start()
        self.write_files()
        seat, *others = self.sites
        await self._found(seat)
        self.start_controllers([seat])
        await asyncio.gather(*(self._admit(seat, cluster) for cluster in others))
        self.start_controllers(others)
        for site in self.sites.values():
            self._start_gateway(site)
            for pod in site.pods:
                self._start_application(pod)
                self._start_sidecar(pod)
        self._start_sidecar(self.client)
        await asyncio.gather(
            self.controllers_ready(self.sites),
            *(self._envoy_ready(site.gateway_admin) for site in self.sites.values()),
            *(self._envoy_ready(pod.admin) for site in self.sites.values() for pod in site.pods),
            self._envoy_ready(self.client.admin),
        )

    def check(self) -> None:
        """Raise ProcessDiedError if a process has ended that nobody killed."""
        self._fleet.check()

    # What the story breaks

    async def kill_pods(self, cluster: str) -> None:
        """Kill -9 every backend pod: the application, its sidecar and the sidecar's Envoy."""
        await self._kill(self._pod_processes(cluster))

    async def freeze_pods(self, cluster: str) -> None:
        """SIGSTOP the same processes: connections stay open, and nothing comes back."""
        await self._fleet.freeze(self._running[name] for name in self._pod_processes(cluster))

    def thaw_pods(self, cluster: str) -> None:
        self._fleet.thaw(self._running[name] for name in self._pod_processes(cluster))

    async def kill_cluster(self, cluster: str) -> None:
        """Kill -9 a whole cluster: controller, gateway and pods at once."""
        names = [f"{cluster}-controller", f"{cluster}-gateway", *self._pod_processes(cluster)]
        await self._kill(names)

    async def kill_controllers(self, clusters: Iterable[str]) -> None:
        await self._kill(f"{cluster}-controller" for cluster in clusters)

    def kill_redis(self) -> None:
        self._exchange.kill()

    # What the story brings back

    def start_redis(self) -> None:
        """Start Redis as it is after the loss of its data: empty."""
        self._exchange.start()

    def start_controllers(self, clusters: Iterable[str]) -> None:
        for cluster in clusters:
            command = (*FEDERATION, "controller", "--dir", str(self.directory(cluster)))
            self._start(f"{cluster}-controller", command)

    async def controllers_ready(self, clusters: Iterable[str]) -> None:
        await asyncio.gather(
            *(
                self._answers(f"http://{self.sites[cluster].http}/readyz", f"{cluster}-controller")
                for cluster in clusters
            )
        )

    async def start_gateway(self, cluster: str) -> None:
        site = self.sites[cluster]
        self._start_gateway(site)
        await self._envoy_ready(site.gateway_admin)

    async def replace_pods(self, cluster: str) -> None:
        """Start new backend pods for those that are gone, as Kubernetes would.

        They are in the slices from the start, which is how their sidecars know what to take, but ready only once
        application and sidecar answer.
        """
        self.sites[cluster] = site = renewed(self.sites[cluster])
        self._write_manifests(site, ready=False)
        for pod in site.pods:
            self._start_application(pod)
            self._start_sidecar(pod)
        await asyncio.gather(
            *(self._answers(f"http://{pod.apps[ECHO]}/healthz", pod.full_name) for pod in site.pods),
            *(self._serving(pod) for pod in site.pods),
        )
        self._write_manifests(site, ready=True)

    async def rotate_ca(self, cluster: str) -> None:
        """Force a rotation with ``federation rotate ca``, and wait until every sidecar of the cluster has a certificate
        of the new CA.
        """
        pods = self.sites[cluster].pods
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=2)) as session:
            issuers = await self._issuers(pods)
            serials = await presented_serials(session, self.client.admin)
            await self._run("rotate", "ca", "--dir", str(self.directory(cluster)))

            async def replaced() -> bool:
                now = await self._issuers(pods)
                new_everywhere = all(new is not None and new != old for old, new in zip(issuers, now, strict=True))
                return new_everywhere and bool(await presented_serials(session, self.client.admin) - serials)

            await poll(replaced, f"certificates of {cluster}'s new CA", READY_SECONDS, check=self._fleet.check)

    async def _issuers(self, pods: Iterable[PodPlan]) -> list[bytes | None]:
        return [await served_issuer(pod.inbound, sni(ECHO.key, ECHO.port)) for pod in pods]

    # How it is done

    async def _found(self, seat: str) -> None:
        pinned = ("--exchange-ca", str(self._exchange.ca_file)) if self._exchange.ca_file.exists() else ()
        await self._run(
            *("init", "--dir", str(self.directory(seat)), "--clusterset", CLUSTERSET, "--cluster-id", seat),
            *("--exchange", self._exchange.url, *pinned, "--exchange-admin", str(self._exchange.admin_file)),
        )

    async def _admit(self, seat: str, cluster: str) -> None:
        """One token, one command."""
        token = await self._run("token", "create", "--dir", str(self.directory(seat)), "--cluster", cluster)
        await self._run("join", "--dir", str(self.directory(cluster)), "--token-file", "-", given=token)

    async def _run(self, *arguments: str, given: str = "") -> str:
        """What a command of the command line prints; raises FederationError with its words where it fails."""
        process = await asyncio.create_subprocess_exec(
            *(*FEDERATION, *arguments), stdin=PIPE, stdout=PIPE, stderr=PIPE, env=child_environment()
        )
        try:
            async with asyncio.timeout(READY_SECONDS):
                output, words = await process.communicate(given.encode())
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        if process.returncode:
            raise FederationError(f"`federation {arguments[0]}` failed: {words.decode(errors='replace').strip()}")
        return output.decode()

    def _write_manifests(self, site: SitePlan, *, ready: bool) -> None:
        directory = self.directory(site.cluster)
        for name, text in manifests(site, ready=ready).items():
            # Replaced in one step, so that the controller never reads half a file.
            (directory / f".{name}").write_text(text)
            (directory / f".{name}").replace(directory / name)

    def _start(self, name: str, command: Sequence[str]) -> None:
        self._running[name] = self._fleet.start(name, command)

    def _start_gateway(self, site: SitePlan) -> None:
        command = (*FEDERATION, "gateway", "--dir", str(self.directory(site.cluster)), "--drain", "0s")
        self._start(f"{site.cluster}-gateway", command)

    def _start_sidecar(self, workload: PodPlan | ClientPlan) -> None:
        path = self.directory(workload.cluster) / f"sidecar-{workload.name}.yaml"
        path.write_text(sidecar_text(workload))
        command = (*FEDERATION, "sidecar", "--config", str(path), "--drain", "0s")
        self._start(f"{workload.full_name}-sidecar", command)

    def _start_application(self, pod: PodPlan) -> None:
        ports = [
            f"--{'http' if service.is_http else 'tcp'}={service.name}={listen}+{service.delay_seconds}"
            for service, listen in pod.apps.items()
        ]
        self._start(f"{pod.full_name}-app", (*_WORKLOADS, "--cluster", pod.cluster, "--pod", pod.name, *ports))

    def _pod_processes(self, cluster: str) -> list[str]:
        return [f"{pod.full_name}-{part}" for pod in self.sites[cluster].pods for part in ("app", "sidecar")]

    async def _kill(self, names: Iterable[str]) -> None:
        await self._fleet.kill([self._running.pop(name) for name in names])

    async def _envoy_ready(self, admin: HostPort) -> None:
        await self._answers(f"http://{admin}/ready", f"Envoy at {admin}")

    async def _serving(self, pod: PodPlan) -> None:
        """Wait until the pod's sidecar shows a certificate for each of its services."""
        for service in pod.apps:

            async def serving(name: str = sni(service.key, service.port)) -> bool:
                return await served_issuer(pod.inbound, name) is not None

            await poll(serving, f"{pod.full_name} to serve {service.name}", READY_SECONDS, check=self._fleet.check)

    async def _answers(self, url: str, what: str) -> None:
        """Wait until a GET of ``url`` answers 200; raises early where a process of ours has died."""
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=2)) as session:
            await poll(
                lambda: _is_ok(session, url), f"{what} to be ready ({url})", READY_SECONDS, check=self._fleet.check
            )


async def poll(
    condition: Callable[[], Awaitable[bool]], what: str, seconds: float, *, check: Callable[[], None]
) -> None:
    """Wait for a state that takes a call to see; ``check`` may raise while it is waited for."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    while not await condition():
        check()
        if loop.time() > deadline:
            raise FederationError(f"waited {seconds:.0f} s in vain for {what}")
        await asyncio.sleep(5 * POLL_SECONDS)


async def _is_ok(session: aiohttp.ClientSession, url: str) -> bool:
    try:
        async with session.get(url) as response:
            return response.status == 200
    except (aiohttp.ClientError, TimeoutError, OSError):
        return False


def child_environment() -> dict[str, str]:
    """What our processes inherit: our environment, without what would change how they are found or how they print."""
    return {**os.environ, "NO_COLOR": "1", "PYTHONUNBUFFERED": "1"}
