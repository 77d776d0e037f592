"""`federation check` at a real exchange with TLS and users: one thing is broken at a time, and its line says so."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import socket
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from controllers.checks import Check, Level
from federation.app.clock import utc_now
from federation.app.exchange_visit import ExchangeVisit
from federation.app.preflight import JoinPreflight, Preflight
from federation.exchange.access import username
from federation.exchange.connection import ExchangeAccess
from federation.exchange.credentials import Credentials, load_credentials
from federation.exchange.redis_board import RedisBoard
from federation.exchange.secure_server import ExchangeServer
from federation.exchange.server import find_redis_server
from federation.exchange.users import RedisUsers
from federation.membership.join_token import JoinToken, encode_token
from federation.membership.keys import save_signing_key
from federation.membership.roster_file import RosterFile
from federation.model.addresses import HostPort
from federation.model.exchange_address import parse_exchange_address
from federation.model.names import ClusterId, ServiceKey
from federation.model.records import EndpointAddress, EndpointsRecord, GatewayAddress, GatewayRecord, ZoneCount
from federation.storage.private_file import replace_private
from support.admitted import Admitted, found_clusterset
from support.cluster_directory import endpoint_slice, service, stream
from support.exchange import CLUSTERSET, by_key, key_of
from support.exchange_site import publish, site
from support.processes import federation_command, python_environment
from support.redis_deployments import cluster, make_tls, sentinels
from support.redis_server import tls_program

PASSWORD = "hunter2"
EAST, WEST, NORTH = ClusterId("east"), ClusterId("west"), ClusterId("north")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ExchangeServer]:
    running = ExchangeServer(
        tmp_path_factory.mktemp("exchange"),
        HostPort("127.0.0.1", 0),
        ["127.0.0.1"],
        program=tls_program(),
        now=datetime.now(UTC),
    )
    running.start()
    yield running
    running.stop()


@dataclass
class Place:
    """The directory of the cluster that is checked, a member as west is, whose gateway answers."""

    directory: Path
    server: ExchangeServer
    gateway: HostPort
    settings: dict[str, Any]
    authority_key: bytes = b""

    def write(self) -> None:
        (self.directory / "cluster.yaml").write_text(yaml.safe_dump(self.settings))

    def access(self, cluster: str) -> ExchangeAccess:
        address = parse_exchange_address(self.server.url)
        credentials = Credentials(username(CLUSTERSET, ClusterId(cluster)), PASSWORD)
        return ExchangeAccess(address, self.server.ca_file, lambda: credentials)

    async def publish(self, *workloads: str) -> None:
        """What west says of itself: first where its gateway is, and then, in its log, of its workloads."""
        gateway = GatewayRecord((GatewayAddress(self.gateway.host, self.gateway.port),), "us", "flat")
        addresses = tuple(EndpointAddress((at,)) for at in workloads)
        endpoints = EndpointsRecord(ServiceKey("demo", "db"), (ZoneCount("", 1),), addresses)
        async with site(self.access("west"), "west", "east", self.directory / "west") as west:
            await publish(west, by_key(gateway))
            await publish(west, by_key(gateway, endpoints))

    async def checks(self, clock: Callable[[], datetime] = utc_now) -> list[Check]:
        return [check async for check in Preflight(self.directory, None, clock).checks()]

    def token(self, **changes: Any) -> str:
        said = {
            "clusterset": CLUSTERSET,
            "cluster": NORTH,
            "expires_at": utc_now() + timedelta(minutes=15),
            "exchange_url": self.server.url,
            "authority_key": self.authority_key,
            "seat": EAST,
            "seed": b"s" * 32,
            "exchange_ca": self.server.ca_file.read_text(),
            "exchange_user": username(CLUSTERSET, NORTH),
            "exchange_password": PASSWORD,
        }
        return encode_token(JoinToken(**(said | changes)))


async def living(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """As a gateway does with a name that it does not know."""
    await reader.read(1)
    writer.close()


async def frozen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """As the kernel does for a process that is stopped."""
    await reader.read()
    writer.close()


@asynccontextmanager
async def listening(act: Callable[..., Any], port: int = 0) -> AsyncIterator[HostPort]:
    listener = await asyncio.start_server(act, "127.0.0.1", port)
    async with listener:
        yield HostPort("127.0.0.1", listener.sockets[0].getsockname()[1])


def free_port() -> int:
    with socket.socket() as trial:
        trial.bind(("127.0.0.1", 0))
        return int(trial.getsockname()[1])


def failures(checks: list[Check]) -> list[str]:
    """The lines that fail; each has its fix, and none a password."""
    assert all(check.fix for check in checks if check.level is Level.FAILED)
    assert PASSWORD not in repr(checks)
    return [check.name for check in checks if check.level is Level.FAILED]


def said(checks: list[Check], name: str) -> str:
    return next(f"{check.message} -> {check.fix}" for check in checks if check.name == name)


@pytest.fixture
async def place(server: ExchangeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Place]:
    envoy = tmp_path / "envoy"
    envoy.write_text("#!/bin/sh\necho 'envoy  version: 9e5/1.40.0/Clean/RELEASE/BoringSSL'\n")
    envoy.chmod(0o755)
    monkeypatch.setenv("FEDERATION_ENVOY", str(envoy))
    directory = tmp_path / "east"
    (directory / "west").mkdir(parents=True)
    admin = ExchangeAccess(
        parse_exchange_address(server.url), server.ca_file, partial(load_credentials, server.admin_file)
    )
    async with aclosing(RedisUsers(admin, CLUSTERSET)) as users:
        for cluster in (EAST, WEST, NORTH):
            await users.set_user(cluster, [hashlib.sha256(PASSWORD.encode()).hexdigest()])
    settings = {
        "clusterset": CLUSTERSET,
        "cluster": "east",
        "region": "us",
        "network": "flat",
        "trustDomain": "east.example",
        "exchange": {
            "url": server.url,
            "caFile": str(server.ca_file),
            "credentialsFile": "exchange.credentials",
        },
        "gateway": {"listen": f"127.0.0.1:{free_port()}", "admin": f"127.0.0.1:{free_port()}"},
        "http": {"listen": f"127.0.0.1:{free_port()}"},
    }
    replace_private(directory / "exchange.credentials", f"{username(CLUSTERSET, EAST)}:{PASSWORD}\n".encode())
    keys = {cluster: Ed25519PrivateKey.from_private_bytes(cluster.encode().ljust(32, b".")) for cluster in (EAST, WEST)}
    assert keys[WEST].public_key().public_bytes_raw() == key_of("west").public
    save_signing_key(directory / "member.key", keys[EAST])
    found_clusterset(
        CLUSTERSET,
        [
            Admitted(directory, "east", "east.example", keys[EAST]),
            Admitted(directory / "west", "west", "west.example", keys[WEST]),
        ],
    )
    known = RosterFile(directory / "state").load()
    assert known is not None
    async with aclosing(RedisBoard(admin, CLUSTERSET)) as board:
        await board.publish_roster(known.blob)
    async with listening(living) as gateway:
        made = Place(directory, server, gateway, settings, known.authority_key)
        made.write()
        (directory / "echo.yaml").write_text(stream(service(), endpoint_slice(address="10.0.0.1")))
        await made.publish("10.0.0.2")
        yield made


async def test_a_cluster_that_is_well_has_no_line_that_fails(place: Place) -> None:
    """Every line is there, in order; what does not run is a note."""
    checks = await place.checks()
    assert failures(checks) == []
    assert [check.name for check in checks] == [
        "settings",
        "private files",
        "state directory",
        "membership",
        "member key",
        "controller",
        "exchange name",
        "exchange connection",
        "exchange TLS",
        "exchange login",
        "exchange server",
        "exchange rights",
        "clock",
        "clusterset",
        "python",
        "envoy",
        "peer versions",
        "gateway address",
        "gateway",
        "listen ports",
        "peer gateways",
        "addresses",
        "manifests",
    ]
    assert [check.name for check in checks if check.level is Level.NOTE] == ["controller", "gateway"]


async def test_an_exchange_that_is_down_is_one_line(place: Place) -> None:
    """What depends on it is passed over, all else is still checked."""
    place.server.stop()
    try:
        checks = await place.checks()
    finally:
        place.server.start()
    assert failures(checks) == ["exchange connection"]
    assert "nothing listens there -> is the server running" in said(checks, "exchange connection")
    assert checks[-1].name == "manifests"


async def test_a_host_that_does_not_resolve_is_one_line(place: Place) -> None:
    """A wrong name is told apart from a server that is down."""
    place.settings["exchange"]["url"] = "rediss://redis.invalid:6379"
    place.write()
    checks = await place.checks()
    assert failures(checks) == ["exchange name"]
    assert "check the host in the URL" in said(checks, "exchange name")


async def test_another_ca_is_one_line(place: Place, tmp_path: Path) -> None:
    """The CA that is pinned must be the server's."""
    place.settings["exchange"]["caFile"] = str(make_tls(tmp_path / "other", tls_program()).ca_file)
    place.write()
    checks = await place.checks()
    assert failures(checks) == ["exchange TLS"]
    assert "name the CA that signed it" in said(checks, "exchange TLS")


