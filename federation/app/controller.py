"""The controller process: settings in, objects built, one TaskGroup. The file to read to see the program."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Iterator, Mapping
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, contextmanager, nullcontext
from pathlib import Path

import structlog

from controllers.controller import Controller
from controllers.dataplane import DataPlane
from controllers.dns.server import DnsServer
from controllers.engine import Engine
from controllers.gateway_names import GatewayNames
from controllers.http.metrics import registry
from controllers.http.server import owner_app, public_app, serve_tcp, serve_unix
from controllers.journal import Journal
from controllers.node_groups import new_cache
from controllers.probes import GatewayProbes
from controllers.sources.base import Source, SourceUpdate
from controllers.sources.files import FileSource
from federation.app.admissions import Admissions
from federation.app.bundles import (
    Authorities,
    BundleFollower,
    OwnAuthority,
    open_authorities,
    own_certificate,
    serving_bundle,
)
from federation.app.clock import monotonic, utc_now
from federation.app.drains import DrainDesk
from federation.app.kube.cluster_side import ClusterSide
from federation.app.kube.post import Post
from federation.app.kube.shared_changes import BeginAnewError, SharedChanges
from federation.app.lock import only_controller
from federation.app.nodes import NodeDesk
from federation.app.owner_socket import ADMIN_SOCKET
from federation.app.proxies import TRUST_BUNDLE_FILE, telemetry
from federation.app.reports import Reports
from federation.app.seat import Seat, at_once, open_seat
from federation.app.sites import CLUSTER_FILE
from federation.app.trust import TrustKeeper
from federation.membership.tokens import NodeTokens, TokenStore
from federation.model.addresses import UnixSocket
from federation.model.configuration import ClusterSettings
from federation.model.errors import ConfigError
from federation.model.names import ClusterId, RecordKey
from federation.model.records import Member
from gateway.xds.server import XdsServer
from trustbundle.authority import CertificateAuthority
from trustbundle.external_authority import ExternalAuthority

_log = structlog.get_logger(__name__)

# The signals on who lives are looked at this often.
_LIVENESS_SECONDS = 0.5


async def run_controller(settings: ClusterSettings, directory: Path, post: Post | None = None) -> None:
    """Run one cluster's controller until cancelled; one at a ``post`` among several, until it must begin anew. Raises
    ConfigError and TrustError where it can't start."""
    with only_controller(settings.state_directory):
        try:
            await _run(settings, directory, post)
        except* BeginAnewError as group:
            _log.info("controller begins anew", reason=str(group.exceptions[0]))


