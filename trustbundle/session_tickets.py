"""Keys of TLS session tickets: what lets a caller come back to any pod of a service without a whole handshake.

A resumed session is not verified again, so a key lives no longer than what was verified may be relied on: it goes when
trust changes, and when half of a certificate's life is over. Whoever holds a key can pretend to a server that uses it
to be anybody, so each identity has a key of its own, which its own pods alone are given (docs/decisions/024). Holds
keys in memory only.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass

from trustbundle.authority import Svid
from trustbundle.identity import SpiffeId
from trustbundle.secret import SecretBytes

_KEY_BYTES = 80
"""16 of name, 32 for HMAC-SHA-256, 32 for AES-256 (Envoy, TlsSessionTicketKeys)."""


@dataclass(frozen=True, slots=True)
class _Ring:
    key: SecretBytes
    since: Svid
    """A certificate of the identity that was valid when the key was made: they grow old together."""


class SessionTicketKeys:
    """The key of each identity."""

    def __init__(self) -> None:
        self._rings: dict[SpiffeId, _Ring] = {}

    def of(self, svid: Svid) -> SecretBytes:
        """The key of a certificate's identity, made now if it has none."""
        ring = self._rings.get(svid.spiffe_id)
        if ring is None:
            ring = self._rings[svid.spiffe_id] = _Ring(SecretBytes(secrets.token_bytes(_KEY_BYTES)), svid)
        return ring.key

    def forget(self) -> None:
        """Trust has changed: no session from before may be resumed."""
        self._rings.clear()

    def expire(self, due: Callable[[Svid], bool]) -> frozenset[SpiffeId]:
        """Forget keys as old as a certificate that is due to be replaced; returns whose they were."""
        old = frozenset(identity for identity, ring in self._rings.items() if due(ring.since))
        for identity in old:
            del self._rings[identity]
        return old
