"""The own bundle: where it comes from, how it is followed, and where it is served."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

import structlog

from controllers.http.bundle_endpoint import FACE, bundle_app, certificate_files
from controllers.http.rotating_tls import serve_tls
from federation.app.clock import utc_now
from federation.model.configuration import ClusterSettings
from federation.model.errors import TrustError
from federation.model.problems import Problem
from gateway.xds.listening import ServingCertificate
from trustbundle.authority import CertificateAuthority
from trustbundle.bundle import to_jwks
from trustbundle.bundle_endpoint import BundleEndpoint
from trustbundle.bundle_file import read_bundle_file
from trustbundle.bundle_store import BundleStore
from trustbundle.external import DEFAULT_INTERVAL
from trustbundle.external_authority import ExternalAuthority
from trustbundle.identity import TrustDomain, controller_id
from trustbundle.keystore import FileKeystore
from trustbundle.rotation import RotationPolicy, initial_state

_log = structlog.get_logger(__name__)

OwnAuthority = CertificateAuthority | ExternalAuthority
"""Whose bundle is this cluster's own: the built-in CA, or one elsewhere."""

TAKEN_FILE = "own-bundle.json"
"""In the state directory: what was last taken of a CA elsewhere."""

_FILE_INTERVAL = timedelta(seconds=1)
_SETTLE = timedelta(seconds=0.2)
# A new CA must be published for 3 to 5 hints before it signs (SPIFFE Federation §5.2.1).
_HINTS_IN_PROPAGATION = 4


@dataclass(frozen=True, slots=True)
class Authorities:
    """The CAs of a cluster: whose bundle is its own, and which one issues."""

    own: OwnAuthority
    """What peers verify this cluster's workloads by."""
    built_in: CertificateAuthority
    """What proxies and the API server verify the controllers by; the same one, unless the own CA is elsewhere."""


async def open_authorities(settings: ClusterSettings, *, leads: bool = True, withholds: bool = False) -> Authorities:
    """The CAs that the settings name, with a bundle in force; one that is stored is left as it is unless this process
    ``leads``. ``withholds``: a new bundle of the built-in CA is seen once that is said. Raises TrustError where there
    is none to be had."""
    trust_domain = TrustDomain(settings.trust_domain)
    keystore = FileKeystore(settings.state_directory / "ca", trust_domain)
    store = BundleStore(settings.state_directory / TAKEN_FILE, trust_domain)
    if leads and not settings.ca.external:
        _outgrow(keystore, store)
    policy = RotationPolicy(settings.ca.leaf_ttl, settings.ca.ca_ttl, settings.ca.propagation)
    built_in = CertificateAuthority(trust_domain, policy, keystore, withholds=withholds)
    own: OwnAuthority = built_in
    if settings.ca.external:
        stored = keystore.load()
        above = 0 if stored is None else stored.sequence
        own = ExternalAuthority(trust_domain, source_name(settings), store, above=above)
        if own.taken is None:
            await BundleFollower(own, settings, utc_now).look()
            own.bundle()
    if leads:
        built_in.tick(utc_now())
    return Authorities(own, built_in)


def _outgrow(keystore: FileKeystore, store: BundleStore) -> None:
    """After a time with a CA elsewhere, go on above its sequence: peers refuse smaller ones. What was published
    meanwhile was so in this cluster alone, so that a CA which is to sign is published anew."""
    taken = store.load()
    if taken is None:
        return
    state = keystore.load() or initial_state(utc_now())
    sequence = max(state.sequence, taken.sequence + 1)
    unpublished = None if state.next is None else replace(state.next, sequence=sequence, published_at=None)
    keystore.save(replace(state, sequence=sequence, next=unpublished))
    store.remove()


def source_name(settings: ClusterSettings) -> str:
    """Where the own bundle comes from, for people."""
    if settings.ca.bundle_endpoint is not None:
        return settings.ca.bundle_endpoint.url
    return str(settings.ca.bundle_file or "built-in CA")


