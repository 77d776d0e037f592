"""The Redis that an installation puts into the cluster, started as its pod starts it, on loopback."""

from __future__ import annotations

import base64
import socket
import subprocess
from collections.abc import Iterator
from contextlib import aclosing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from federation.app.clock import utc_now
from federation.app.exchange_secret import ADMIN_KEY, exchange_secret
from federation.exchange.connection import ExchangeAccess
from federation.exchange.credentials import load_credentials
from federation.exchange.server import die_with_parent
from federation.exchange.users import RedisUsers
from federation.install.exchange import ARGUMENTS, CERTIFICATE_DIRECTORY, DATA_DIRECTORY
from federation.model.errors import ExchangeUnavailableError
from federation.model.exchange_address import parse_exchange_address
from federation.model.names import ClusterId
from federation.storage.private_file import replace_private
from support.exchange import until
from support.installation import one, rendered
from support.ports import free_port
from support.redis_server import tls_program

EAST = ClusterId("east")
DIGEST = "a" * 64


class Pod:
    """The StatefulSet's pod as processes of this host: its directories are elsewhere, and so is its port."""

    def __init__(self, root: Path, program: Path) -> None:
        self.certificates, self.data, self.port = root / "certificates", root / "data", free_port("127.0.0.1")
        self._program = program
        for directory in (self.certificates, self.data):
            directory.mkdir()

    def mount(self, secret: Any) -> None:
        """Put the Secret where the pod has it."""
        for key, value in secret["data"].items():
            replace_private(self.certificates / key, base64.b64decode(value))

    @contextmanager
    def running(self) -> Iterator[None]:
        """The init container, then the server, until the end of the block."""
        pod = one(rendered("exchange.inCluster=true"), "StatefulSet", "federation-exchange")["spec"]["template"]["spec"]
        (init,), (container,) = pod["initContainers"], pod["containers"]
        assert tuple(container["args"]) == ARGUMENTS
        subprocess.run([self._here(word) for word in init["command"]], check=True)
        words = [self._here(word) for word in container["args"]]
        words[words.index("--tls-port") + 1] = str(self.port)
        process = subprocess.Popen(
            [str(self._program), *words, "--bind", "127.0.0.1"],
            stdout=subprocess.DEVNULL,
            preexec_fn=die_with_parent,  # noqa: PLW1509 - takes no lock
        )
        try:
            yield
        finally:
            process.terminate()
            process.wait()

    def _here(self, word: str) -> str:
        return word.replace(CERTIFICATE_DIRECTORY, str(self.certificates)).replace(DATA_DIRECTORY, str(self.data))

    def answers(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def users(self) -> RedisUsers:
        """What the authority does with the administrator's credentials."""
        credentials = partial(load_credentials, self.certificates / ADMIN_KEY)
        url = parse_exchange_address(f"rediss://localhost:{self.port}")
        return RedisUsers(ExchangeAccess(url, self.certificates / "ca.pem", credentials), "acme")


@pytest.fixture
def pod(tmp_path: Path) -> Pod:
    return Pod(tmp_path, tls_program())


async def test_members_get_users_that_outlive_the_pod(pod: Pod) -> None:
    """With the Secret's CA and administrator the authority makes a user, over TLS; the next pod knows it."""
    pod.mount(exchange_secret(None, "federation-exchange", "federation-system", ("localhost",), utc_now()))
    with pod.running():
        await until(pod.answers)
        async with aclosing(pod.users()) as users:
            await users.set_user(EAST, [DIGEST])
    with pod.running():
        await until(pod.answers)
        async with aclosing(pod.users()) as users:
            assert await users.users() == {EAST: frozenset({DIGEST})}


async def test_nobody_is_let_in_without_a_user(pod: Pod) -> None:
    """Another administrator's password opens nothing."""
    pod.mount(exchange_secret(None, "federation-exchange", "federation-system", ("localhost",), utc_now()))
    with pod.running():
        await until(pod.answers)
        replace_private(pod.certificates / ADMIN_KEY, b"admin:guessed\n")
        async with aclosing(pod.users()) as users:
            with pytest.raises(ExchangeUnavailableError):
                await users.users()
