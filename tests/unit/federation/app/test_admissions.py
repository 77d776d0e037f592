"""The desk in the controller: whatever is wrong with the authority, the controller runs and says so."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from federation.app.admissions import EXCHANGE_ADMIN, Admissions, opened_authority
from federation.app.sites import load_cluster
from federation.exchange.credentials import Credentials
from federation.membership.keys import generate_signing_key
from federation.model.configuration import ClusterSettings
from federation.model.errors import ConfigError, ExchangeUnavailableError
from federation.model.names import ClusterId
from support.admitted import Admitted, found_clusterset
from support.exchange import until

EAST, WEST = ClusterId("us-east"), ClusterId("us-west")


@pytest.fixture
def settings(tmp_path: Path) -> ClusterSettings:
    """Of a cluster with the authority, whose exchange does not answer."""
    (tmp_path / "cluster.yaml").write_text(
        "{clusterset: acme, cluster: us-east, region: us, trustDomain: us-east.acme,"
        f" exchange: {{url: 'unix://{tmp_path}/redis.sock'}}}}"
    )
    found_clusterset("acme", [Admitted(tmp_path, "us-east", "us-east.acme", generate_signing_key())])
    return load_cluster(tmp_path)


@asynccontextmanager
async def running(settings: ClusterSettings) -> AsyncIterator[Admissions]:
    """Admissions that don't end while the context lasts."""
    admissions = Admissions(settings)
    task = asyncio.create_task(admissions.run())
    try:
        yield admissions
        assert not task.done()
    finally:
        task.cancel()
        await asyncio.wait([task])


async def test_an_exchange_that_does_not_answer_is_a_problem_and_no_end(settings: ClusterSettings) -> None:
    """Without Redis the desk is open and says that nothing can be brought in step."""
    async with running(settings) as admissions:
        await until(lambda: bool(admissions.problems(EAST)))
        (problem,) = admissions.problems(EAST)
    assert (problem.reason, "redis.sock" in problem.message) == ("NotInStep", True)


@pytest.mark.parametrize("what", ["ledger.json", "*.key", "directory"])
async def test_an_authority_that_cannot_be_read_is_a_problem_and_no_end(what: str, settings: ClusterSettings) -> None:
    """A damaged ledger, a lost key, something else where the directory should be: told, with the controller alive."""
    authority = settings.authority_directory
    if what == "directory":
        (authority / "ledger.json").unlink()
        (authority / "ledger.json").mkdir()
    else:
        (path,) = authority.glob(what)
        path.write_bytes(b"damaged")
    async with running(settings) as admissions:
        await until(lambda: bool(admissions.problems(EAST)))
        (problem,) = admissions.problems(EAST)
    assert problem.subject == "authority"


async def test_a_bug_in_it_is_told_and_it_is_begun_anew(
    settings: ClusterSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What nobody has thought of ends the admissions for a while, never the controller."""
    tries = []

    async def broken(self: object) -> None:
        tries.append(self)
        raise ExceptionGroup("unhandled errors in a TaskGroup", [ZeroDivisionError("of nothing")])

    monkeypatch.setattr("federation.app.admission_desk.AdmissionDesk.run", broken)
    monkeypatch.setattr("federation.app.admissions._RETRY_SECONDS", 0.001)
    async with running(settings) as admissions:
        await until(lambda: len(tries) > 2)
        (problem,) = admissions.problems(EAST)
    assert problem.message == "admissions stopped: ZeroDivisionError('of nothing')"


@pytest.mark.parametrize(("seat", "reasons"), [(EAST, ["NoAuthority"]), (WEST, [])])
async def test_a_cluster_without_an_authority_needs_none_unless_it_is_the_seat(
    seat: ClusterId, reasons: list[str], settings: ClusterSettings
) -> None:
    """Only the cluster that all others ask is told that it can't answer."""
    (settings.authority_directory / "ledger.json").unlink()
    admissions = Admissions(settings)
    await admissions.run()
    assert [problem.reason for problem in admissions.problems(seat)] == reasons


async def test_with_the_exchanges_credentials_it_makes_users(settings: ClusterSettings) -> None:
    """What lies beside the ledger is what it shows the exchange: it is read when a connection is made, or refused."""
    (settings.authority_directory / EXCHANGE_ADMIN).write_text("admin:secret\n")
    async with opened_authority(settings) as (authority, _):
        with pytest.raises(ConfigError, match="makes the users"):
            await authority.offer(WEST, timedelta(minutes=1), Credentials("made", "by hand"))
        with pytest.raises(ExchangeUnavailableError):
            await authority.reconcile()


async def test_a_ca_that_cannot_be_read_is_an_error_of_the_configuration(
    settings: ClusterSettings, tmp_path: Path
) -> None:
    """A token without the CA would send the joining cluster to anybody."""
    site = tmp_path / "cluster.yaml"
    site.write_text(site.read_text().replace("redis.sock'", "redis.sock', caFile: missing.pem"))
    with pytest.raises(ConfigError, match=r"missing\.pem"):
        async with opened_authority(load_cluster(tmp_path)):
            pass
