"""Certificates for tests: CAs, good leaves, and every kind of rogue leaf that a verifier must refuse.

Built with `cryptography` directly, not with the code under test, so that both can't be wrong together.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import MappingProxyType

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from federation.model.errors import TrustError
from trustbundle.rotation import CaState
from trustbundle.secret import SecretBytes

PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey

_BOTH = (ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH)
_HOUR = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Ca:
    """A CA certificate with its key."""

    certificate: x509.Certificate
    key: PrivateKey

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(Encoding.DER)

    @property
    def pem(self) -> str:
        return self.certificate.public_bytes(Encoding.PEM).decode()


@dataclass(frozen=True, slots=True)
class Leaf:
    """A leaf certificate, its intermediates and its key."""

    chain: tuple[bytes, ...]
    """DER, leaf first."""
    key_pem: str

    @property
    def chain_pem(self) -> str:
        certificates = map(x509.load_der_x509_certificate, self.chain)
        return "".join(certificate.public_bytes(Encoding.PEM).decode() for certificate in certificates)


def key_usage(*names: str) -> x509.KeyUsage:
    """A key usage extension with only these bits, named as `cryptography` names them."""
    bits = (
        "digital_signature",
        "content_commitment",
        "key_encipherment",
        "data_encipherment",
        "key_agreement",
        "key_cert_sign",
        "crl_sign",
        "encipher_only",
        "decipher_only",
    )
    return x509.KeyUsage(**{bit: bit in names for bit in bits})


def make_ca(
    now: datetime,
    *,
    uris: Sequence[str] = (),
    name: str = "test CA",
    key: PrivateKey | None = None,
    issuer: Ca | None = None,
    lifetime: timedelta = timedelta(days=1),
    is_ca: bool = True,
    usage: x509.KeyUsage | None = None,
) -> Ca:
    """A CA that started an hour before ``now``; self-signed unless an issuer is given."""
    key = key or ec.generate_private_key(ec.SECP256R1())
    builder = (
        _builder(now - _HOUR, now + lifetime, name, name if issuer is None else None, issuer)
        .public_key(key.public_key())
        .add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True)
        .add_extension(usage or key_usage("key_cert_sign", "crl_sign"), critical=True)
    )
    if uris:
        builder = builder.add_extension(_san(uris), critical=False)
    return Ca(builder.sign(key if issuer is None else issuer.key, hashes.SHA256()), key)


def make_leaf(
    ca: Ca,
    now: datetime,
    *,
    uris: Sequence[str] = (),
    starts: timedelta = -_HOUR,
    ends: timedelta = _HOUR,
    is_ca: bool = False,
    usage: x509.KeyUsage | None = None,
    usage_critical: bool = True,
    purposes: Sequence[x509.ObjectIdentifier] | None = _BOTH,
    san_critical: bool = True,
    intermediates: Sequence[Ca] = (),
) -> Leaf:
    """A leaf signed by ``ca``, valid around ``now``; a good SVID where nothing but its one URI is given."""
    key = ec.generate_private_key(ec.SECP256R1())
    builder = (
        _builder(now + starts, now + ends, "", None, ca)
        .public_key(key.public_key())
        .add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True)
        .add_extension(usage or key_usage("digital_signature"), critical=usage_critical)
    )
    if purposes is not None:
        builder = builder.add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
    if uris:
        builder = builder.add_extension(_san(uris), critical=san_critical)
    certificate = builder.sign(ca.key, hashes.SHA256())
    return Leaf(
        (certificate.public_bytes(Encoding.DER), *(issuer.der for issuer in intermediates)),
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode(),
    )


def _builder(
    starts: datetime, ends: datetime, subject: str, issuer_name: str | None, issuer: Ca | None
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(_name(subject))
        .issuer_name(_name(issuer_name or "") if issuer is None else issuer.certificate.subject)
        .serial_number(x509.random_serial_number())
        .not_valid_before(starts)
        .not_valid_after(ends)
    )


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)] if common_name else [])


def _san(uris: Sequence[str]) -> x509.SubjectAlternativeName:
    return x509.SubjectAlternativeName([x509.UniformResourceIdentifier(uri) for uri in uris])


@dataclass(frozen=True, slots=True)
class Rogue:
    """A leaf that looks like ``spiffe://<domain>/ns/demo/sa/echo`` and must be refused by the domain's peers."""

    reason: str
    """The reason code of verify_svid."""
    make: Callable[[Ca, Ca, str, datetime], Leaf]
    """From the domain's own CA, the CA of another domain, the trust domain and the time."""


def _workload(trust_domain: str) -> str:
    return f"spiffe://{trust_domain}/ns/demo/sa/echo"


def _own_workload(ca: Ca) -> str:
    """An identity of the trust domain that the CA's own URI names."""
    san = ca.certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return f"{san.get_values_for_type(x509.UniformResourceIdentifier)[0]}/ns/demo/sa/mallory"


def _below_another(other: Ca, td: str, now: datetime) -> Leaf:
    intermediate = make_ca(now, name="intermediate", issuer=other)
    return make_leaf(intermediate, now, uris=[_own_workload(other), _workload(td)], intermediates=[intermediate])


