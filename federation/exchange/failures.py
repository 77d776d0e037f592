"""What went wrong at the exchange, in words: errors of redis-py, TLS and sockets as one ExchangeUnavailableError.

Used where commands are sent. Texts of the server are cut short; no password is ever in them.
"""

from __future__ import annotations

import errno
import re
import socket
import ssl
from collections.abc import Iterator

from redis import exceptions

from federation.model.errors import ExchangeDeniedError, ExchangeUnavailableError, FederationError

_FAILURES = (exceptions.RedisError, OSError, TimeoutError)
"""Anything else is what we, or redis-py, made of an answer that is none."""

_NOT_READY = (
    exceptions.AskError,
    exceptions.BusyLoadingError,
    exceptions.ClusterDownError,
    exceptions.ReadOnlyError,
    exceptions.TryAgainError,
)
# Several addresses of one name give one error that quotes all; redis-py has its own words for the same.
_REFUSED = re.compile(rf"\b(Errno|Error) {errno.ECONNREFUSED}\b")
_ENDED = re.compile(r"(?i)\bclosed\b|\breset by peer\b|\bbroken pipe\b")
# X509_V_ERR_*: OpenSSL's codes of a verification that failed.
_NOT_YET_VALID, _EXPIRED, _WRONG_NAME, _WRONG_ADDRESS = 9, 10, 62, 64


def explain(error: BaseException, where: str) -> ExchangeUnavailableError:
    """Say what failed at ``where`` (an address without secrets), and what to do next."""
    message, hint = _words(error)
    denied = any(isinstance(cause, exceptions.AuthenticationError) for cause in _causes(error))
    kind = ExchangeDeniedError if denied else ExchangeUnavailableError
    return kind(f"exchange at {where} {message}", hint=hint)


def _words(error: BaseException) -> tuple[str, str]:
    causes = tuple(_causes(error))
    for ours in causes:
        if isinstance(ours, FederationError):
            return f"can't be used: {ours}", ours.hint
    for cause in causes:
        if words := _known(cause):
            return words
    if not isinstance(error, _FAILURES):
        return f"gave an odd answer: {type(error).__name__}: {_text(error)}", "is it a Redis, and nothing between?"
    return f"gave no answer: {_text(error)}", ""


def _known(error: BaseException) -> tuple[str, str] | None:
    match error:
        case ssl.SSLCertVerificationError():
            return _certificate(error)
        case ssl.SSLError():
            return (
                f"did not complete TLS: {_text(error)}",
                "is it a TLS port? redis:// is without TLS, rediss:// with it",
            )
        case socket.gaierror():
            return (
                f"can't be found: host name does not resolve ({error.strerror})",
                "check the host in the URL, and DNS",
            )
        case OSError() | exceptions.ConnectionError() if _REFUSED.search(str(error)):
            return "refuses connections: nothing listens there", "is the server running, and the port right?"
        case TimeoutError() | exceptions.TimeoutError():
            return "gave no answer in time", "check host, port and firewalls, and that rediss:// meets a TLS port"
        case exceptions.NoPermissionError():
            return (
                f"forbids this to our user: {_text(error)}",
                "set the user's rules anew: see 'federation exchange acl'",
            )
        case exceptions.AuthenticationError() if "required" in str(error).lower():
            return "demands a user and a password", "name a file with USER:PASSWORD as exchange.credentialsFile"
        case exceptions.AuthenticationError():
            return (
                f"refused our user or password: {_text(error)}",
                "correct the file that exchange.credentialsFile names",
            )
        case exceptions.OutOfMemoryError():
            return f"is full: {_text(error)}", "give the server more memory (maxmemory)"
        case exceptions.RedisError() if isinstance(error, _NOT_READY):
            return f"is not ready: {_text(error)}", "it settles by itself while servers change places or load"
        case exceptions.ConnectionError() if _ENDED.search(str(error)):
            return "closed the connection", "does it demand TLS (rediss://), or has it just gone?"
    return None


def _certificate(error: ssl.SSLCertVerificationError) -> tuple[str, str]:
    match error.verify_code:
        case code if code in {_WRONG_NAME, _WRONG_ADDRESS}:
            return (
                f"has a certificate for another name: {error.verify_message}",
                "use a host name or IP address that its certificate has as subjectAltName",
            )
        case code if code in {_EXPIRED, _NOT_YET_VALID}:
            return (
                f"has a certificate that is not valid now: {error.verify_message}",
                "renew it, and compare the clocks of both sides",
            )
    return (
        f"has a certificate of a CA that is not trusted here: {error.verify_message}",
        "name the CA that signed it (PEM) as exchange.caFile",
    )


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """The error and what it came of: redis-py wraps what the socket said."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _text(error: BaseException) -> str:
    return str(error)[:200] or type(error).__name__