class BundleFollower:
    """Keeps the bundle of a CA elsewhere up to date, from the file or the endpoint that the settings name."""

    def __init__(self, authority: ExternalAuthority, settings: ClusterSettings, clock: Callable[[], datetime]) -> None:
        self._authority = authority
        self._file = settings.ca.bundle_file
        source = settings.ca.bundle_endpoint
        self._endpoint = None if source is None else BundleEndpoint(source, clock)
        self._clock = clock
        self._seen: bytes | None = None
        self._offered: bytes | None = None
        self._interval = _FILE_INTERVAL if source is None else DEFAULT_INTERVAL

    async def run(self, on_change: Callable[[], None]) -> None:
        """Follow until cancelled; ``on_change`` is called after every change of the bundle."""
        while True:
            before = self._authority.bundle()
            wait = await self.look()
            after = self._authority.bundle()
            if after != before:
                _log.info("own bundle changed", source=self._authority.source, sequence=after.sequence)
                on_change()
            await asyncio.sleep(wait.total_seconds())

    async def look(self) -> timedelta:
        """Ask the source once, and put into force what it says; returns how long to wait, after a failure too."""
        before = self._authority.trouble
        wait = self._interval
        try:
            if self._endpoint is not None:
                answer = await self._endpoint.fetch(self._authority.taken)
                read = self._authority.offer(answer.content, answer.origin, self._clock())
                self._interval = wait = self._interval if read is None else read.interval
            elif self._file is not None:
                wait = self._look_at(self._file)
        except TrustError as error:
            self._authority.fail(error.reason, str(error))
        trouble = self._authority.trouble
        if trouble is not None and trouble != before:
            _log.warning("own bundle is not renewed", problem=str(trouble))
        return wait

    def _look_at(self, file: Path) -> timedelta:
        content = read_bundle_file(file)
        if content != self._seen and self._authority.taken is not None:
            # Cut between two certificates, a file that is being written looks whole: it is taken once it stays.
            self._seen = content
            return _SETTLE
        if content != self._offered or self._authority.trouble is not None:
            self._authority.offer(content, f"file {file}", self._clock())
            self._seen = self._offered = content
        return self._interval


def own_certificate(
    authority: CertificateAuthority, trust_domain: str, dns_names: Sequence[str] = ()
) -> Callable[[], ServingCertificate]:
    """The controller's own SVID, renewed whenever it is asked for and due; ``dns_names`` are for clients that verify
    the host. Raises TrustError while none can be issued."""
    held = [authority.issue(controller_id(TrustDomain(trust_domain)), utc_now(), dns_names)]

    def certificate() -> ServingCertificate:
        if utc_now() >= authority.renew_after(held[0]):
            held[0] = authority.issue(held[0].spiffe_id, utc_now(), dns_names)
        return ServingCertificate(held[0].chain_pem.encode(), held[0].key_pem.reveal())

    return certificate


@asynccontextmanager
async def serving_bundle(settings: ClusterSettings, authorities: Authorities) -> AsyncIterator[None]:
    """Serve the own bundle at a SPIFFE bundle endpoint, where the settings say so, while the context lasts."""
    endpoint = settings.bundle_endpoint
    if endpoint is None:
        yield
        return
    hint = refresh_hint(settings)
    if endpoint.certificate_file is None or endpoint.key_file is None:
        certificate = own_certificate(authorities.built_in, settings.trust_domain)
    else:
        files = endpoint.certificate_file, endpoint.key_file

        def certificate() -> ServingCertificate:
            return certificate_files(*files)

    app = bundle_app(lambda: to_jwks(authorities.own.bundle(), hint))
    async with serve_tls(app, endpoint.listen, certificate, settings.state_directory, FACE):
        _log.info("own bundle is served", listen=str(endpoint.listen), profile=endpoint.profile)
        yield


def refresh_hint(settings: ClusterSettings) -> timedelta:
    """How often others should fetch our bundle: several times before a new CA signs."""
    if settings.ca.external:
        return DEFAULT_INTERVAL
    return timedelta(seconds=max(1, int(settings.ca.propagation.total_seconds() / _HINTS_IN_PROPAGATION)))


def bundle_problems(authority: OwnAuthority, now: datetime) -> tuple[Problem, ...]:
    """What is wrong with the own bundle; the built-in CA's trouble is told of elsewhere."""
    return authority.problems(now) if isinstance(authority, ExternalAuthority) else ()
