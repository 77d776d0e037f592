"""SPIFFE bundle endpoints for tests: ours over a real TLS socket, and servers that answer whatever a test likes."""

from __future__ import annotations

import socket
import ssl
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from controllers.http.bundle_endpoint import FACE, bundle_app
from controllers.http.rotating_tls import rotating_context
from gateway.xds.listening import ServingCertificate
from support.certificates import Ca, Leaf, make_ca, make_leaf
from trustbundle.bundle import TrustBundle, to_jwks
from trustbundle.identity import TrustDomain

TRUST_DOMAIN = TrustDomain("east.test")
SERVER_ID = f"spiffe://{TRUST_DOMAIN}/federation/controller"


def root(name: str, *, ago: timedelta = timedelta(0)) -> Ca:
    """A CA in force now, or that was so long ago: these tests go by the real time, as TLS does."""
    return make_ca(datetime.now(UTC) - ago, name=name)


def svid(ca: Ca, *, spiffe_id: str = SERVER_ID, ends: timedelta = timedelta(hours=1)) -> ServingCertificate:
    """A server's X509-SVID of that CA."""
    return serving(make_leaf(ca, datetime.now(UTC), uris=[spiffe_id], starts=-timedelta(hours=2), ends=ends))


def serving(leaf: Leaf) -> ServingCertificate:
    return ServingCertificate(leaf.chain_pem.encode(), leaf.key_pem.encode())


def document(*cas: Ca, sequence: int = 1) -> bytes:
    """The bundle document of the tests' trust domain."""
    return to_jwks(TrustBundle(TRUST_DOMAIN, sequence, tuple(ca.der for ca in cas)), timedelta(seconds=60))


@asynccontextmanager
async def served(
    certificate: Callable[[], ServingCertificate], answer: Callable[[], bytes] | web.Application, directory: Path
) -> AsyncIterator[str]:
    """The URL of an endpoint with that certificate: ours with the document that ``answer`` gives, or another app."""
    app = answer if isinstance(answer, web.Application) else bundle_app(answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=rotating_context(certificate, directory, FACE))
        await site.start()
        host, port = runner.addresses[0][:2]
        yield f"https://{host}:{port}/"
    finally:
        await runner.cleanup()


@contextmanager
def silent() -> Iterator[str]:
    """The URL of a server that takes connections (the kernel does) and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        host, port = listener.getsockname()
        yield f"https://{host}:{port}/"


def web_certificate(host: str) -> tuple[ServingCertificate, bytes]:
    """A certificate of the web's for ``host`` (an IP address is a name of its own kind), and the CA (PEM) behind it."""
    ca, key = root("web"), ec.generate_private_key(ec.SECP256R1())
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)]))
        .issuer_name(ca.certificate.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
        .sign(ca.key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return ServingCertificate(certificate.public_bytes(pem), private), ca.pem.encode()


def unverified() -> ssl.SSLContext:
    """A client that takes any certificate."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
