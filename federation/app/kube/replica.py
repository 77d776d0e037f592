"""A controller in Kubernetes, from its start to its end: waiting for a membership, being a member, waiting again.

While it waits, the one that leads clears away what a membership has left that ended while no controller did.

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
from controllers.projection import Surroundings, own_site
from federation.app.kube.base_settings import BASE_FILE, composed, parse_base_settings
from federation.app.kube.cluster_objects import ClusterObjects
from federation.app.kube.post import Post
from federation.app.member_keys import MemberKeys
from federation.app.sites import CLUSTER_FILE, load_cluster, read_installation
from federation.membership.roster_file import RosterFile
from federation.model.configuration import ClusterSettings
from federation.model.errors import ConfigError, TrustError
from federation.model.settings import parse_cluster_settings
from federation.storage.private_file import replace_private

_log = structlog.get_logger(__name__)

_LOOK_SECONDS: Final = 0.25

RunController = Callable[[ClusterSettings, Path, Post], Awaitable[None]]


async def run_replica(base: Path, directory: Path, run_controller: RunController) -> None:
    """Run until cancelled, with the installation's settings in ``base`` and a ``directory`` of this pod's own. Raises
    ConfigError where the settings are unusable."""
    text = read_installation(base)
    settings = parse_base_settings(text, directory=directory.absolute())
    if settings.kubernetes is None:
        raise ConfigError("the installation's settings have no section kubernetes")
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    replace_private(directory / BASE_FILE, text.encode())
    post = Post(settings.kubernetes, directory.absolute())
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(post.run(), name="post")
        while True:
            await _membership(post, settings, directory, text)
            replace_private(directory / CLUSTER_FILE, _composed(text, directory).encode())
            await run_controller(load_cluster(directory), directory, post)


def _composed(base: str, directory: Path) -> str:
    return composed(base, (directory / CLUSTER_FILE).read_text(encoding="utf-8"))


def _no_member(base: str, directory: Path, state: Path) -> str:
    """Why this cluster is no member by what is on its disk, its ``state`` directory among it; empty where it is one.
    Raises ConfigError where the settings are unusable."""
    roster_file = RosterFile(state)
    if not (directory / CLUSTER_FILE).exists() or not roster_file.path.exists():
        return "a membership: `federation init` founds a clusterset, `federation join` joins one"
    settings = parse_cluster_settings(_composed(base, directory), directory=directory)
    try:
        known = roster_file.load()
        own = None if known is None else known.roster.member(settings.cluster)
        if own is None:
            return f"a membership: {settings.cluster} has left or was evicted: join with a new token"
        MemberKeys(settings.member_key_file).load(own)
    except (ConfigError, TrustError) as error:
        return f"a membership that can be used: {error}{f'; {error.hint}' if error.hint else ''}"
    return ""


def _left_over(base: str, directory: Path, state: Path) -> ClusterSettings | None:
    """The settings of the membership that is over, of which the cluster may have objects; None while that is not known
    to be so: a key that is not the roster's, or files that can't be used, may be put right."""
    if not (directory / CLUSTER_FILE).exists():
        return None
    try:
        settings = parse_cluster_settings(_composed(base, directory), directory=directory)
        known = RosterFile(state).load()
    except (ConfigError, TrustError):
        return None
    return settings if known is None or known.roster.member(settings.cluster) is None else None


async def _clear_away(post: Post, left_over: Callable[[], ClusterSettings | None]) -> None:
    """Whenever this process leads, see to it once that nothing is left of a membership that is over; until
    cancelled."""
    while True:
        await post.wait_leading()
        settings = left_over()
        if settings is not None and await _is_cleared(settings, post, left_over):
            _log.info("nothing is left of the membership that is over", cluster=settings.cluster)
            await post.wait_following()
        else:
            await asyncio.sleep(_LOOK_SECONDS)


async def _is_cleared(settings: ClusterSettings, post: Post, left_over: Callable[[], ClusterSettings | None]) -> bool:
    """Clear away what the membership of ``settings`` has left, for as long as it is over and this process leads;
    returns whether nothing is left."""
    if settings.kubernetes is None:
        return True
    objects = ClusterObjects(settings, settings.kubernetes, post)
    around = Surroundings(own_site(settings), settings.trust_domain, settings.mesh.sidecar_port)
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(objects.run(), name="objects of the cluster")
        clearing = tasks.create_task(objects.clear_away(around), name="clearing")
        while not (cleared := clearing.done()) and post.leads and left_over() == settings:
            await asyncio.wait((clearing,), timeout=_LOOK_SECONDS)
        clearing.cancel()
        running.cancel()
    return cleared


async def _membership(post: Post, settings: ClusterSettings, directory: Path, base: str) -> None:
    """Return once this cluster is a member, and this process may begin with what is there."""
    own_ca = settings.state_directory / "ca" / "journal.json"

    def waited_for() -> str:
        if reason := _no_member(base, directory, settings.state_directory):
            return reason
        if not post.leads and not own_ca.exists():
            return f"the controller that leads, {post.leader or 'which is not elected yet'}, to make the cluster's CA"
        return ""

    if not waited_for():
        return
    app = public_app(lambda: (False, f"waiting for {waited_for()}"), CollectorRegistry())
    async with serve_tcp(app, settings.http.listen), asyncio.TaskGroup() as tasks:
        clearing = tasks.create_task(
            _clear_away(post, lambda: _left_over(base, directory, settings.state_directory)), name="clearing"
        )
        told = ""
        while reason := waited_for():
            if reason != told:
                _log.info("controller waits", reason=reason)
                told = reason
            await asyncio.sleep(_LOOK_SECONDS)
        clearing.cancel()
