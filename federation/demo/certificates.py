"""Which CA signed the certificates that Envoys present right now: an edge that looks from outside, as a peer would."""

from __future__ import annotations

import asyncio
import ssl
from contextlib import suppress

import aiohttp
import msgspec
from cryptography import x509

from federation.model.addresses import HostPort

_CONNECT_SECONDS = 2.0


class _Link(msgspec.Struct):
    serial_number: str


class _Pair(msgspec.Struct):
    cert_chain: list[_Link] = []


class _Held(msgspec.Struct):
    """Answer of Envoy's ``/certs``, as far as it is read."""

    certificates: list[_Pair] = []


async def presented_serials(session: aiohttp.ClientSession, admin: HostPort) -> frozenset[str]:
    """Serial numbers of an Envoy's own certificates, from its admin port; empty where it is silent."""
    try:
        async with session.get(f"http://{admin}/certs") as response:
            held = msgspec.json.decode(await response.read(), type=_Held)
    except (aiohttp.ClientError, msgspec.MsgspecError, OSError, TimeoutError):
        return frozenset()
    return frozenset(link.serial_number for pair in held.certificates for link in pair.cert_chain)


async def served_issuer(address: HostPort, server_name: str) -> bytes | None:
    """The key identifier of the CA behind the certificate served at ``address``; None where none is served."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    # Nothing is sent over this connection: it is ended as soon as the certificate has been seen.
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    writer = None
    try:
        async with asyncio.timeout(_CONNECT_SECONDS):
            _, writer = await asyncio.open_connection(
                address.host, address.port, ssl=context, server_hostname=server_name
            )
        connection = writer.get_extra_info("ssl_object")
        return issuer_key(connection.getpeercert(binary_form=True))
    except (OSError, TimeoutError):
        return None
    finally:
        if writer is not None:
            writer.transport.abort()
            # The server may refuse us first, for the certificate that we don't have.
            with suppress(OSError):
                await writer.wait_closed()


def issuer_key(certificate: bytes) -> bytes | None:
    """The authority key identifier of a certificate (DER): tells CAs apart that bear the same name."""
    try:
        extension = x509.load_der_x509_certificate(certificate).extensions.get_extension_for_class(
            x509.AuthorityKeyIdentifier
        )
    except x509.ExtensionNotFound:
        return None
    return extension.value.key_identifier
