"""Signatures that cost a hundredth of Ed25519: for simulations, which sign and verify all the time.

A keyed BLAKE2b that only the holder of the seed can make; the same interface, and the same refusals.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

from cryptography.exceptions import InvalidSignature

from federation.exchange import signing
from federation.exchange.signing import MemberKey

_seeds: dict[bytes, bytes] = {}


def _seal(seed: bytes, message: bytes) -> bytes:
    return hashlib.blake2b(message, key=seed, digest_size=64).digest()


class CheapKey(MemberKey):
    """Takes the place of a MemberKey within ``cheap_signatures``."""

    __slots__ = ("_public", "_seed")

    def __init__(self, seed: bytes) -> None:
        super().__init__(seed)
        self._seed = seed
        self._public = hashlib.sha256(seed).digest()
        _seeds[self._public] = seed

    @property
    def public(self) -> bytes:
        return self._public

    def sign(self, message: bytes) -> bytes:
        return _seal(self._seed, message)


class _CheapPublicKey:
    def __init__(self, seed: bytes) -> None:
        self._seed = seed

    @classmethod
    def from_public_bytes(cls, data: bytes) -> _CheapPublicKey:
        return cls(_seeds[data])

    def verify(self, signature: bytes, data: bytes) -> None:
        if signature != _seal(self._seed, data):
            raise InvalidSignature


@contextmanager
def cheap_signatures() -> Iterator[None]:
    """Within it, signatures are those of CheapKey, and no others hold."""
    real = signing.Ed25519PublicKey
    signing.Ed25519PublicKey = _CheapPublicKey  # type: ignore[assignment, misc]
    try:
        yield
    finally:
        signing.Ed25519PublicKey = real  # type: ignore[misc]
