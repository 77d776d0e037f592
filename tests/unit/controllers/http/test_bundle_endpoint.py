"""Serving the own bundle: what is answered, how the certificate rotates, and what is refused at the start."""

from __future__ import annotations

from pathlib import Path

import aiohttp
import pytest

from controllers.http.bundle_endpoint import certificate_files
from federation.model.errors import TrustError
from support.bundle_endpoint import document, root, served, svid, unverified

OLD, NEW = root("old"), root("new")


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
