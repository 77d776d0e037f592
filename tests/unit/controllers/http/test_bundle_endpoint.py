"""Serving the own bundle: what is answered, how the certificate rotates, and what is refused at the start."""

from __future__ import annotations

import asyncio
import socket
import ssl
from pathlib import Path

import aiohttp
import pytest

from controllers.http.bundle_endpoint import bundle_app, certificate_files, rotating_context, serve_tls
from federation.model.addresses import HostPort
from federation.model.errors import ConfigError, TrustError
from gateway.xds.listening import ServingCertificate
from support.bundle_endpoint import document, root, served, svid, unverified

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


async def test_whoever_asks_gets_the_newest_document(tmp_path: Path) -> None:
    """GET without a client certificate; every answer is the bundle as it is at that moment."""
    answer = document(OLD, sequence=1)
    async with (
        served(lambda: svid(OLD), lambda: answer, tmp_path) as url,
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=unverified())) as client,
    ):
        async with client.get(url) as response:
            first = response.status, response.content_type, await response.read()
        answer = document(OLD, NEW, sequence=2)
        async with client.get(url) as response:
            second = await response.read()
        refused = [
            (await client.request(method, url + path)).status
            for method, path in (("POST", ""), ("HEAD", ""), ("DELETE", ""), ("GET", "metrics"))
        ]

    assert first == (200, "application/json", document(OLD, sequence=1))
    assert second == document(OLD, NEW, sequence=2)
    assert refused == [405, 405, 405, 404]


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
    assert rotating_context(lambda: svid(OLD), tmp_path).minimum_version is ssl.TLSVersion.TLSv1_2


def test_a_key_that_others_could_read_is_refused(tmp_path: Path) -> None:
    """The mode of the file that is read counts; with 0600 certificate and key are what the files hold now."""
    good = svid(OLD)
    chain, key = tmp_path / "tls.crt", tmp_path / "tls.key"
    chain.write_bytes(good.chain_pem)
    key.write_bytes(good.key_pem)
    key.chmod(0o640)

    with pytest.raises(TrustError) as wide:
        certificate_files(chain, key)
    key.chmod(0o600)
    read = certificate_files(chain, key)
    key.unlink()
    with pytest.raises(TrustError) as gone:
        certificate_files(chain, key)

    assert (wide.value.reason, wide.value.hint[:40]) == ("WideMode", "if no one else has read it, run: chmod 6")
    assert (read, gone.value.reason) == (good, "Unreadable")


async def test_a_server_without_certificate_or_address_does_not_start(tmp_path: Path) -> None:
    """A key that is none, and a port that is taken, are told at once, each with the next step."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        listen = HostPort(*taken.getsockname())
        app = bundle_app(lambda: b"{}")
        with pytest.raises(TrustError, match="certificate of the bundle endpoint can't be used"):
            async with serve_tls(app, listen, lambda: ServingCertificate(b"none", b"none"), tmp_path):
                pass
        with pytest.raises(ConfigError, match="bundle endpoint cannot listen on") as caught:
            async with serve_tls(app, listen, lambda: svid(OLD), tmp_path):
                pass

    assert caught.value.hint == "stop what listens there, or set another bundleEndpoint.listen in cluster.yaml"
