"""Every way in which the exchange fails has its own words and its own next step."""

from __future__ import annotations

import socket
import ssl

import pytest
from redis import exceptions

from federation.exchange.failures import explain
from federation.model.errors import ConfigError


def verification(code: int) -> ssl.SSLCertVerificationError:
    error = ssl.SSLCertVerificationError(1, "certificate verify failed")
    error.verify_code, error.verify_message = code, "as OpenSSL says"
    return error


@pytest.mark.parametrize(
    ("error", "text", "hint"),
    [
        (exceptions.AuthenticationError("invalid username-password pair"), "refused our user or password", "correct"),
        (exceptions.AuthenticationError("Authentication required."), "demands a user and a password", "name a file"),
        (exceptions.NoPermissionError("can't run 'keys'"), "forbids this to our user: can't run 'keys'", "rules"),
        (exceptions.ReadOnlyError("replica"), "is not ready", "settles"),
        (exceptions.BusyLoadingError("loading"), "is not ready", "settles"),
        (exceptions.MovedError("1 127.0.0.1:7000"), "is not ready", "settles"),
        (exceptions.ClusterDownError("CLUSTERDOWN"), "is not ready", "settles"),
        (exceptions.OutOfMemoryError("OOM"), "is full", "memory"),
        (exceptions.ConnectionError("Connection closed by server."), "closed the connection", "TLS"),
        (exceptions.ConnectionError("(104, 'Connection reset by peer')"), "closed the connection", "TLS"),
        (exceptions.ConnectionError("Error 111 connecting to h:1. Connect call failed"), "refuses connections", "port"),
        (ConnectionRefusedError(111, "refused"), "refuses connections", "running"),
        (OSError("Multiple exceptions: [Errno 111] Connect call failed"), "refuses connections", "running"),
        (TimeoutError(), "gave no answer in time", "rediss://"),
        (exceptions.TimeoutError("Timeout connecting to server"), "gave no answer in time", "firewalls"),
        (socket.gaierror(-2, "Name or service not known"), "host name does not resolve", "DNS"),
        (verification(62), "certificate for another name: as OpenSSL says", "subjectAltName"),
        (verification(64), "certificate for another name", "subjectAltName"),
        (verification(10), "not valid now", "clocks"),
        (verification(9), "not valid now", "clocks"),
        (verification(20), "CA that is not trusted here", "caFile"),
        (verification(19), "CA that is not trusted here", "caFile"),
        (ssl.SSLError(1, "WRONG_VERSION_NUMBER"), "did not complete TLS", "rediss://"),
        (ConfigError("credentials file x is odd", hint="mend it"), "can't be used: credentials file x", "mend it"),
    ],
)
def test_a_failure_is_told_with_its_next_step(error: Exception, text: str, hint: str) -> None:
    """The words name the address and the cause, bare or wrapped by redis-py; the hint says what to do."""
    wrapped = exceptions.ConnectionError("Error connecting")
    wrapped.__context__ = error
    for failure in (error, wrapped):
        told = explain(failure, "redis://h:6379")
        assert str(told).startswith("exchange at redis://h:6379 ")
        assert text in str(told)
        assert hint in told.hint


def test_what_has_no_words_of_its_own_is_told_as_it_is() -> None:
    """The text of the error, or its kind where it has none."""
    told = [str(explain(error, "unix:///s")) for error in (exceptions.ResponseError("MISCONF x"), OSError())]
    assert told == ["exchange at unix:///s gave no answer: MISCONF x", "exchange at unix:///s gave no answer: OSError"]


def test_the_server_can_not_flood_an_error() -> None:
    """Its text is cut."""
    assert len(str(explain(exceptions.ResponseError("x" * 10_000), "redis://h"))) < 300
