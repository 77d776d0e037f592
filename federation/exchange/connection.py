"""ExchangeConnection: commands, writes and subscriptions at whatever Redis the exchange is, with TLS and credentials.

Between the exchange's parts and redis-py, which only this module and those below it import. Every command has an end,
every failure is one ExchangeUnavailableError, odd answers too; what is wrong with the data of one key is a WireError.
It retries nothing but a slot that has moved: a caller that knows what it wanted does.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from redis.asyncio import Redis
from redis.asyncio.connection import Connection, ConnectionPool, UnixDomainSocketConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.credentials import CredentialProvider
from redis.exceptions import AuthenticationError, MovedError, NoPermissionError

from federation.exchange.answers import BoundedParser, TooLargeError
from federation.exchange.credentials import Credentials, load_credentials
from federation.exchange.failures import explain
from federation.exchange.servers import OneServer, Servers, servers_of
from federation.exchange.transactions import Argument, Command, Decision, is_of_wrong_type, rehearse, write, write_if
from federation.model.configuration import ExchangeSettings
from federation.model.errors import ConfigError, ExchangeUnavailableError, WireError
from federation.model.exchange_address import ExchangeAddress, Node
from federation.model.wire import Reason

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ExchangeAccess:
    """Where the exchange is, and how to be let in."""

    address: ExchangeAddress
    ca_file: Path | None = None
    """CA certificates (PEM), the only ones that are trusted; None: those that the system trusts. Of use with TLS."""
    credentials: Callable[[], Credentials] | None = None
    """Asked for every new connection, so that replaced credentials are used without a restart. May raise
    FederationError. None: no user, no password."""


def access_of(settings: ExchangeSettings) -> ExchangeAccess:
    """Access as a cluster's settings name it; the files are read when connections are opened."""
    file = settings.credentials_file
    return ExchangeAccess(settings.url, settings.ca_file, None if file is None else partial(load_credentials, file))


class Heard(NamedTuple):
    channel: str
    data: bytes


