"""TLS whose certificate rotates: what is shown at which handshake, and what is refused at the start."""

from __future__ import annotations

import asyncio
import socket
import ssl
from pathlib import Path

import pytest

from controllers.http.bundle_endpoint import FACE, bundle_app
from controllers.http.rotating_tls import rotating_context, serve_tls
from federation.model.addresses import HostPort
from federation.model.errors import ConfigError, TrustError
from gateway.xds.listening import ServingCertificate
from support.bundle_endpoint import root, served, svid, unverified

OLD, NEW = root("old"), root("new")


def shown_to(url: str, versions: tuple[ssl.TLSVersion, ssl.TLSVersion] | None = None) -> bytes:
    """The certificate (DER) that a client without a server name is shown."""
    context = unverified()
    if versions is not None:
        context.minimum_version, context.maximum_version = versions
    host, _, port = url.removeprefix("https://").rstrip("/").partition(":")
    with (
        socket.create_connection((host, int(port)), 5) as connection,
        context.wrap_socket(connection) as tls,
    ):
        return tls.getpeercert(binary_form=True) or b""


def leaf(certificate: ServingCertificate) -> bytes:
    return ssl.PEM_cert_to_DER_cert(certificate.chain_pem.decode())


async def in_thread(url: str, versions: tuple[ssl.TLSVersion, ssl.TLSVersion] | None = None) -> bytes:
    return await asyncio.to_thread(shown_to, url, versions)


async def test_the_certificate_rotates_without_a_restart(tmp_path: Path) -> None:
    """The next handshake shows the new one, by either version of TLS; a bad one leaves the last good in use."""
    current = old = svid(OLD)
    new = svid(NEW)
    tls12 = (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_2)
    async with served(lambda: current, lambda: b"{}", tmp_path) as url:
        before = await in_thread(url)
        current = new
        after = [await in_thread(url), await in_thread(url, tls12)]
        current = ServingCertificate(old.chain_pem, new.key_pem)
        mixed = await in_thread(url)

    assert (before, after, mixed) == (leaf(old), [leaf(new), leaf(new)], leaf(new))
    assert list(tmp_path.iterdir()) == []


def test_tls_older_than_1_2_is_refused(tmp_path: Path) -> None:
    """As the profile of the standard asks."""
    assert rotating_context(lambda: svid(OLD), tmp_path, FACE).minimum_version is ssl.TLSVersion.TLSv1_2


async def test_a_server_without_certificate_or_address_does_not_start(tmp_path: Path) -> None:
    """A key that is none, and a port that is taken, are told at once, each with the next step."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        listen = HostPort(*taken.getsockname())
        app = bundle_app(lambda: b"{}")
        with pytest.raises(TrustError, match="certificate of the bundle endpoint can't be used"):
            async with serve_tls(app, listen, lambda: ServingCertificate(b"none", b"none"), tmp_path, FACE):
                pass
        with pytest.raises(ConfigError, match="bundle endpoint cannot listen on") as caught:
            async with serve_tls(app, listen, lambda: svid(OLD), tmp_path, FACE):
                pass

    assert caught.value.hint == "stop what listens there, or set another bundleEndpoint.listen in cluster.yaml"