ROGUES: Mapping[str, Rogue] = MappingProxyType(
    {
        "signed by the CA of another trust domain": Rogue(
            "UnknownAuthority", lambda _, other, td, now: make_leaf(other, now, uris=[_workload(td)])
        ),
        "of a trust domain that is not trusted": Rogue(
            "UnknownTrustDomain", lambda ca, _, _td, now: make_leaf(ca, now, uris=[_workload("nowhere.example")])
        ),
        "two SPIFFE IDs": Rogue(
            "SeveralUriSans",
            lambda ca, _, td, now: make_leaf(ca, now, uris=[_workload(td), f"spiffe://{td}/ns/demo/sa/admin"]),
        ),
        "another domain's CA, its own SPIFFE ID first": Rogue(
            "SeveralUriSans",
            lambda _, other, td, now: make_leaf(other, now, uris=[_own_workload(other), _workload(td)]),
        ),
        "another domain's CA, its own SPIFFE ID last": Rogue(
            "SeveralUriSans",
            lambda _, other, td, now: make_leaf(other, now, uris=[_workload(td), _own_workload(other)]),
        ),
        "another domain's CA, its own SPIFFE ID first, sent with the CA": Rogue(
            "SeveralUriSans",
            lambda _, other, td, now: make_leaf(
                other, now, uris=[_own_workload(other), _workload(td)], intermediates=[other]
            ),
        ),
        "another domain's intermediate CA, its own SPIFFE ID first": Rogue(
            "SeveralUriSans", lambda _, other, td, now: _below_another(other, td, now)
        ),
        "a SPIFFE ID and another URI": Rogue(
            "SeveralUriSans",
            lambda ca, _, td, now: make_leaf(ca, now, uris=[_workload(td), "https://demo.example/"]),
        ),
        "expired": Rogue(
            "Expired",
            lambda ca, _, td, now: make_leaf(
                ca, now, uris=[_workload(td)], starts=timedelta(hours=-2), ends=timedelta(hours=-1)
            ),
        ),
        "not valid yet": Rogue(
            "NotYetValid",
            lambda ca, _, td, now: make_leaf(
                ca, now, uris=[_workload(td)], starts=timedelta(hours=1), ends=timedelta(hours=2)
            ),
        ),
        "a CA": Rogue("LeafIsCa", lambda ca, _, td, now: make_leaf(ca, now, uris=[_workload(td)], is_ca=True)),
        "may sign certificates": Rogue(
            "LeafSigns",
            lambda ca, _, td, now: make_leaf(
                ca, now, uris=[_workload(td)], usage=key_usage("digital_signature", "key_cert_sign")
            ),
        ),
        "may sign CRLs": Rogue(
            "LeafSigns",
            lambda ca, _, td, now: make_leaf(
                ca, now, uris=[_workload(td)], usage=key_usage("digital_signature", "crl_sign")
            ),
        ),
        "no digital signature": Rogue(
            "NoDigitalSignature",
            lambda ca, _, td, now: make_leaf(ca, now, uris=[_workload(td)], usage=key_usage("key_encipherment")),
        ),
        "key usage not critical": Rogue(
            "KeyUsageNotCritical",
            lambda ca, _, td, now: make_leaf(ca, now, uris=[_workload(td)], usage_critical=False),
        ),
        "server authentication only": Rogue(
            "BadExtendedKeyUsage",
            lambda ca, _, td, now: make_leaf(ca, now, uris=[_workload(td)], purposes=[ExtendedKeyUsageOID.SERVER_AUTH]),
        ),
        "alternative name not critical": Rogue(
            "SanNotCritical",
            lambda ca, _, td, now: make_leaf(ca, now, uris=[_workload(td)], san_critical=False),
        ),
        "no URI": Rogue("NoUriSan", lambda ca, _, _td, now: make_leaf(ca, now)),
        "no path": Rogue("RootPath", lambda ca, _, td, now: make_leaf(ca, now, uris=[f"spiffe://{td}"])),
        "a path that ends with a slash": Rogue(
            "NotASpiffeId", lambda ca, _, td, now: make_leaf(ca, now, uris=[f"spiffe://{td}/"])
        ),
        "another scheme": Rogue(
            "NotASpiffeId", lambda ca, _, td, now: make_leaf(ca, now, uris=[f"https://{td}/ns/demo/sa/echo"])
        ),
        "a port in the trust domain": Rogue(
            "NotASpiffeId",
            lambda ca, _, td, now: make_leaf(ca, now, uris=[f"spiffe://{td}:443/ns/demo/sa/echo"]),
        ),
    }
)
"""By what is wrong with each."""


class MemoryKeystore:
    """A keystore that outlives authorities, not the process; it can be told to fail."""

    def __init__(self) -> None:
        self.state: CaState | None = None
        self.keys: dict[str, SecretBytes] = {}
        self.broken = False

    def load(self) -> CaState | None:
        return self.state

    def save(self, state: CaState) -> None:
        self._check()
        self.state = state

    def load_key(self, slot_id: str) -> SecretBytes:
        if slot_id not in self.keys:
            raise TrustError(f"there is no key of {slot_id}", reason="Unusable")
        return self.keys[slot_id]

    def save_key(self, slot_id: str, key: SecretBytes) -> None:
        self._check()
        self.keys[slot_id] = key

    def retain_keys(self, slot_ids: frozenset[str]) -> None:
        self._check()
        self.keys = {slot_id: key for slot_id, key in self.keys.items() if slot_id in slot_ids}

    def _check(self) -> None:
        if self.broken:
            raise TrustError("the disk is full", reason="Unusable")
