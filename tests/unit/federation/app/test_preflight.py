"""What the preflight says where there is no exchange; tests/feature/test_preflight.py has one."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from controllers.checks import Check, Level
from federation import __version__
from federation.app.clock import utc_now
from federation.app.preflight import JoinPreflight, Preflight
from support.reports import status_report

SETTINGS = (
    "clusterset: test\ncluster: a\nregion: r\ntrustDomain: a.test\n"
    "exchange: {{url: 'unix://{0}/none.sock'}}\nxds: {{listen: 'unix:x.sock'}}\nstateDirectory: s\n"
)


@pytest.fixture(autouse=True)
def no_envoy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEDERATION_ENVOY", "/nonexistent/envoy")


async def levels(checks: Preflight | JoinPreflight) -> dict[str, Level]:
    found: list[Check] = [check async for check in checks.checks()]
    assert all(check.fix for check in found if check.level is Level.FAILED)
    return {check.name: check.level for check in found}


async def test_a_directory_without_settings_is_told(tmp_path: Path) -> None:
    """Beside it only what needs none."""
    assert await levels(Preflight(tmp_path, None, utc_now)) == {"settings": "failed", "python": "ok", "envoy": "failed"}


async def test_everything_is_looked_at_whatever_fails(tmp_path: Path) -> None:
    """What the exchange would tell of peers is left out; what a running controller says is told."""
    (tmp_path / "cluster.yaml").write_text(SETTINGS.format(tmp_path))
    report = msgspec.structs.replace(status_report(), version=__version__, problems=(), warnings=())
    found = await levels(Preflight(tmp_path, report, utc_now))
    assert [name for name, level in found.items() if level is Level.FAILED] == ["membership", "exchange login", "envoy"]
    assert found["controller"] is Level.OK
    assert list(found)[-5:] == ["gateway address", "gateway", "listen ports", "addresses", "manifests"]


async def test_a_roster_that_can_not_be_believed_is_told(tmp_path: Path) -> None:
    """It is damaged, which is another thing than none."""
    (tmp_path / "cluster.yaml").write_text(SETTINGS.format(tmp_path))
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "roster").write_bytes(b"junk")
    (tmp_path / "s" / "roster").chmod(0o600)
    messages = [check.message async for check in Preflight(tmp_path, None, utc_now).checks()]
    assert any("is damaged" in message for message in messages)


async def test_a_token_that_is_none_is_told(tmp_path: Path) -> None:
    """Nothing else can be known."""
    assert await levels(JoinPreflight(tmp_path, "fgt1.none", utc_now)) == {"token": "failed"}
