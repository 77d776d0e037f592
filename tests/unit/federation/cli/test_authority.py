"""`federation authority adopt`: what the operator is told."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from federation.cli.main import app
from federation.model.errors import ExchangeUnavailableError, TrustError
from support.admitted import Admitted, found_clusterset
from support.membership_values import key


def adopt(directory: Path) -> None:
    CliRunner().invoke(app, ["authority", "adopt", "--dir", str(directory)], catch_exceptions=False)


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A cluster whose exchange is not there."""
    (tmp_path / "cluster.yaml").write_text(
        "{clusterset: acme, cluster: us-east, region: us, trustDomain: us-east.acme,"
        f" exchange: {{url: 'unix://{tmp_path}/redis.sock'}}}}"
    )
    return tmp_path


def test_it_is_for_the_cluster_that_has_the_authority(site: Path) -> None:
    """Elsewhere the operator is told where to run it."""
    with pytest.raises(TrustError, match="no authority is kept in"):
        adopt(site)


def test_without_the_exchange_there_is_nothing_to_go_on_with(site: Path) -> None:
    """That the exchange does not answer is said as such, and the ledger stays as it was."""
    store = found_clusterset("acme", [Admitted(site, "us-east", "us-east.acme", key("us-east"))])
    before = store.read()
    with pytest.raises(ExchangeUnavailableError):
        adopt(site)
    assert store.read() == before
