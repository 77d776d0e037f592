"""The own bundle at a SPIFFE bundle endpoint, by either profile (SPIFFE Federation §5.2).

An edge: it fetches and proves who answered, and never judges the document. Redirects are refused: the standard lets a
client, and a bundle from elsewhere than configured is more than was agreed to.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

import aiohttp

from federation.model.configuration import BundleEndpointSource
from federation.model.errors import TrustError
from trustbundle.bundle import TrustBundle
from trustbundle.bundle_file import read_bundle_file
from trustbundle.external import MAX_CONTENT_BYTES, TakenBundle, parse_content
from trustbundle.identity import SpiffeId, TrustDomain, parse_spiffe_id
from trustbundle.verification import verify_svid

ANSWER_SECONDS = 10.0
"""For connection, handshake and the whole answer."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A document, and the origin that vouches for it."""

    content: bytes
    origin: str
    """The source with all of its parameters, and the bootstrap bundle by its hash: who replaces that begins anew."""


class BundleEndpoint:
    """One endpoint; nothing is kept between two fetches, neither connections nor TLS sessions."""

    def __init__(
        self, source: BundleEndpointSource, clock: Callable[[], datetime], *, answer_seconds: float = ANSWER_SECONDS
    ) -> None:
        self._source = source
        self._clock = clock
        self._timeout = aiohttp.ClientTimeout(total=answer_seconds)

    async def fetch(self, taken: TakenBundle | None) -> Answer:
        """Ask once; raises TrustError with a reason for whatever is no good answer of the configured server.

        ``taken`` is what was last taken: by it a server of the same trust domain is verified, and by the bootstrap
        bundle only while nothing was taken from this origin.
        """
        if self._source.profile == "https_web":
            return Answer(await self._get(self._web_context()), f"https_web {self._source.url}")
        origin = self._spiffe_origin(taken)
        expected = parse_spiffe_id(self._source.spiffe_id)
        bundle = self._verified_by(expected.trust_domain, origin, taken)
        context = _SpiffeContext(ssl.PROTOCOL_TLS_CLIENT)
        context.verify = partial(_verify, expected, {bundle.trust_domain: bundle}, self._clock)
        return Answer(await self._get(context), origin)

    def _web_context(self) -> ssl.SSLContext:
        try:
            context = ssl.create_default_context(cafile=self._source.ca_file)
        except (OSError, ssl.SSLError) as error:
            raise TrustError(
                f"CA certificates {self._source.ca_file} can't be read: {error.strerror or error}", reason="Unreadable"
            ) from error
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        return context

    def _spiffe_origin(self, taken: TakenBundle | None) -> str:
        prefix = f"https_spiffe {self._source.url} {self._source.spiffe_id} "
        try:
            return prefix + sha256(self._bootstrap()).hexdigest()
        except TrustError:
            # It was only needed to start from.
            if taken is not None and taken.origin.startswith(prefix):
                return taken.origin
            raise

    def _bootstrap(self) -> bytes:
        return read_bundle_file(self._source.bootstrap_file or Path())

    def _verified_by(self, trust_domain: TrustDomain, origin: str, taken: TakenBundle | None) -> TrustBundle:
        if taken is not None and (taken.trust_domain, taken.origin) == (trust_domain, origin):
            return taken.bundle
        try:
            return TrustBundle(trust_domain, 0, parse_content(self._bootstrap(), trust_domain).authorities)
        except TrustError as error:
            raise TrustError(
                f"bootstrap bundle {self._source.bootstrap_file} is not used: {error}", reason=error.reason
            ) from error

    async def _get(self, context: ssl.SSLContext) -> bytes:
        # Compressed, an answer could be of any size.
        headers = {"Accept": "application/json", "Accept-Encoding": "identity"}
        try:
            async with (
                aiohttp.ClientSession(
                    connector=aiohttp.TCPConnector(ssl=context), timeout=self._timeout, auto_decompress=False
                ) as session,
                session.get(self._source.url, allow_redirects=False, headers=headers) as response,
            ):
                return await _document(response)
        except TimeoutError as error:
            raise TrustError(f"no whole answer within {self._timeout.total:g} s", reason="Timeout") from error
        except (aiohttp.ClientError, OSError, UnicodeError) as error:
            refused = _refusal(error)
            if refused is not None:
                raise TrustError(f"server is not the one configured: {refused}", reason=refused.reason) from error
            reason = "BadCertificate" if isinstance(error, aiohttp.ClientSSLError) else "Unreachable"
            raise TrustError(f"it can't be asked: {error}"[:300], reason=reason) from error


async def _document(response: aiohttp.ClientResponse) -> bytes:
    if 300 <= response.status < 400:
        raise TrustError("it answers with a redirect, which is not followed", reason="Redirected")
    if response.status != 200:
        raise TrustError(f"it answers with status {response.status}", reason="BadStatus")
    content = b""
    async for chunk in response.content.iter_any():
        content += chunk
        if len(content) > MAX_CONTENT_BYTES:
            raise TrustError(f"its answer has more than {MAX_CONTENT_BYTES} bytes", reason="Oversized")
    return content


def _verify(
    expected: SpiffeId,
    bundles: Mapping[TrustDomain, TrustBundle],
    clock: Callable[[], datetime],
    chain: tuple[bytes, ...],
) -> None:
    proved = verify_svid(chain, bundles, clock())
    if proved != expected:
        raise TrustError(f"it proves to be {proved}, not {expected}", reason="WrongSpiffeId")


class _RefusedServerError(ssl.SSLCertVerificationError):
    """Ends a handshake as a bad certificate does."""

    def __init__(self, cause: TrustError) -> None:
        super().__init__(str(cause))
        self.cause = cause


def _refusal(error: BaseException | None) -> TrustError | None:
    """What our own verification has said, below what the client library has made of it."""
    while error is not None:
        if isinstance(error, _RefusedServerError):
            return error.cause
        error = error.__cause__ or error.__context__
    return None


class _VerifiedTls(ssl.SSLObject):
    """Verifies by the X509-SVID standard before a byte is sent, which OpenSSL's own rules (host names) don't do."""

    def do_handshake(self) -> None:
        super().do_handshake()
        context: Any = self.context
        try:
            context.verify(_peer_chain(self))
        except TrustError as error:
            raise _RefusedServerError(error) from error


class _SpiffeContext(ssl.SSLContext):
    """OpenSSL proves that the server holds its certificate's key; ``verify`` judges the certificate."""

    sslobject_class = _VerifiedTls
    verify: Callable[[tuple[bytes, ...]], None]

    def __new__(cls, *arguments: Any) -> _SpiffeContext:
        context = super().__new__(cls, *arguments)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        return context


def _peer_chain(tls: ssl.SSLObject) -> tuple[bytes, ...]:
    """The chain that the server has shown (DER, leaf first); public in Python 3.13 only, which gives bytes."""
    source: Any = tls if hasattr(tls, "get_unverified_chain") else getattr(tls, "_sslobj")  # noqa: B009
    return tuple(
        shown if isinstance(shown, bytes) else ssl.PEM_cert_to_DER_cert(shown.public_bytes())
        for shown in source.get_unverified_chain() or ()
    )
