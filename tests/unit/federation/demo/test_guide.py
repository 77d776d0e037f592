"""Guide: addresses and commands are those of this run."""

from __future__ import annotations

from pathlib import Path

from federation.demo.guide import guide_lines
from federation.demo.sites import Layout, plan_sites


def test_commands_name_this_run() -> None:
    """Every command stands as it can be copied: real addresses, the real directory, the tool as it is called here."""
    sites = {site.cluster: site for site in plan_sites(Layout(ranges=False, variant=3))}
    client = sites["us-east"].client
    assert client is not None
    text = "\n".join(guide_lines(Path("/run/demo"), sites, client, "/venv/bin/federation"))
    assert "/venv/bin/federation status --dir /run/demo/us-east" in text
    assert f"curl -x http://{client.http_proxy} http://echo.demo.svc.clusterset.local/" in text
    assert all(f"http://{site.http}/metrics" in text for site in sites.values())