async def test_a_wrong_password_is_one_line(place: Place) -> None:
    """It is never shown."""
    replace_private(place.directory / "exchange.credentials", b"fg.test.east:wrong-secret\n")
    checks = await place.checks()
    assert failures(checks) == ["exchange login"]
    assert "correct the file that exchange.credentialsFile names" in said(checks, "exchange login")
    assert "wrong-secret" not in repr(checks)


async def test_another_members_user_is_one_line(place: Place) -> None:
    """It may read all, and writes under another name only."""
    replace_private(place.directory / "exchange.credentials", f"fg.test.west:{PASSWORD}\n".encode())
    checks = await place.checks()
    assert failures(checks) == ["exchange rights"]
    assert "may not write its own records and send on its own channel" in said(checks, "exchange rights")


@pytest.mark.parametrize("file", ["member.key", "exchange.credentials", "state/roster", "authority/ledger.json"])
async def test_a_file_that_others_can_read_is_one_line(place: Place, file: str) -> None:
    """What can't be used because of it has no line of its own."""
    path = place.directory / file
    path.chmod(0o644)
    checks = await place.checks()
    assert failures(checks) == ["private files"]
    assert f"chmod 600 {path}" in said(checks, "private files")


async def test_a_clock_that_is_wrong_is_one_line(place: Place) -> None:
    """Two minutes are more than the authority takes, ten seconds are a note."""
    wrong = await place.checks(lambda: utc_now() - timedelta(minutes=2))
    late = await place.checks(lambda: utc_now() + timedelta(seconds=10))
    assert (failures(wrong), failures(late)) == (["clock"], [])
    assert "behind the exchange's" in said(wrong, "clock")
    assert [check.level for check in late if check.name == "clock"] == [Level.NOTE]


