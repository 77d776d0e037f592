"""Preflight: what `federation check` looks at, one finding after the other as each is made.

Gathers facts through ``exchange_visit`` and ``host_facts``, and leaves it to the judges to say what they mean. What
depends on a step that failed is passed over, so that the line that fails is the one to act on. It changes nothing.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from controllers.checks import Check, Level
from controllers.status import StatusReport
from federation import __version__
from federation.app.exchange_checks import judge_admission, judge_authority, judge_clusterset, judge_token
from federation.app.exchange_sight import PeerSight, is_local, read_peers
from federation.app.exchange_visit import ExchangeVisit
from federation.app.host_facts import (
    connects,
    envoy_version,
    private_modes,
    python_version,
    reached,
    taken_ports,
    unwritable,
)
from federation.app.kube.kube_checks import judge_published_gateways, kubernetes_checks
from federation.app.network_checks import (
    Presence,
    judge_addresses,
    judge_gateway,
    judge_gateway_address,
    judge_peer_gateways,
    judge_ports,
    own_presence,
    presence_of,
)
from federation.app.offline import OfflineSite, load_site
from federation.app.preflight_lines import Line, failed, ok, trouble
from federation.app.site_checks import (
    judge_controller,
    judge_envoy,
    judge_manifests,
    judge_member_key,
    judge_membership,
    judge_modes,
    judge_peer_versions,
    judge_python,
    judge_state_directory,
)
from federation.app.sites import CLUSTER_FILE, load_cluster
from federation.exchange.connection import ExchangeAccess, access_of
from federation.exchange.credentials import Credentials
from federation.membership.join_token import JoinToken, parse_token
from federation.membership.keys import load_signing_key, public_key
from federation.membership.roster import KnownRoster
from federation.membership.roster_file import RosterFile
from federation.model.configuration import ClusterSettings
from federation.model.errors import ConfigError, ExchangeUnavailableError, MissingProgramError, TrustError, WireError
from federation.model.exchange_address import parse_exchange_address
from federation.model.names import ClusterId

_SETTINGS_FIX = "docs/reference/cluster.yaml shows every setting"
_KEY_FIX = "restore the key from a backup, or evict the cluster and let it join again"
_ASK_ANEW = "copy the token whole, or ask for a new one: `federation token create --cluster NAME`"


@dataclass(slots=True)
class Preflight:
    """The examination of the cluster in ``directory``; ``report`` is what its controller says, if one answers."""

    directory: Path
    report: StatusReport | None
    clock: Callable[[], datetime]
    hangs: bool = False
    """Whether there is a controller that does not answer."""
    _wide: frozenset[Path] = frozenset()
    _known: KnownRoster | None = None
    _peers: dict[ClusterId, PeerSight] = field(default_factory=dict)
    _own: PeerSight | None = None
    """What this cluster has in the exchange itself."""

    async def checks(self) -> AsyncIterator[Check]:
        """Every finding, in the order of ``Line``."""
        try:
            settings = load_cluster(self.directory)
        except ConfigError as error:
            yield trouble(Line.SETTINGS, error, _SETTINGS_FIX)
            for check in await _program_checks():
                yield check
            return
        yield ok(Line.SETTINGS, f"cluster {settings.cluster} of clusterset {settings.clusterset}")
        for check in self._files(settings):
            yield check
        for check in self._membership(settings):
            yield check
        yield judge_controller(self.report, __version__, hangs=self.hangs)
        async for check in self._exchange(settings):
            yield check
        for check in await _program_checks():
            yield check
        async for check in self._network(settings):
            yield check

    def _files(self, settings: ClusterSettings) -> Iterator[Check]:
        modes = dict(private_modes(settings))
        self._wide = frozenset(path for path, mode in modes.items() if mode & 0o077)
        yield judge_modes(modes)
        yield judge_state_directory(settings.state_directory, unwritable(settings.state_directory))

    def _membership(self, settings: ClusterSettings) -> Iterator[Check]:
        file = RosterFile(settings.state_directory)
        if file.path in self._wide:
            return
        try:
            known = file.load()
        except TrustError as error:
            yield trouble(Line.MEMBERSHIP, error, "restore it from a backup, or let the cluster join again")
            return
        check = judge_membership(known, settings)
        yield check
        if check.level is Level.FAILED or known is None:
            return
        self._known = known
        own = known.roster.member(settings.cluster)
        path = settings.member_key_file
        following = path.with_name(f"{path.name}.next")
        if own is None or {path, following} & self._wide:
            return
        try:
            prepared = public_key(load_signing_key(following)) if following.exists() else None
            yield judge_member_key(public_key(load_signing_key(path)), prepared, own, self.clock())
        except TrustError as error:
            yield trouble(Line.MEMBER_KEY, error, _KEY_FIX)

    async def _exchange(self, settings: ClusterSettings) -> AsyncIterator[Check]:
        credentials = settings.exchange.credentials_file
        known = self._known
        members = () if known is None else known.roster.at(self.clock())
        others = [one for one in members if one.cluster != settings.cluster]
        visit = ExchangeVisit(
            access_of(settings.exchange),
            settings.clusterset,
            settings.cluster,
            others[0].cluster if others else settings.cluster,
            self.clock,
            may_log_in=credentials is None or credentials not in self._wide,
        )
        async for check in visit.checks():
            yield check
        if not visit.let_in or known is None:
            return
        try:
            yield judge_clusterset(await visit.roster(), known, settings.cluster)
            self._peers = await read_peers(visit.access, settings.clusterset, members)
            self._own = self._peers.pop(settings.cluster, None)
        except (ExchangeUnavailableError, WireError) as error:
            yield trouble(Line.CLUSTERSET, error, "run the check again: the exchange has just gone, or holds too much")

    async def _network(self, settings: ClusterSettings) -> AsyncIterator[Check]:
        schemas = {cluster: peer.schema for cluster, peer in self._peers.items() if peer.schema is not None}
        if schemas:
            yield judge_peer_versions(schemas)
        peers = {cluster: presence_of(peer.records) for cluster, peer in self._peers.items()}
        if settings.kubernetes is None:
            async for check in self._gateway(settings, peers):
                yield check
        else:
            published = [] if self._own is None else sorted(presence_of(self._own.records).gateways)
            answers = await reached(published)
            yield judge_published_gateways(settings.kubernetes.gateway_service, published, answers)
        peers_answers = await asyncio.gather(*(reached(sorted(peer.gateways)) for peer in peers.values()))
        for check in judge_peer_gateways(dict(zip(peers, peers_answers, strict=True))):
            yield check
        if settings.kubernetes is not None:
            async for check in kubernetes_checks(settings.kubernetes):
                yield check
            return
        site = self._site()
        if isinstance(site, Check):
            yield site
            return
        own = own_presence(settings.network, settings.gateway.addresses, site.state)
        for check in judge_addresses({**peers, settings.cluster: own}):
            yield check
        yield judge_manifests(len(site.state.services), site.problems)

    async def _gateway(self, settings: ClusterSettings, peers: Mapping[ClusterId, Presence]) -> AsyncIterator[Check]:
        """The gateway of this host."""
        gateway = settings.gateway
        yield judge_gateway_address(gateway.addresses, peers, local=is_local(settings.exchange.url))
        runs = await connects(gateway.admin)
        yield judge_gateway(await reached(gateway.addresses), runs=runs)
        controller_runs = self.hangs or self.report is not None
        yield judge_ports(taken_ports(settings, controller_runs=controller_runs, gateway_runs=runs))

    def _site(self) -> OfflineSite | Check:
        try:
            return load_site(self.directory)
        except ConfigError as error:
            return trouble(Line.MANIFESTS, error, "correct the file that is named")


@dataclass(frozen=True, slots=True)
class JoinPreflight:
    """The examination of what a join with the token ``text`` would need, from ``directory``; it uses nothing up."""

    directory: Path
    text: str
    clock: Callable[[], datetime]

    async def checks(self) -> AsyncIterator[Check]:
        """Every finding, in the order of ``Line``."""
        try:
            token = parse_token(self.text)
            address = parse_exchange_address(token.exchange_url)
        except (TrustError, ValueError) as error:
            yield failed(Line.TOKEN, str(error), _ASK_ANEW)
            return
        try:
            key, trust_domain = self._own(token)
        except ConfigError as error:
            yield trouble(Line.SETTINGS, error, _SETTINGS_FIX)
            return
        except TrustError as error:
            yield trouble(Line.MEMBER_KEY, error, _KEY_FIX)
            return
        check = judge_token(token, self.clock())
        yield check
        if check.level is Level.FAILED:
            return
        with tempfile.TemporaryDirectory() as scratch:
            ca_file = Path(scratch) / "ca.pem" if token.exchange_ca else None
            if ca_file is not None:
                ca_file.write_text(token.exchange_ca)
            credentials = Credentials(token.exchange_user, token.exchange_password)
            access = ExchangeAccess(address, ca_file, (lambda: credentials) if token.exchange_user else None)
            visit = ExchangeVisit(
                access,
                token.clusterset,
                token.cluster,
                token.seat,
                self.clock,
                login_fix="the token was used already, or was revoked: "
                f"`federation token create --cluster {token.cluster}` on {token.seat} makes another",
            )
            async for check in visit.checks():
                yield check
            if visit.let_in:
                try:
                    yield judge_admission(await visit.roster(), token, trust_domain, key)
                    yield judge_authority(token.seat, heard=await visit.hears(token.seat))
                except (ExchangeUnavailableError, WireError) as error:
                    yield trouble(Line.CLUSTERSET, error, "run the check again: the exchange has just gone")
        for check in await _program_checks():
            yield check

    def _own(self, token: JoinToken) -> tuple[bytes | None, str]:
        """The public half of a key that is there already, and the trust domain that would be asked for."""
        if not (self.directory / CLUSTER_FILE).exists():
            return None, f"{token.cluster}.{token.clusterset}"
        settings = load_cluster(self.directory)
        path = settings.member_key_file
        return public_key(load_signing_key(path)) if path.exists() else None, settings.trust_domain


async def _program_checks() -> tuple[Check, ...]:
    try:
        envoy = judge_envoy(await envoy_version())
    except MissingProgramError as error:
        envoy = trouble(Line.ENVOY, error, "name another with FEDERATION_ENVOY")
    return judge_python(python_version()), envoy