async def _run(  # noqa: PLR0915 - each part is named once, here
    settings: ClusterSettings, directory: Path, post: Post | None
) -> None:
    def leads() -> bool:
        return post is None or post.leads

    with _usable(settings.state_directory):
        authorities = await _open_authorities(settings, post)
    cache = new_cache()
    dataplane = DataPlane(cache, settings.mesh.sidecar_port, telemetry(settings))

    def on_peer(cluster: ClusterId, keys: frozenset[RecordKey]) -> None:
        controller.on_peer(cluster, keys)
        keeper.on_peer(keys)
        engine.mark()

    def on_members(members: Iterable[Member]) -> None:
        controller.on_members(members)
        engine.mark()

    def step() -> None:
        controller.step()
        gateway_names.follow(controller.surroundings.names)
        keeper.on_pass()
        drains.on_pass()
        if side is not None:
            side.after_pass()

    with _usable(settings.state_directory):
        seat = open_seat(settings, on_peer, leads, _saved(post))
    admissions = Admissions(settings)
    journal = Journal(settings.state_directory)
    probes = GatewayProbes(rng=random.Random())  # noqa: S311 - spreads probes, protects nothing
    controller = Controller(
        settings,
        members=seat.peers,
        peers=seat.session,
        gateways=probes,
        authority=authorities.own,
        dataplane=dataplane,
        journal=journal,
        clock=utc_now,
        monotonic=monotonic,
    )
    engine = Engine(step)
    gateway_names = _gateway_names(journal, controller, engine)
    side = _cluster_side(settings, post, seat, authorities, controller, engine)
    tokens: NodeTokens = TokenStore.load(settings.tokens_directory) if side is None else side.tokens
    desk = NodeDesk(dataplane, tokens, authorities.own, settings.trust_domain, utc_now)
    xds = XdsServer(cache, authenticate=desk.authenticate, on_node=desk.on_node, now=utc_now)
    keeper = TrustKeeper(
        settings,
        authorities=authorities,
        session=seat.session,
        controller=controller,
        dataplane=dataplane,
        desk=desk,
        cache=cache,
        xds=xds,
        bundle_file=settings.state_directory / TRUST_BUNDLE_FILE,
        mark=engine.mark,
        clock=utc_now,
        leads=leads,
        saved=_saved(post),
        others_serve=post is not None,
        handed_out=lambda: side is None or side.sidecars.handed_out,
    )
    drains = DrainDesk(
        settings,
        controller=controller,
        journal=journal,
        session=seat.session,
        xds=xds,
        mark=engine.mark,
        clock=utc_now,
        leads=leads,
    )
    reports = Reports(
        settings=settings,
        controller=controller,
        engine=engine,
        session=seat.session,
        membership=seat.status,
        roster_problems=lambda: (*seat.problems, *admissions.problems(seat.roster.known.roster.seat)),
        probes=probes,
        gateway_names=gateway_names,
        authority=authorities.own,
        dataplane=dataplane,
        journal=journal,
        cluster_problems=lambda: tokens.problems if side is None else side.problems,
        kubernetes=None if side is None else side.status,
        xds=xds,
        keeper=keeper,
        clock=utc_now,
        dns=_names(settings, controller),
        drains=drains.report,
    )
    with _usable(settings.state_directory):
        keeper.write_bundle()
    for problem in tokens.problems:
        _log.warning("token not used", problem=str(problem))
    async with (
        _doors_open(settings, xds, reports, keeper, authorities, seat.ask_for_new_key, drains),
        nullcontext() if side is None else side.sidecars.serving(),
        aclosing(seat),
    ):
        _log.info("controller started", cluster=settings.cluster, http=str(settings.http.listen))
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(engine.run(), name="engine")
            tasks.create_task(seat.run(on_members), name="seat")
            tasks.create_task(_while_leading(post, admissions.run), name="admissions")
            tasks.create_task(probes.run(), name="probes")
            tasks.create_task(gateway_names.run(), name="gateway names")
            tasks.create_task(_watch_peers(controller, engine), name="liveness")
            tasks.create_task(
                _follow_source(FileSource(directory, settings) if side is None else side.source, controller, engine),
                name="source",
            )
            tasks.create_task(_follow_bundle(authorities.own, settings, controller, engine, keeper), name="bundle")
            tasks.create_task(keeper.run(), name="trust")
            tasks.create_task(drains.run(), name="drains")
            if post is not None and side is not None:
                tasks.create_task(side.run(), name="Kubernetes")
                tasks.create_task(
                    SharedChanges(
                        settings,
                        post,
                        built_in=authorities.built_in,
                        journal=journal,
                        controller=controller,
                        keeper=keeper,
                        session=seat.session,
                        seat=seat,
                        mark=engine.mark,
                    ).run(side.clear_away),
                    name="shared changes",
                )


def _gateway_names(journal: Journal, controller: Controller, engine: Engine) -> GatewayNames:
    def on_change(resolved: Mapping[str, tuple[str, ...]]) -> None:
        controller.on_gateway_names(resolved)
        engine.mark()

    rng = random.Random()  # noqa: S311 - spreads questions, protects nothing
    return GatewayNames(journal.gateway_names, on_change, rng=rng)


def _saved(post: Post | None) -> Callable[[], Awaitable[None]]:
    """What returns once all controllers of the cluster have what is on this one's disk."""
    return at_once if post is None else post.state.saved


async def _open_authorities(settings: ClusterSettings, post: Post | None) -> Authorities:
    """The cluster's CAs; what the controllers of a cluster share is seen by nobody before all of them have it."""
    leads = post is None or post.leads
    authorities = await open_authorities(settings, leads=leads, withholds=post is not None)
    if post is not None and leads:
        if not await post.saved():
            raise BeginAnewError("another controller leads before it has what this one has made")
        authorities.built_in.show()
    return authorities


