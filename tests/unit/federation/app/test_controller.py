"""The controller process as a whole, without Redis: that it starts, serves, refuses and ends. Not ready is still up."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import dns.asyncquery
import dns.message
import dns.rcode
import pytest
from structlog.testing import capture_logs

from controllers.status import DnsStatus, ServiceStatus, StatusReport
from federation.app.controller import run_controller
from federation.app.lock import only_controller
from federation.app.sites import load_cluster
from federation.cli.owner import ControllerUnavailableError, ask
from federation.membership.keys import generate_signing_key, save_signing_key
from federation.model.errors import ConfigError, FederationError, TrustError
from support.admitted import Admitted, found_clusterset

DEADLINE_SECONDS = 20

ECHO_MANIFEST = """
apiVersion: v1
kind: Service
metadata: {name: echo, namespace: demo}
spec: {ports: [{name: http, port: 80}]}
---
apiVersion: multicluster.x-k8s.io/v1beta1
kind: ServiceExport
metadata: {name: echo, namespace: demo}
"""


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A cluster's directory with all that a controller needs but an exchange that answers."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    (tmp_path / "cluster.yaml").write_text(
        "{clusterset: acme, cluster: us-east, region: us, trustDomain: us-east.acme,"
        f" exchange: {{url: 'unix://{tmp_path}/redis.sock'}}, http: {{listen: '127.0.0.1:{port}'}}}}"
    )
    (tmp_path / "tokens").mkdir()
    key = generate_signing_key()
    save_signing_key(tmp_path / "member.key", key)
    found_clusterset("acme", [Admitted(tmp_path, "us-east", "us-east.acme", key)])
    return tmp_path


async def run(site: Path) -> None:
    await run_controller(load_cluster(site), site)


async def status(site: Path) -> StatusReport:
    """The report, as soon as the controller answers."""
    async with asyncio.timeout(DEADLINE_SECONDS):
        while True:
            try:
                return await asyncio.to_thread(ask, site, "/v1/status", StatusReport)
            except ControllerUnavailableError:
                await asyncio.sleep(0.01)


@asynccontextmanager
async def running(site: Path) -> AsyncIterator[None]:
    async with asyncio.TaskGroup() as group:
        task = group.create_task(run(site))
        try:
            await status(site)
            yield
        finally:
            task.cancel()


async def refused(site: Path) -> FederationError:
    """The error that a start ends with."""
    with pytest.raises(FederationError) as caught:
        async with asyncio.timeout(DEADLINE_SECONDS):
            await run(site)
    return caught.value


async def test_it_serves_without_an_exchange_and_lets_go_at_its_end(site: Path) -> None:
    """An exchange that does not answer keeps no controller from serving; its end frees the directory."""
    async with running(site):
        report = await status(site)
    assert (report.cluster, report.exchange_connected) == ("us-east", False)
    assert not (site / "state" / "xds.sock").exists()
    with only_controller(site / "state"):
        pass


async def test_it_answers_names_where_it_is_asked_to(site: Path) -> None:
    """Over UDP and TCP with the clusterset IP, and its status says so. A port that is taken is told."""
    listen = replace(load_cluster(site).http.listen, host="127.0.0.3")
    text = (site / "cluster.yaml").read_text().removesuffix("}")
    (site / "cluster.yaml").write_text(f"{text}, dns: {{listen: '{listen}'}}}}")
    (site / "echo.yaml").write_text(ECHO_MANIFEST)
    query = dns.message.make_query("echo.demo.svc.clusterset.local", "A")
    async with running(site):
        async with asyncio.timeout(DEADLINE_SECONDS):
            while (report := await status(site)).imported == 0:
                await asyncio.sleep(0.01)
        answers = [
            await dns.asyncquery.udp(query, listen.host, 10, listen.port),
            await dns.asyncquery.tcp(query, listen.host, 10, listen.port),
        ]
        (service,) = await asyncio.to_thread(ask, site, "/v1/services", tuple[ServiceStatus, ...])
    with socket.create_server((listen.host, listen.port)):
        error = await refused(site)

    assert [str(answer.answer[0][0]) for answer in answers] == [service.vip, service.vip]
    assert report.dns == DnsStatus(str(listen), 1, 0)
    assert (f"dns cannot listen on {listen} (TCP)" in str(error), "dns.listen" in error.hint) == (True, True)


async def test_a_second_one_on_the_directory_is_refused(site: Path) -> None:
    """The second says who is there and touches nothing: the first goes on answering."""
    async with running(site):
        error = await refused(site)
        report = await status(site)
    assert ("another controller runs on" in str(error), error.exit_code, report.cluster) == (True, 2, "us-east")


async def test_a_port_in_use_is_told_with_its_setting(site: Path) -> None:
    """A taken http.listen is an error of the configuration, with what to change."""
    listen = load_cluster(site).http.listen
    with socket.create_server((listen.host, listen.port)):
        error = await refused(site)
    assert isinstance(error, ConfigError)
    assert (f"http cannot listen on {listen}" in str(error), "http.listen" in error.hint) == (True, True)


@pytest.mark.parametrize(
    ("missing", "words", "hint"),
    [
        ("member.key", "signing key {site}/member.key is not there", "restore it from a backup"),
        ("state/roster", "cluster us-east is no member of a clusterset yet", "federation join"),
    ],
)
async def test_what_a_member_has_and_is_missing_is_told(missing: str, words: str, hint: str, site: Path) -> None:
    """Who lost the key, or has not joined yet, is told so, and what to do."""
    (site / missing).unlink()
    error = await refused(site)
    assert (str(error), error.exit_code, hint in error.hint) == (words.format(site=site), 2, True)


async def test_a_key_that_others_can_read_is_refused(site: Path) -> None:
    """A private key is private, or not used."""
    (site / "member.key").chmod(0o644)
    assert isinstance(await refused(site), TrustError)


@pytest.mark.parametrize("where", ["replicas", "bundle.pem", "admin.sock", "xds.sock"])
async def test_a_state_directory_that_is_no_use_is_an_error(where: str, site: Path) -> None:
    """Something of another kind in the way of any file ends in words, not in a traceback."""
    path = site / "state" / where
    if where == "replicas":
        path.write_text("")
    else:
        (path / "occupied").mkdir(parents=True)
    error = await refused(site)
    assert (isinstance(error, ConfigError), str(site / "state") in str(error)) == (True, True)


async def test_tokens_that_are_not_used_are_logged_at_the_start(site: Path) -> None:
    """A missing directory of tokens ends nothing, since tokens may come later, but it is said."""
    (site / "tokens").rmdir()
    with capture_logs() as logs:
        async with running(site):
            pass
    assert ["tokens can't be read" in log["problem"] for log in logs if log["event"] == "token not used"] == [True]


async def test_a_disk_that_cannot_be_written_ends_nothing(site: Path) -> None:
    """The controller goes on, says so, and writes what it could not as soon as it can."""
    bundle = site / "state" / "bundle.pem"
    with capture_logs() as logs:
        async with running(site), asyncio.timeout(DEADLINE_SECONDS):
            bundle.unlink()
            bundle.mkdir()
            await asyncio.to_thread(ask, site, "/v1/rotations/ca", dict, method="POST")
            while not any(log["event"] == "certificates can't be kept up to date" for log in logs):
                await asyncio.sleep(0.01)
            assert (await status(site)).cluster == "us-east"
            bundle.rmdir()
            while not bundle.is_file():
                await asyncio.to_thread(ask, site, "/v1/rotations/ca", dict, method="POST")
    assert "BEGIN CERTIFICATE" in bundle.read_text()