class ExchangeConnection:
    """``timeout_seconds`` bounds each command; a channel that is silent for as long is probed."""

    def __init__(self, access: ExchangeAccess, *, timeout_seconds: float = 3.0) -> None:
        self._where = str(access.address)
        self._timeout = timeout_seconds
        self._servers = _servers(access, timeout_seconds)

    async def command(self, key: str, *command: Argument) -> Any:
        """``ask`` without a look at the answer."""
        return await self.ask(key, _as_it_is, *command)

    async def ask(self, key: str, read: Callable[[Any], T], *command: Argument) -> T:
        """Send a command to the server that has ``key``; ``read`` makes something of the answer, and raises anything
        where it is none.

        Raises WireError (``Unreadable``, ``Oversized``) where the key holds another type, or more than is ever read.
        """

        async def send(server: Redis) -> T:
            return read(await server.execute_command(*command))  # type: ignore[no-untyped-call]

        return await self._at(key, send, blamed=key)

    async def write(self, key: str, *commands: Command) -> None:
        """Do all of this, on keys of the slot of ``key``, as one moment of its server."""
        await self._at(key, lambda server: write(server, commands))

    async def write_if(
        self, watched: Sequence[str], reads: Sequence[Command], decide: Callable[[list[Any]], Decision]
    ) -> bool:
        """Do what ``decide`` makes of the answers to ``reads``, as one moment with them as far as the keys in
        ``watched`` go, all of one slot; whether it was done, now or before."""
        return await self._at(watched[0], lambda server: write_if(server, watched, reads, decide))

    async def rehearse(self, key: str, *commands: Command) -> None:
        """Have the server of ``key`` judge whether our user may write all of this; nothing is written."""
        await self._at(key, lambda server: rehearse(server, key, commands))

    async def time(self, key: str) -> datetime:
        """The clock of the server that has ``key``."""
        return await self.ask(key, _time, "TIME")

    async def version(self, key: str) -> str:
        """Name and version of the program of the server that has ``key``, as ``redis 7.0.15``."""
        # Unlike INFO, HELLO is open to every user.
        return await self.ask(key, _program, "HELLO")

    async def versions(self) -> tuple[str, ...]:
        """``version`` of every server."""
        return await self.on_every_server(_program, "HELLO")

    async def on_every_server(self, read: Callable[[Any], T], *command: Argument) -> tuple[T, ...]:
        """Send a command to each server, one after the other; what the first failed with is raised when all had it."""
        self._servers.doubt()
        async with self._answered(bounded=False):
            servers = await self._servers.every()
        answers, failures = [], []
        for server in servers:
            try:
                async with self._answered():
                    answers.append(read(await server.execute_command(*command)))  # type: ignore[no-untyped-call]
            except ExchangeUnavailableError as error:
                failures.append(error)
        if failures:
            raise failures[0]
        return tuple(answers)

    @asynccontextmanager
    async def subscription(self, *channels: str) -> AsyncIterator[AsyncIterator[Heard]]:
        """Follow ``channels``: on entry the subscription stands, the iteration ends only by error."""
        async with self._answered():
            server = await self._servers.listening()
        pubsub = server.pubsub()
        try:
            async with self._answered():
                await pubsub.subscribe(*channels)
                for _ in channels:
                    await pubsub.get_message(timeout=None)
            yield self._messages(pubsub)
        finally:
            # What we gave up already has nothing more to fail with.
            with suppress(Exception):
                await pubsub.aclose()  # type: ignore[no-untyped-call]

    async def aclose(self) -> None:
        await self._servers.aclose()

    async def _messages(self, pubsub: Any) -> AsyncIterator[Heard]:
        probed = False
        while True:
            async with self._answered(bounded=False):
                message = await pubsub.get_message(timeout=self._timeout)
                if message is None:
                    if probed:
                        self._servers.doubt()
                        raise ExchangeUnavailableError("exchange did not answer a ping on the channel")
                    await pubsub.ping()
                probed = message is None
                heard = None if message is None else _heard(message)
            if heard is not None:
                yield heard

    async def _at(self, key: str, act: Callable[[Redis], Awaitable[T]], *, blamed: str = "") -> T:
        async with self._answered(blamed):
            try:
                return await act(await self._servers.serving(key))
            except MovedError:
                self._servers.doubt()
                return await act(await self._servers.serving(key))

    @asynccontextmanager
    async def _answered(self, blamed: str = "", *, bounded: bool = True) -> AsyncIterator[None]:
        """Raise the family's errors; a WireError where what stands under the key ``blamed`` is at fault."""
        try:
            async with asyncio.timeout(self._timeout if bounded else None):
                yield
        except ExchangeUnavailableError:
            raise
        except Exception as error:
            # Whatever a server says, and redis-py makes of it, must not end who asked.
            if blamed and is_of_wrong_type(error):
                raise WireError(Reason.UNREADABLE, f"{blamed} holds another type than it should") from error
            if blamed and isinstance(error, TooLargeError):
                raise WireError(Reason.OVERSIZED, f"{blamed} holds more than is read: {error}") from error
            if not isinstance(error, NoPermissionError):
                self._servers.doubt()
            raise explain(error, self._where) from error


def blob_of(answer: Any) -> bytes | None:
    """A value as it was stored, for ``ask``; None where there is none."""
    if answer is None or isinstance(answer, bytes):
        return answer
    raise TypeError(f"a value is of type {type(answer).__name__}")


def _as_it_is(answer: Any) -> Any:
    return answer


def _heard(message: dict[str, Any]) -> Heard | None:
    """What a message of redis-py says; None where it is no message of a channel."""
    if message["type"] != "message":
        return None
    if not isinstance(message["data"], bytes):
        raise TypeError(f"message is of type {type(message['data']).__name__}")
    return Heard(message["channel"].decode(), message["data"])