async def test_a_port_that_is_taken_is_one_line(place: Place) -> None:
    """By the name of the setting."""
    address = place.settings["http"]["listen"]
    async with listening(living, int(address.rpartition(":")[2])):
        checks = await place.checks()
    assert failures(checks) == ["listen ports"]
    assert f"http.listen {address}: something else listens there" in said(checks, "listen ports")


async def test_a_frozen_gateway_is_one_line(place: Place) -> None:
    """The kernel takes its connections, on both of its ports; nobody answers."""
    ports = [int(place.settings["gateway"][name].rpartition(":")[2]) for name in ("listen", "admin")]
    async with listening(frozen, ports[0]), listening(frozen, ports[1]):
        checks = await place.checks()
    assert failures(checks) == ["gateway"]
    assert "does not answer TLS" in said(checks, "gateway")


async def test_a_peers_gateway_that_is_gone_is_one_line(place: Place) -> None:
    """With the peer's name and the address that was tried."""
    place.gateway = HostPort("127.0.0.1", free_port())
    await place.publish()
    checks = await place.checks()
    assert failures(checks) == ["peer gateways"]
    assert f"west does not answer at {place.gateway}" in said(checks, "peer gateways")


async def test_workloads_at_one_address_of_a_flat_network_are_one_line(place: Place) -> None:
    """Both clusters are named, and the address."""
    await place.publish("10.0.0.1", "10.0.0.9")
    checks = await place.checks()
    assert failures(checks) == ["addresses"]
    assert "east and west are on network flat and both have workloads at 10.0.0.1" in said(checks, "addresses")


async def test_an_exchange_that_hangs_is_one_line_within_seconds(place: Place) -> None:
    """The kernel takes its connections, nobody speaks TLS."""
    async with listening(frozen) as at:
        place.settings["exchange"]["url"] = f"rediss://{at}"
        place.write()
        async with asyncio.timeout(5):
            checks = await place.checks()
    assert failures(checks) == ["exchange TLS"]
    assert "gave no answer in time" in said(checks, "exchange TLS")


