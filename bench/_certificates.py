"""Certificates of the proxies of `bench._paths`: one CA, an identity each, good for the length of a bench."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from google.protobuf.json_format import MessageToDict

from gateway.xds.translate.secrets import bundles_secret, svid_secret, tickets_secret
from trustbundle.anchors import constrain_authority
from trustbundle.authority import generate_key
from trustbundle.identity import SpiffeId, TrustDomain
from trustbundle.x509 import build_authority, build_svid, certificate_pem, private_key_pem

_DOMAIN = TrustDomain("bench.test")
_DAY = timedelta(days=1)
SERVER_IDENTITY = f"spiffe://{_DOMAIN}/ns/bench/sa/server"


@dataclass(frozen=True, slots=True)
class Certificates:
    """A CA, and what each proxy is given by it."""

    now: datetime
    key: ec.EllipticCurvePrivateKey
    authority: bytes
    """DER."""

    @classmethod
    def made(cls, now: datetime) -> Certificates:
        key, now = generate_key(), now.replace(microsecond=0)
        authority = build_authority(
            trust_domain=_DOMAIN, key=key, serial=1, not_before=now - _DAY, not_after=now + _DAY
        )
        return cls(now, key, authority)

    def secrets(self, account: str) -> list[dict[str, Any]]:
        """What SDS would tell a proxy of that service account."""
        key = generate_key()
        leaf = build_svid(
            spiffe_id=SpiffeId(_DOMAIN, f"/ns/bench/sa/{account}"),
            public_key=key.public_key(),
            serial=2,
            not_before=self.now - _DAY,
            not_after=self.now + _DAY,
            issuer=self.authority,
            issuer_key=self.key,
        )
        bundle = certificate_pem(constrain_authority(self.authority, _DOMAIN))
        return [
            MessageToDict(svid_secret(certificate_pem(leaf).encode(), private_key_pem(key).reveal())),
            MessageToDict(bundles_secret([(str(_DOMAIN), bundle)])),
            MessageToDict(tickets_secret(bytes(range(80)))),
        ]
