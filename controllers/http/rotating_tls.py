"""HTTP over TLS whose certificate rotates without a restart: what the controller serves to those who verify it.

An edge. It must not decide what is served, or whom the certificate names.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import structlog
from aiohttp import web

from federation.model.addresses import HostPort
from federation.model.errors import ConfigError, TrustError
from federation.storage.private_file import replace_private
from gateway.xds.listening import ServingCertificate

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Face:
    """Which server it is, for words about it."""

    name: str
    listen_hint: str
    """What to do where its address is taken."""
    certificate_hint: str
    """What its certificate must be."""


@asynccontextmanager
async def serve_tls(
    app: web.Application, listen: HostPort, certificate: Callable[[], ServingCertificate], directory: Path, face: Face
) -> AsyncIterator[None]:
    """Serve ``app`` while the context lasts; ``directory`` is private.

    ``certificate`` is asked at every handshake; where it raises later on, the last good one stays. Raises TrustError
    for one that can't be used at the start, ConfigError where the address can't be had.
    """
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
    context = rotating_context(certificate, directory, face)
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, listen.host, listen.port, ssl_context=context).start()
        except OSError as error:
            raise ConfigError(
                f"{face.name} cannot listen on {listen}: {error.strerror}", hint=face.listen_hint
            ) from error
        yield
    finally:
        await runner.cleanup()


def rotating_context(certificate: Callable[[], ServingCertificate], directory: Path, face: Face) -> ssl.SSLContext:
    """TLS 1.2 or later, with what ``certificate`` gives at each handshake; raises TrustError where that is unusable."""
    shown = certificate()
    current = _context(shown, directory, face)

    def choose(tls: ssl.SSLObject, _name: str | None, _front: ssl.SSLContext) -> None:
        nonlocal shown, current
        try:
            fresh = certificate()
            if fresh != shown:
                current, shown = _context(fresh, directory, face), fresh
        except TrustError as error:
            _log.error("serving certificate is not renewed", server=face.name, reason=str(error), hint=error.hint)
        tls.context = current

    front = _context(shown, directory, face)
    # Called for clients that name no server too.
    front.sni_callback = choose
    return front


def _context(certificate: ServingCertificate, directory: Path, face: Face) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # OpenSSL's binding takes certificates from files only.
    scratch = directory / f"{face.name.replace(' ', '-')}.pem"
    try:
        replace_private(scratch, certificate.key_pem + b"\n" + certificate.chain_pem)
        try:
            context.load_cert_chain(scratch)
        finally:
            scratch.unlink()
    except (OSError, ssl.SSLError) as error:
        raise TrustError(
            f"certificate of the {face.name} can't be used: {error.strerror or error}",
            reason="BadKey",
            hint=face.certificate_hint,
        ) from error
    return context
