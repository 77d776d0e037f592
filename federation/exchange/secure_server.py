"""ExchangeServer: an embedded Redis with TLS of its own CA, users, and an administrator, in one private directory.

Behind ``federation exchange up``. Its CA, users and the administrator's password survive a restart; what members wrote
does not, they publish it again. Nobody is let in without a user.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from federation.exchange.certificates import ca_certificate, server_certificate, serves
from federation.exchange.connection import tls_context
from federation.exchange.credentials import Credentials, load_credentials
from federation.exchange.server import EmbeddedRedis
from federation.model.addresses import HostPort
from federation.model.errors import ConfigError, FederationError
from federation.storage.private_file import read_private, replace_private

ADMIN = "admin"


class ExchangeServer:
    """The server of ``directory`` (made with mode 0700) on ``listen``, where port 0 takes a free one.

    ``names`` are what members call it by: host names and IP addresses, the first of them in its URL. Without ``tls``
    its users' passwords travel in the clear: for loopback. Raises ConfigError where the directory is unusable.
    """

    def __init__(
        self,
        directory: Path,
        listen: HostPort,
        names: Sequence[str],
        *,
        program: Path,
        now: datetime,
        tls: bool = True,
    ) -> None:
        self.directory = directory.absolute()
        self._names = tuple(names)
        self._tls = tls
        with _usable(self.directory):
            self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.directory.chmod(0o700)
            options = {"aclfile": str(self._users_file())}
            if tls:
                options |= self._certified(now)
        context = tls_context(self.ca_file) if tls else None
        if context is not None:
            # We ask the address that it listens on; its certificate is for the names that members use.
            context.check_hostname = False
        self._redis = EmbeddedRedis(
            listen.port, listen.host, directory=self.directory, program=program, options=options, tls=context
        )

    @property
    def ca_file(self) -> Path:
        """The CA certificate (PEM) that members pin."""
        return self.directory / "ca.pem"

    @property
    def admin_file(self) -> Path:
        """Credentials of the administrator, who may do everything."""
        return self.directory / "admin.credentials"

    @property
    def url(self) -> str:
        """Where members reach it; the port is known once it was started."""
        name = f"[{self._names[0]}]" if ":" in self._names[0] else self._names[0]
        return f"{'rediss' if self._tls else 'redis'}://{name}:{self._redis.port}"

    @property
    def pid(self) -> int | None:
        """Process id while it runs."""
        return self._redis.pid

    def start(self) -> None:
        """Start it and wait until it answers; raises ExchangeUnavailableError with its last words."""
        self._redis.start()

    def stop(self) -> None:
        """End it and wait for it."""
        self._redis.stop()

    def kill(self) -> None:
        """End it as a crash would."""
        self._redis.kill()

    def check(self) -> None:
        """Raises FederationError where the server ended by itself."""
        if self._redis.died:
            raise FederationError(f"the exchange's server ended by itself: {self._redis.last_words}")

    def _users_file(self) -> Path:
        """The file of the users: as the server saved it, with the administrator of ``admin.credentials``."""
        if not self.admin_file.exists():
            replace_private(self.admin_file, Credentials(ADMIN, secrets.token_urlsafe(32)).line.encode())
        admin = load_credentials(self.admin_file)
        digest = hashlib.sha256(admin.password.encode()).hexdigest()
        path = self.directory / "users.acl"
        saved = path.read_text() if path.exists() else ""
        replace_private(path, users_text(saved, admin.username, digest).encode())
        return path

    def _certified(self, now: datetime) -> dict[str, str]:
        """A CA and a certificate of it that has enough of its life before it, made where they are missing."""
        ca_key = self._key("ca.key")
        if not self.ca_file.exists():
            certificate = ca_certificate(ca_key, x509.random_serial_number(), now)
            replace_private(self.ca_file, certificate.public_bytes(Encoding.PEM))
            self.ca_file.chmod(0o644)
        ca = x509.load_pem_x509_certificate(self.ca_file.read_bytes())
        key, path = self._key("server.key"), self.directory / "server.pem"
        if not (path.exists() and self._is_good(path, ca, key, now)):
            number = x509.random_serial_number()
            fresh = server_certificate(key.public_key(), self._names, number, now, ca=ca, ca_key=ca_key)
            replace_private(path, fresh.public_bytes(Encoding.PEM))
        return {
            "tls-cert-file": str(path),
            "tls-key-file": str(self.directory / "server.key"),
            "tls-ca-cert-file": str(self.ca_file),
            "tls-auth-clients": "no",
            "tls-protocols": "TLSv1.2 TLSv1.3",
        }

    def _is_good(self, path: Path, ca: x509.Certificate, key: ec.EllipticCurvePrivateKey, now: datetime) -> bool:
        certificate = x509.load_pem_x509_certificate(path.read_bytes())
        return (
            certificate.issuer == ca.subject
            and certificate.public_key() == key.public_key()
            and serves(certificate, self._names, now)
        )

    def _key(self, name: str) -> ec.EllipticCurvePrivateKey:
        path = self.directory / name
        if not path.exists():
            fresh = ec.generate_private_key(ec.SECP256R1())
            replace_private(path, fresh.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        key = load_pem_private_key(read_private(path), password=None)
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise ConfigError(f"{path} is no key of ours", hint="move it away, and members join anew with the new CA")
        return key


def users_text(saved: str, admin: str, digest: str) -> str:
    """The file of users with ``admin`` by that password alone, nobody by default, and all others as they were saved."""
    others = [line for line in saved.splitlines() if line.split(" ")[1:2] not in ([admin], ["default"], [])]
    return "".join(f"{line}\n" for line in ("user default off", f"user {admin} on #{digest} ~* &* +@all", *others))


@contextmanager
def _usable(directory: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError) as error:
        cause = (error.strerror if isinstance(error, OSError) else None) or str(error)
        raise ConfigError(f"exchange directory {directory} can't be used: {cause}") from error
