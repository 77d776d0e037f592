"""The SPIFFE bundle endpoint: the own bundle for whoever asks; ``rotating_tls`` serves it.

An edge. Whoever reaches it may read it (SPIFFE Federation §5: no client authentication); what it serves is public. It
must not decide what is served, or whom the certificate names.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from aiohttp import web

from controllers.http.rotating_tls import Face
from federation.model.errors import TrustError
from federation.storage.private_file import WideModeError, read_private
from gateway.xds.listening import ServingCertificate

FACE = Face(
    "bundle endpoint",
    listen_hint="stop what listens there, or set another bundleEndpoint.listen in cluster.yaml",
    certificate_hint="certificateFile must hold the chain (PEM, leaf first), keyFile its unencrypted private key (PEM)",
)


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
