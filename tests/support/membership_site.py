"""Clusters that found, join and leave a clusterset by the command line, around an exchange with or without users."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import socket
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import redis

from controllers.status import StatusReport
from federation.cli.main import run
from federation.cli.owner import ask
from federation.exchange.secure_server import ExchangeServer
from federation.exchange.server import EmbeddedRedis, find_redis_server
from federation.model.addresses import HostPort
from federation.model.errors import FederationError
from support.processes import Child, federation_command
from support.redis_server import tls_program

CLUSTERSET = "acme"


class Ended(NamedTuple):
    """How a command ended, and what it said."""

    returncode: int
    stdout: str
    stderr: str


@dataclass
class Site:
    """Directories of clusters below ``root``, and the exchange that they meet at."""

    root: Path
    url: str
    clusters: str = "."
    """Where the clusters' directories are, below the root."""
    init_options: tuple[str, ...] = ()
    password: str = field(default="", repr=False)
    """Of the exchange's administrator; empty: it knows no users."""
    controllers: dict[str, Child] = field(default_factory=dict)

    def directory(self, cluster: str) -> Path:
        return self.root / self.clusters / cluster

    def run(self, *words: str, given: str = "") -> Ended:
        """A command to its end, in this process: to start one costs more than most commands. ``given`` is its
        standard input."""
        streams = io.StringIO(), io.StringIO()
        with (
            contextlib.chdir(self.root),
            contextlib.redirect_stdout(streams[0]),
            contextlib.redirect_stderr(streams[1]),
            pytest.MonkeyPatch.context() as patch,
        ):
            patch.setattr("sys.argv", ["federation", *words])
            patch.setattr("sys.stdin", io.StringIO(given))
            try:
                run()
            except SystemExit as ended:
                code = int(ended.code or 0)
        return Ended(code, streams[0].getvalue(), streams[1].getvalue())

    def done(self, *words: str, given: str = "") -> str:
        """What a command that must succeed prints."""
        result = self.run(*words, given=given)
        assert result.returncode == 0, f"{words}: {result.stderr}"
        return result.stdout.strip()

    def init(self, cluster: str) -> str:
        words = ("--clusterset", CLUSTERSET, "--cluster-id", cluster, "--region", "r", "--exchange", self.url)
        return self.done("init", "--dir", cluster, *words, *self.init_options)

    def token(self, seat: str, cluster: str, *options: str) -> str:
        return self.done("token", "create", "--dir", seat, "--cluster", cluster, *options)

    def join(self, cluster: str, token: str, *options: str) -> Ended:
        return self.run("join", "--dir", cluster, "--region", "r", "--token-file", "-", *options, given=token)

    def start(self, cluster: str) -> None:
        """The cluster's controller, on a port of its own; its gateway is not needed here."""
        settings = self.directory(cluster) / "cluster.yaml"
        if "http:" not in settings.read_text():
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", 0))
                settings.write_text(f"{settings.read_text()}http: {{listen: '127.0.0.1:{probe.getsockname()[1]}'}}\n")
        command = federation_command("controller", "--dir", str(self.directory(cluster)))
        child = self.controllers.setdefault(cluster, Child(cluster, command, self.root / f"{cluster}.log"))
        child.start()

    def status(self, cluster: str) -> StatusReport:
        """The controller's report; OSError while nobody answers."""
        try:
            return ask(self.directory(cluster), "/v1/status", StatusReport)
        except FederationError as error:
            raise OSError(str(error)) from error

    def members(self, cluster: str) -> list[str]:
        """As the cluster's own roster has them."""
        listed = json.loads(self.done("members", "--dir", cluster, "-o", "json"))
        return [member["cluster"] for member in listed["members"]]

    def key(self, cluster: str, at: str) -> str:
        """The member key of ``cluster`` as ``at`` knows it."""
        listed = json.loads(self.done("members", "--dir", at, "-o", "json"))
        return next(member["memberKey"] for member in listed["members"] if member["cluster"] == cluster)

    def traces(self, cluster: str) -> list[str]:
        """What the exchange and the disks of the others still hold of a cluster."""
        found = [f"key {name}" for name in self.keys() if f"{{{cluster}}}" in name or name.endswith(f":{cluster}")]
        found += [f"key {name}" for name in self.keys() if f":{cluster}:" in name]
        found += [f"user {user}" for user in self.users() if user.endswith(f".{cluster}")]
        for other in self.root.iterdir():
            if other.name != cluster and (other / "state").is_dir():
                found += [str(path) for path in (other / "state" / "replicas").glob(f"{cluster}*")]
        return sorted(set(found))

    def keys(self) -> list[str]:
        with self.admin() as client:
            return sorted(name.decode() for name in client.keys("fg:*"))

    def users(self) -> list[str]:
        with self.admin() as client:
            return sorted(client.acl_users()) if self.password else []

    @contextlib.contextmanager
    def admin(self) -> Iterator[redis.Redis]:
        options: dict[str, Any] = {"username": "admin", "password": self.password} if self.password else {}
        if self.url.startswith("rediss:"):
            options["ssl_ca_certs"] = str(self.root / "exchange" / "ca.pem")
        client = redis.Redis.from_url(self.url, **options)
        try:
            yield client
        finally:
            client.close()

    def end(self) -> None:
        for child in self.controllers.values():
            if child.running:
                os.kill(child.pid, 15)
        for child in self.controllers.values():
            child.end()


@contextlib.contextmanager
def secure_site(root: Path, clusters: str = ".") -> Iterator[Site]:
    """Around what `federation exchange up` runs: TLS, and a user for each cluster."""
    server = ExchangeServer(
        root / "exchange", HostPort("127.0.0.1", 0), ["127.0.0.1"], program=tls_program(), now=datetime.now(UTC)
    )
    server.start()
    password = re.sub(r"^[^:]*:", "", server.admin_file.read_text().strip())
    options = ("--exchange-ca", str(server.ca_file), "--exchange-admin", str(server.admin_file))
    site = Site(root, server.url, clusters, options, password)
    try:
        yield site
    finally:
        site.end()
        server.stop()


@contextlib.contextmanager
def plain_site(root: Path) -> Iterator[tuple[Site, EmbeddedRedis]]:
    """Around a Redis without TLS and without users."""
    server = EmbeddedRedis(0, directory=root / "exchange", program=find_redis_server(os.environ))
    server.start()
    site = Site(root, server.url)
    try:
        yield site, server
    finally:
        site.end()
        server.kill()
