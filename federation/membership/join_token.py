"""JoinToken: the one line that a cluster joins with. Pure.

It says where the exchange is and by which CA it is known, which key the authority has, for which cluster the token is,
and holds a secret: the seed of a key that vouches once for the cluster's own key. The authority keeps only the public
half, so that neither its files nor the exchange can be used to join.
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass, field
from datetime import UTC, datetime

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from federation.model.errors import TrustError
from federation.model.names import ClusterId, is_dns_label
from federation.model.wire import UNREADABLE

_PREFIX = "fgt1."
_CHECK_BYTES = 8
SEED_BYTES = 32
"""Of a token's seed, as of every Ed25519 key."""
_HINT = "copy the token whole, or ask for a new one: `federation token create --cluster NAME`"


@dataclass(frozen=True, slots=True)
class JoinToken:
    """What a token says. Its secrets are not shown."""

    clusterset: str
    cluster: ClusterId
    """The only cluster that may join with it."""
    expires_at: datetime
    """For a clear word early; the authority's own note decides."""
    exchange_url: str
    authority_key: bytes
    """Ed25519, 32 raw bytes: whose roster is believed."""
    seat: ClusterId
    """The cluster whose controller admits."""
    seed: bytes = field(repr=False)
    exchange_ca: str = ""
    """CA certificates (PEM) that the exchange is known by; empty: those that the system trusts."""
    exchange_user: str = ""
    """Empty where the exchange asks nobody who he is."""
    exchange_password: str = field(default="", repr=False)
    """Good until the cluster is admitted: then one of its own making takes its place."""
    keep_password: bool = False
    """The password was made by hand in a managed exchange, and stays."""

    @property
    def key(self) -> Ed25519PrivateKey:
        """The key that vouches for the cluster's own."""
        return Ed25519PrivateKey.from_private_bytes(self.seed)


class _Token(msgspec.Struct, array_like=True):
    clusterset: str
    cluster: str
    expires_at: int
    exchange_url: str
    authority_key: bytes
    seat: str
    seed: bytes
    exchange_ca: str = ""
    exchange_user: str = ""
    exchange_password: str = ""
    keep_password: bool = False


def encode_token(token: JoinToken) -> str:
    """The token as one line of text."""
    body = msgspec.msgpack.encode(
        _Token(
            token.clusterset,
            token.cluster,
            int(token.expires_at.timestamp()),
            token.exchange_url,
            token.authority_key,
            token.seat,
            token.seed,
            token.exchange_ca,
            token.exchange_user,
            token.exchange_password,
            token.keep_password,
        )
    )
    return _armoured(_check(body) + body)


def parse_token(text: str) -> JoinToken:
    """Read a token; raises TrustError with TokenAltered where it is not whole. No error quotes it."""
    line = text.strip()
    try:
        if not line.startswith(_PREFIX):
            raise ValueError
        raw = base64.b64decode(_padded(line.removeprefix(_PREFIX)), altchars=b"-_", validate=True)
        if line != _armoured(raw):  # base64 has several spellings of the same bytes, a token has one
            raise ValueError
        check, body = raw[:_CHECK_BYTES], raw[_CHECK_BYTES:]
        if check != _check(body):
            raise ValueError
        read = msgspec.msgpack.decode(body, type=_Token)
        token = JoinToken(
            read.clusterset,
            ClusterId(read.cluster),
            datetime.fromtimestamp(read.expires_at, UTC),
            read.exchange_url,
            read.authority_key,
            ClusterId(read.seat),
            read.seed,
            read.exchange_ca,
            read.exchange_user,
            read.exchange_password,
            read.keep_password,
        )
        if not (len(token.seed) == len(token.authority_key) == SEED_BYTES):
            raise ValueError
        if not all(map(is_dns_label, (token.clusterset, token.cluster, token.seat))):
            raise ValueError
    except (*UNREADABLE, OverflowError, OSError):
        raise TrustError("the token is altered or not whole", reason="TokenAltered", hint=_HINT) from None
    return token


def _armoured(raw: bytes) -> str:
    return _PREFIX + base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _padded(text: str) -> bytes:
    return text.encode() + b"=" * (-len(text) % 4)


def _check(body: bytes) -> bytes:
    """Tells a token that was cut or mistyped; against forgery the authority looks at the signature."""
    return hashlib.sha256(b"federation-gateway/token\0" + body).digest()[:_CHECK_BYTES]
