"""What ``--keep`` prints: where everything is, and commands to try that work as they stand. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from federation.demo.sites import BILLING, ECHO, LEDGER, US_EAST, ClientPlan, SitePlan


def guide_lines(root: Path, sites: Mapping[str, SitePlan], client: ClientPlan, federation: str) -> list[str]:
    """The guide; ``federation`` is how the command line tool is called on this machine."""
    directory = root / US_EAST
    outbound = client.outbound
    return [
        "Everything stays up until Ctrl-C. Try, in another terminal:",
        "",
        "  # calls as a workload of us-east makes them, through its sidecar",
        f"  curl http://{outbound[ECHO]}/",
        f"  curl http://{outbound[BILLING]}/                  # only eu-west has it",
        f"  curl 'http://{outbound[ECHO]}/?delay=1'",
        f"  curl -x http://{client.http_proxy} http://{ECHO.key.host}/",
        f"  curl telnet://{outbound[LEDGER]}          # TCP; type a line",
        "",
        "  # what a platform team looks at",
        f"  {federation} status --dir {directory}",
        f"  {federation} services --dir {directory}",
        f"  {federation} rotate ca --dir {directory}",
        *(f"  curl http://{site.http}/metrics          # controller of {site.cluster}" for site in sites.values()),
        f"  curl http://{client.admin}/clusters          # the calling sidecar's own view (Envoy)",
        "",
        f"  Manifests and settings: {root}/{{{','.join(sites)}}}; edits take effect at once. Logs: {root}/logs",
    ]
