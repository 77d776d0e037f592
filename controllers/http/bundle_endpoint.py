"""The SPIFFE bundle endpoint: the own bundle for whoever asks, over TLS whose certificate rotates without a restart.

An edge. Whoever reaches it may read it (SPIFFE Federation §5: no client authentication); what it serves is public. It
must not decide what is served, or whom the certificate names.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import structlog
from aiohttp import web

from federation.model.addresses import HostPort
from federation.model.errors import ConfigError, TrustError
from federation.storage.private_file import WideModeError, read_private, replace_private
from gateway.xds.listening import ServingCertificate

_log = structlog.get_logger(__name__)

_SCRATCH = "bundle-endpoint.pem"


def bundle_app(document: Callable[[], bytes]) -> web.Application:
    """``GET /``: the bundle document as it is now; nothing else."""

    async def get(_: web.Request) -> web.Response:
        return web.Response(body=document(), content_type="application/json")

    app = web.Application()
    app.router.add_get("/", get, allow_head=False)
    return app


def certificate_files(certificate_file: Path, key_file: Path) -> ServingCertificate:
    """What the files hold now; raises TrustError where they can't be read, or others could read the key."""
    try:
        return ServingCertificate(certificate_file.read_bytes(), read_private(key_file))
    except WideModeError as error:
        raise TrustError(
            f"key {key_file} of the bundle endpoint: {error}",
            reason="WideMode",
            hint=f"if no one else has read it, run: chmod 600 {key_file}; otherwise replace key and certificate",
        ) from error
    except OSError as error:
        raise TrustError(
            f"certificate of the bundle endpoint can't be read: {error.strerror} ({error.filename})",
            reason="Unreadable",
            hint="bundleEndpoint.certificateFile and keyFile must be readable by the user this program runs as",
        ) from error


@asynccontextmanager
async def serve_tls(
    app: web.Application, listen: HostPort, certificate: Callable[[], ServingCertificate], directory: Path
) -> AsyncIterator[None]:
    """Serve ``app`` while the context lasts; ``directory`` is private.

    ``certificate`` is asked at every handshake; where it raises later on, the last good one stays. Raises TrustError
    for one that can't be used at the start, ConfigError where the address can't be had.
    """
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
    context = rotating_context(certificate, directory)
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, listen.host, listen.port, ssl_context=context).start()
        except OSError as error:
            raise ConfigError(
                f"bundle endpoint cannot listen on {listen}: {error.strerror}",
                hint="stop what listens there, or set another bundleEndpoint.listen in cluster.yaml",
            ) from error
        yield
    finally:
        await runner.cleanup()


def rotating_context(certificate: Callable[[], ServingCertificate], directory: Path) -> ssl.SSLContext:
    """TLS 1.2 or later, with what ``certificate`` gives at each handshake; raises TrustError where that is unusable."""
    shown = certificate()
    current = _context(shown, directory)

    def choose(tls: ssl.SSLObject, _name: str | None, _front: ssl.SSLContext) -> None:
        nonlocal shown, current
        try:
            fresh = certificate()
            if fresh != shown:
                current, shown = _context(fresh, directory), fresh
        except TrustError as error:
            _log.error("certificate of the bundle endpoint is not renewed", reason=str(error), hint=error.hint)
        tls.context = current

    front = _context(shown, directory)
    # Called for clients that name no server too.
    front.sni_callback = choose
    return front


def _context(certificate: ServingCertificate, directory: Path) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # OpenSSL's binding takes certificates from files only.
    scratch = directory / _SCRATCH
    try:
        replace_private(scratch, certificate.key_pem + b"\n" + certificate.chain_pem)
        try:
            context.load_cert_chain(scratch)
        finally:
            scratch.unlink()
    except (OSError, ssl.SSLError) as error:
        raise TrustError(
            f"certificate of the bundle endpoint can't be used: {error.strerror or error}",
            reason="BadKey",
            hint="certificateFile must hold the chain (PEM, leaf first), keyFile its unencrypted private key (PEM)",
        ) from error
    return context