def _cluster_side(
    settings: ClusterSettings,
    post: Post | None,
    seat: Seat,
    authorities: Authorities,
    controller: Controller,
    engine: Engine,
) -> ClusterSide | None:
    """What there is to do besides in a cluster that is backed by Kubernetes."""
    if post is None or settings.kubernetes is None:
        return None
    side = ClusterSide(
        settings,
        settings.kubernetes,
        post,
        session=seat.session,
        built_in=authorities.built_in,
        is_member=lambda: not seat.lost,
        in_doubt=lambda: seat.in_doubt,
        mark=engine.mark,
    )
    side.attach(controller)
    return side


@asynccontextmanager
async def _doors_open(
    settings: ClusterSettings,
    xds: XdsServer,
    reports: Reports,
    keeper: TrustKeeper,
    authorities: Authorities,
    rekey: Callable[[], None],
    drains: DrainDesk,
) -> AsyncIterator[None]:
    """Everything that others may connect to, while the context lasts."""
    async with AsyncExitStack() as stack:
        with _usable(settings.state_directory), _free("xds.listen"):
            _listen(xds, settings, authorities.built_in)
        await xds.start()
        stack.push_async_callback(xds.stop)
        public = public_app(reports.ready, registry(reports.numbers))
        owner = owner_app(reports.status, reports.services, keeper, rekey, drains)
        with _free("http.listen"):
            await stack.enter_async_context(serve_tcp(public, settings.http.listen))
        if reports.dns is not None:
            with _free("dns.listen"):
                await stack.enter_async_context(reports.dns.serving())
        with _usable(settings.state_directory):
            await stack.enter_async_context(serve_unix(owner, settings.state_directory / ADMIN_SOCKET))
            await stack.enter_async_context(serving_bundle(settings, authorities))
        yield


def _names(settings: ClusterSettings, controller: Controller) -> DnsServer | None:
    """The DNS server, where the settings ask for one."""
    if settings.dns.listen is None:
        return None
    ttl_seconds = int(settings.dns.ttl.total_seconds())
    return DnsServer(settings.dns.listen, ttl_seconds, lambda: controller.zone, monotonic)


@contextmanager
def _usable(state: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ConfigError(
            f"state directory {state} can't be used: {error.strerror or error}",
            hint="stateDirectory must be on a writable disk and belong to the user this program runs as, and its path "
            "be short enough for Unix sockets",
        ) from error


@contextmanager
def _free(setting: str) -> Iterator[None]:
    try:
        yield
    except ConfigError as error:
        hint = f"stop what listens there, or set another {setting} in {CLUSTER_FILE}"
        raise ConfigError(str(error), hint=error.hint or hint) from error


def _listen(xds: XdsServer, settings: ClusterSettings, built_in: CertificateAuthority) -> None:
    listen = settings.xds.listen
    if isinstance(listen, UnixSocket):
        xds.listen_unix(listen.path)
        return
    xds.listen_tls(listen.host, listen.port, own_certificate(built_in, settings.trust_domain))


async def _follow_source(source: Source, controller: Controller, engine: Engine) -> None:
    async with aclosing(source.updates()) as updates:
        async for update in updates:
            _report_problems(update, controller)
            controller.on_source(update)
            engine.mark()


async def _follow_bundle(
    authority: OwnAuthority, settings: ClusterSettings, controller: Controller, engine: Engine, keeper: TrustKeeper
) -> None:
    """Follow a CA elsewhere; there is nothing to do for the built-in one."""

    def on_change() -> None:
        controller.on_trust()
        engine.mark()
        keeper.wake()

    if isinstance(authority, ExternalAuthority):
        await BundleFollower(authority, settings, utc_now).run(on_change)


async def _while_leading(post: Post | None, run: Callable[[], Coroutine[None, None, None]]) -> None:
    """Run it while this process leads, again and again; a controller without a post always does."""
    if post is None:
        await run()
        return
    while True:
        await post.wait_leading()
        async with asyncio.TaskGroup() as tasks:
            running = tasks.create_task(run())
            await post.wait_following()
            running.cancel()


async def _watch_peers(controller: Controller, engine: Engine) -> None:
    while True:
        await asyncio.sleep(_LIVENESS_SECONDS)
        if controller.on_time():
            engine.mark()


def _report_problems(update: SourceUpdate, controller: Controller) -> None:
    for problem in set(update.problems) - set(controller.source_problems):
        _log.warning("manifest not used", problem=str(problem))
