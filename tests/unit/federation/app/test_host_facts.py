"""Facts of this host: file modes, writable directories, ports, programs, who answers."""

from __future__ import annotations

import asyncio
import socket
from dataclasses import replace
from pathlib import Path

import pytest

from federation.app.host_facts import (
    connects,
    envoy_version,
    private_modes,
    python_version,
    reached,
    taken_ports,
    unwritable,
)
from federation.app.network_checks import Reach
from federation.model.addresses import HostPort
from federation.model.configuration import (
    BundleEndpointSettings,
    ClusterSettings,
    DnsSettings,
    GatewaySettings,
    HttpSettings,
)
from federation.model.errors import MissingProgramError
from support.cluster_directory import settings_of


def program(path: Path, script: str) -> str:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return str(path)


def settings(directory: Path, *ports: HostPort) -> ClusterSettings:
    http, listen, admin, xds, bundles = ports
    base = settings_of(directory)
    return replace(
        base,
        http=HttpSettings(http),
        gateway=GatewaySettings((listen,), listen, admin),
        xds=replace(base.xds, listen=xds),
        bundle_endpoint=BundleEndpointSettings(bundles),
    )


def test_private_files_are_those_that_are_there(tmp_path: Path) -> None:
    """Keys, the next one, credentials, authority, tokens, CA and roster; what is missing is left out."""
    base = settings_of(tmp_path)
    given = replace(base, exchange=replace(base.exchange, credentials_file=tmp_path / "exchange.credentials"))
    names = [
        "k",
        "k.next",
        "exchange.credentials",
        "state/roster",
        "state/ca/a.key",
        "authority/x.key",
        "tokens/a.token",
    ]
    for name in [*names, "state/other", "echo.yaml"]:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)
    (tmp_path / "k.next").chmod(0o644)
    modes = private_modes(given)
    assert modes == {tmp_path / name: 0o644 if name == "k.next" else 0o600 for name in names}
    assert private_modes(replace(given, member_key_file=tmp_path / "gone")).keys() == modes.keys() - {
        tmp_path / "k",
        tmp_path / "k.next",
    }


def test_a_directory_takes_files_or_its_parent_does(tmp_path: Path) -> None:
    """Nothing stays behind; a file in its place is told."""
    (tmp_path / "file").touch()
    assert (unwritable(tmp_path), unwritable(tmp_path / "a" / "b")) == ("", "")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert "nothing can be written: " in unwritable(tmp_path / "file")


def test_ports_are_tried_for_what_does_not_run(tmp_path: Path) -> None:
    """Each by its setting; addresses of other hosts are told too, and whoever runs has its own."""
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        taken = HostPort("127.0.0.1", busy.getsockname()[1])
        given = settings(tmp_path, taken, taken, HostPort("192.0.2.1", 15000), taken, taken)
        given = replace(given, dns=DnsSettings(taken))

        def found(*, controller: bool, gateway: bool) -> list[str]:
            ports = taken_ports(given, controller_runs=controller, gateway_runs=gateway)
            return [f"{port.setting}: {port.cause}" for port in ports]

        controllers = [
            f"{name}: something else listens there"
            for name in ("http.listen", "xds.listen", "dns.listen", "bundleEndpoint.listen")
        ]
        gateways = ["gateway.listen: something else listens there", "gateway.admin: Cannot assign requested address"]
        assert found(controller=False, gateway=False) == [*controllers, *gateways]
        assert found(controller=True, gateway=False) == gateways
        assert found(controller=False, gateway=True) == controllers
        assert found(controller=True, gateway=True) == []
    free = settings(tmp_path, *([taken] * 5))
    assert taken_ports(free, controller_runs=False, gateway_runs=False) == ()


async def test_who_answers_is_told_from_who_only_listens() -> None:
    """And from an address at which nobody listens."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.close()

    async def stay_silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    living = await asyncio.start_server(answer, "127.0.0.1", 0)
    frozen = await asyncio.start_server(stay_silent, "127.0.0.1", 0)
    gone = await asyncio.start_server(answer, "127.0.0.1", 0)
    at = [HostPort("127.0.0.1", server.sockets[0].getsockname()[1]) for server in (living, frozen, gone)]
    gone.close()
    await gone.wait_closed()
    async with living, frozen:
        assert [await connects(address) for address in at] == [True, True, False]
        assert list((await reached(at)).values()) == [Reach.ANSWERS, Reach.SILENT, Reach.CLOSED]


async def test_a_name_is_reached_as_its_addresses_are() -> None:
    """One that leads to none is told from a gateway that is down."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.close()

    living = await asyncio.start_server(answer, "localhost", 0)
    port = living.sockets[0].getsockname()[1]
    async with living:
        named = HostPort("localhost", port)
        # A label too long for DNS, which no resolver is asked for.
        nowhere = HostPort("localhost." * 30 + "example", port)
        found = await reached([named])

    assert found == {named: Reach.ANSWERS}
    assert list((await reached([nowhere])).values()) == [Reach.CLOSED]


async def test_envoy_tells_its_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that can't be run is told like one that is missing."""
    monkeypatch.setenv("FEDERATION_ENVOY", program(tmp_path / "envoy", "echo 'envoy  version: a/1.40.0/b'"))
    assert "1.40.0" in await envoy_version()
    broken = tmp_path / "broken"
    broken.write_bytes(b"\x7fELF")
    broken.chmod(0o755)
    monkeypatch.setenv("FEDERATION_ENVOY", str(broken))
    with pytest.raises(MissingProgramError, match="can't be run"):
        await envoy_version()


async def test_an_envoy_that_hangs_tells_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is ended."""
    monkeypatch.setattr("federation.app.host_facts._ENVOY_SECONDS", 0.05)
    monkeypatch.setenv("FEDERATION_ENVOY", program(tmp_path / "envoy", "exec sleep 60"))
    assert await envoy_version() == ""


def test_python_is_this_one() -> None:
    """As three numbers."""
    assert len(python_version()) == 3