def _time(answer: Any) -> datetime:
    seconds, microseconds = map(int, answer)
    return datetime.fromtimestamp(seconds + microseconds / 1e6, UTC)


def _program(answer: list[bytes]) -> str:
    """What HELLO says: names and values by turns."""
    fields = dict(zip(answer[::2], answer[1::2], strict=True))
    return f"{fields[b'server'].decode()} {fields[b'version'].decode()}"


def tls_context(ca_file: Path | None) -> ssl.SSLContext:
    """Trust in ``ca_file`` alone, or in what the system trusts: TLS 1.2 or later, name or IP address checked against
    subjectAltName. Raises ConfigError for an unusable file."""
    return _system_trust() if ca_file is None else _pinned(ca_file)


def _pinned(ca_file: Path) -> ssl.SSLContext:
    context = _strict()
    try:
        context.load_verify_locations(cadata=ca_file.read_text())
    except (OSError, UnicodeDecodeError) as error:
        cause = "it holds no PEM certificate" if isinstance(error, ssl.SSLError) else str(error)
        raise ConfigError(f"CA file {ca_file} is unusable: {cause}", hint="exchange.caFile names it") from error
    return context


@cache
def _system_trust() -> ssl.SSLContext:
    context = _strict()
    context.load_default_certs()
    return context


def _strict() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.hostname_checks_common_name = False
    return context


class _TlsConnection(Connection):
    """redis-py's own TLS connection trusts the system's CAs beside the one that it is given."""

    def __init__(self, *, ca_file: Path | None, **options: Any) -> None:
        self._ca_file = ca_file
        super().__init__(**options)

    def _connection_arguments(self) -> dict[str, Any]:
        # Anew for each connection, so that a replaced CA file is used without a restart.
        return {**super()._connection_arguments(), "ssl": tls_context(self._ca_file)}

    async def disconnect(self, *args: Any, **options: Any) -> None:
        # TLS takes its leave only when the other side answers: a frozen server would keep us, and a subscription, for
        # which redis-py does not wait, would be left open when the loop ends. Nothing is under way any more.
        if self._writer is not None:
            self._writer.transport.abort()
        await super().disconnect(*args, **options)


class _Provider(CredentialProvider):
    def __init__(self, credentials: Callable[[], Credentials]) -> None:
        self._credentials = credentials

    def get_credentials(self) -> tuple[str, str]:
        try:
            credentials = self._credentials()
        except ConfigError as error:
            # After any other exception redis-py would go on with a connection that never was authenticated.
            raise AuthenticationError("no credentials") from error
        return credentials.username, credentials.password

    async def get_credentials_async(self) -> tuple[str, str]:
        return self.get_credentials()


def _servers(access: ExchangeAccess, timeout_seconds: float) -> Servers:
    address = access.address
    # redis-py retries ten times by default; our callers know better what is still worth sending. Its own
    # socket timeout ends subscriptions that are merely quiet, and goes through asyncio.wait_for, which in
    # Python 3.11 may swallow a cancellation (python/cpython#86296): _answered is our timeout.
    options: dict[str, Any] = {
        "retry": Retry(NoBackoff(), 0),
        "socket_timeout": None,
        "protocol": 2,
        "driver_info": None,
        "parser_class": BoundedParser,
    }
    inside = {**options, "db": address.database}
    if access.credentials is not None:
        inside["credential_provider"] = _Provider(access.credentials)
    if address.socket:
        pool = ConnectionPool(connection_class=UnixDomainSocketConnection, path=address.socket, **inside)
        return OneServer(Redis.from_pool(pool))
    over: dict[str, Any] = {"socket_connect_timeout": timeout_seconds, "connection_class": Connection}
    if address.tls:
        over |= {"connection_class": _TlsConnection, "ca_file": access.ca_file}

    def client(node: Node, options: dict[str, Any]) -> Redis:
        return Redis.from_pool(ConnectionPool(host=node.host, port=node.port, **over, **options))

    return servers_of(address, lambda node: client(node, inside), lambda node: client(node, options))