@pytest.mark.parametrize("deployment", [sentinels, cluster])
async def test_every_kind_of_exchange_is_visited(tmp_path: Path, deployment: Callable[..., Any]) -> None:
    """Sentinels and the servers of a Cluster are all gone to; commands go where their keys are."""
    async with deployment(tmp_path, find_redis_server(os.environ)) as deployed:
        visit = ExchangeVisit(deployed.access, CLUSTERSET, EAST, WEST, utc_now)
        checks = [check async for check in visit.checks()]
        assert (await visit.roster(), await visit.hears(WEST)) == (None, False)
    assert {check.level for check in checks} == {Level.OK}
    assert all(str(node) in said(checks, "exchange connection") for node in deployed.access.address.nodes)


async def test_settings_that_are_wrong_are_one_line(place: Place) -> None:
    """With every violation; nothing else can be known but the programs."""
    place.settings |= {"region": "", "vipRange": "none"}
    place.write()
    checks = await place.checks()
    assert failures(checks) == ["settings"]
    assert "region: " in said(checks, "settings")
    assert "vipRange: " in said(checks, "settings")
    assert [check.name for check in checks] == ["settings", "python", "envoy"]


async def test_a_cluster_that_never_joined_is_one_line(place: Place) -> None:
    """The exchange is checked all the same."""
    (place.directory / "state" / "roster").unlink()
    checks = await place.checks()
    assert failures(checks) == ["membership"]
    assert "federation join --token TOKEN" in said(checks, "membership")
    assert "exchange rights" in [check.name for check in checks]


async def test_the_command_prints_the_lines_and_fails_with_1(place: Place) -> None:
    """Without a controller; for programs as data; in any case within its few seconds."""
    (place.directory / "member.key").chmod(0o640)

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = federation_command("check", "--dir", str(place.directory), *arguments)
        return subprocess.run(
            command, capture_output=True, text=True, timeout=30, env=python_environment(), check=False
        )

    shown = await asyncio.to_thread(run)
    told = await asyncio.to_thread(run, "-o", "json")
    assert (shown.returncode, told.returncode) == (1, 1)
    assert "failed  private files        " in shown.stdout
    assert "\x1b" not in shown.stdout
    assert [one["name"] for one in json.loads(told.stdout) if one["level"] == "failed"] == ["private files"]


async def joining(place: Place, text: str) -> list[Check]:
    return [check async for check in JoinPreflight(place.directory / "new", text, utc_now).checks()]


async def test_a_token_is_tried_without_using_it(place: Place) -> None:
    """With a seat that is heard, all is well, twice."""
    async with site(place.access("east"), "east", "west", place.directory / "seat") as east:
        await publish(east, by_key(GatewayRecord((), "us", "flat")))
        first, second = await joining(place, place.token()), await joining(place, place.token())
    assert failures(first) == failures(second) == []
    assert [check.name for check in first] == [
        "token",
        "exchange name",
        "exchange connection",
        "exchange TLS",
        "exchange login",
        "exchange server",
        "exchange rights",
        "clock",
        "clusterset",
        "authority",
        "python",
        "envoy",
    ]


@pytest.mark.parametrize(
    ("changes", "line", "words"),
    [
        ({"expires_at": datetime(2026, 1, 1, tzinfo=UTC)}, "token", "expired"),
        ({"exchange_password": "another"}, "exchange login", "the token was used already, or was revoked"),
        ({"exchange_ca": ""}, "exchange TLS", "CA that is not trusted"),
        ({"authority_key": b"k" * 32}, "clusterset", "can't be believed"),
        ({"seat": ClusterId("south")}, "authority", "the controller of south, which admits, is not heard"),
    ],
)
async def test_what_would_refuse_a_join_is_one_line(
    place: Place, changes: dict[str, Any], line: str, words: str
) -> None:
    """A token that is not good, an exchange that is not the one, and a controller that nobody hears."""
    async with site(place.access("east"), "east", "west", place.directory / "seat") as east:
        await publish(east, by_key(GatewayRecord((), "us", "flat")))
        checks = await joining(place, place.token(**changes))
    assert failures(checks) == [line]
    assert words in said(checks, line)


async def test_a_token_that_was_cut_is_one_line(place: Place) -> None:
    """Nothing else can be known."""
    checks = await joining(place, place.token()[:-3])
    assert ([check.name for check in checks], failures(checks)) == (["token"], ["token"])
