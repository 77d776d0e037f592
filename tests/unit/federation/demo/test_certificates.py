"""Certificates as a peer sees them, from outside."""

from __future__ import annotations

import asyncio
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import aiohttp
from aiohttp import web
from aiohttp.test_utils import TestServer
from cryptography import x509

from federation.demo.certificates import issuer_key, presented_serials, served_issuer
from federation.model.addresses import HostPort
from trustbundle.authority import generate_key
from trustbundle.identity import TrustDomain, workload_id
from trustbundle.x509 import build_authority, build_svid, certificate_pem, private_key_pem

NOW = datetime.now(UTC).replace(microsecond=0)
DOMAIN = TrustDomain("us-east.demo")


class Pair:
    """A CA as the product makes them, and a leaf of it."""

    def __init__(self) -> None:
        self.ca_key, self.key = generate_key(), generate_key()
        times = {"not_before": NOW - timedelta(hours=1), "not_after": NOW + timedelta(hours=1)}
        self.ca = build_authority(trust_domain=DOMAIN, key=self.ca_key, serial=1, **times)
        self.leaf = build_svid(
            spiffe_id=workload_id(DOMAIN, "demo", "backend"),
            public_key=self.key.public_key(),
            serial=2,
            issuer=self.ca,
            issuer_key=self.ca_key,
            **times,
        )

    @property
    def ca_key_id(self) -> bytes:
        return x509.SubjectKeyIdentifier.from_public_key(self.ca_key.public_key()).digest


async def test_the_issuer_of_a_served_certificate(tmp_path: Path) -> None:
    """A server's certificate leads to the key of the CA that signed it, although the server asks for ours."""
    pair = Pair()
    (tmp_path / "chain.pem").write_text(certificate_pem(pair.leaf))
    (tmp_path / "key.pem").write_bytes(private_key_pem(pair.key).reveal())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "chain.pem", tmp_path / "key.pem")
    (tmp_path / "ca.pem").write_text(certificate_pem(pair.ca))
    context.load_verify_locations(tmp_path / "ca.pem")
    context.verify_mode = ssl.CERT_REQUIRED
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0, ssl=context)
    async with server:
        address = HostPort(*server.sockets[0].getsockname())
        assert await served_issuer(address, "echo.example") == pair.ca_key_id
    assert await served_issuer(address, "echo.example") is None


def test_two_cas_of_one_name_are_told_apart() -> None:
    """Certificates of a CA and of its successor have different issuer keys."""
    keys = [(pair.ca_key_id, issuer_key(pair.leaf)) for pair in (Pair(), Pair())]
    assert all(own == seen for own, seen in keys)
    assert keys[0] != keys[1]


async def test_serials_of_an_envoy() -> None:
    """Envoy's own certificates are those of its chains; a silent or foreign admin port has none."""

    async def certs(_: web.Request) -> web.Response:
        chains = [{"serial_number": "0a", "path": "x"}], [{"serial_number": "0b"}]
        held = [{"ca_cert": [{"serial_number": "01"}], "cert_chain": chain} for chain in chains]
        return web.json_response({"certificates": [*held, {"ca_cert": []}]})

    application = web.Application()
    application.router.add_get("/certs", certs)
    async with aiohttp.ClientSession() as session:
        async with TestServer(application) as server:
            assert await presented_serials(session, HostPort("127.0.0.1", server.port or 0)) == {"0a", "0b"}
        assert await presented_serials(session, HostPort("127.0.0.1", server.port or 0)) == frozenset()
        async with TestServer(web.Application()) as stranger:
            assert await presented_serials(session, HostPort("127.0.0.1", stranger.port or 0)) == frozenset()
