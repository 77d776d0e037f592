"""A controller in Kubernetes, from its start to its end: waiting for a membership, being a member, waiting again.

An edge that wires. All replicas of the Deployment run this; what only one may do, the one that leads does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

import structlog
from prometheus_client import CollectorRegistry

from controllers.http.server import public_app, serve_tcp
from federation.app.kube.base_settings import BASE_FILE, composed, parse_base_settings
from federation.app.kube.post import Post
from federation.app.sites import CLUSTER_FILE, load_cluster
from federation.membership.roster_file import RosterFile
from federation.model.addresses import HostPort
from federation.model.configuration import ClusterSettings
from federation.model.errors import ConfigError
from federation.storage.private_file import replace_private

_log = structlog.get_logger(__name__)

_LOOK_SECONDS: Final = 0.25

RunController = Callable[[ClusterSettings, Path, Post], Awaitable[None]]


async def run_replica(base: Path, directory: Path, run_controller: RunController) -> None:
    """Run until cancelled, with the installation's settings in ``base`` and a ``directory`` of this pod's own. Raises
    ConfigError where the settings are unusable."""
    try:
        text = base.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"the installation's settings {base} can't be read: {getattr(error, 'strerror', None) or error}",
            hint="they are the ConfigMap federation-settings, mounted into the pod",
        ) from error
    settings = parse_base_settings(text, directory=directory.absolute())
    if settings.kubernetes is None:
        raise ConfigError("the installation's settings have no section kubernetes")
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    replace_private(directory / BASE_FILE, text.encode())
    post = Post(settings.kubernetes, directory.absolute())
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(post.run(), name="post")
        while True:
            await _membership(post, settings, directory, settings.http.listen)
            cluster_file = directory / CLUSTER_FILE
            replace_private(cluster_file, composed(text, cluster_file.read_text(encoding="utf-8")).encode())
            await run_controller(load_cluster(directory), directory, post)


async def _membership(post: Post, settings: ClusterSettings, directory: Path, listen: HostPort) -> None:
    """Return once this cluster is a member, and this process may begin with what is there."""
    needed = (directory / CLUSTER_FILE, RosterFile(settings.state_directory).path)
    own_ca = settings.state_directory / "ca" / "journal.json"

    def waited_for() -> str:
        if not all(path.exists() for path in needed):
            return "a membership: `federation init` founds a clusterset, `federation join` joins one"
        if not post.leads and not settings.ca.external and not own_ca.exists():
            return f"the controller that leads, {post.leader or 'which is not elected yet'}, to make the cluster's CA"
        return ""

    if not waited_for():
        return
    app = public_app(lambda: (False, f"waiting for {waited_for()}"), CollectorRegistry())
    async with serve_tcp(app, listen):
        told = ""
        while reason := waited_for():
            if reason != told:
                _log.info("controller waits", reason=reason)
                told = reason
            await asyncio.sleep(_LOOK_SECONDS)
