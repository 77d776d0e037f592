"""docs/kind.md and kind-configs/README.md tell what the code and the configurations have."""

from __future__ import annotations

import re
from pathlib import Path

from federation.app.kind.host_checks import MEMORY_PER_NODE, OLDEST_DOCKER, OLDEST_KIND, OLDEST_KUBECTL
from federation.app.kind.plan import TITLES, Deed
from federation.app.kind.topology import load_topology

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "kind.md").read_text()
MAP = (ROOT / "kind-configs" / "README.md").read_text()
TOPOLOGY = load_topology(ROOT / "kind-configs")


def test_every_step_is_in_the_table() -> None:
    """By its name, in the order in which they are planned, and those of the example are real."""
    _, _, table = PAGE.partition("| step | in |")
    rows = [line.split("|")[1].strip() for line in table.partition("\n\n")[0].splitlines()[2:]]
    named = [name.strip() for row in rows for name in row.split(",")]
    assert sorted(named) == sorted(deed.value for deed in Deed)
    told = re.findall(r"^(?:\w+: )?([\w ]+): (.+) …$", PAGE, re.MULTILINE)
    assert len(told) > 5
    assert {TITLES[Deed(name)] for name, _ in told} == {title for _, title in told}


def test_what_is_needed_is_what_is_checked() -> None:
    """Versions, and the memory of all nodes."""
    versions = [".".join(map(str, one)) for one in (OLDEST_DOCKER, OLDEST_KIND, OLDEST_KUBECTL)]
    assert re.findall(r"\((\d+\.\d+)\)", PAGE)[:3] == versions
    nodes = sum(cluster.nodes for cluster in TOPOLOGY.clusters)
    assert f"about {round(nodes * MEMORY_PER_NODE / 1024**3)} GiB" in PAGE


def test_the_map_is_that_of_the_configurations() -> None:
    """Clusters, regions, and the ports of this host."""
    assert "| | " + " | ".join(cluster.name for cluster in TOPOLOGY.clusters) + " |" in MAP
    assert "| region | " + " | ".join(cluster.region for cluster in TOPOLOGY.clusters) + " |" in MAP
    for cluster in TOPOLOGY.clusters:
        text = cluster.config.read_text()
        assert all(f"127.0.0.1:{port}" in MAP for port in re.findall(r"hostPort: (\d+)", text))
        assert all(zone in MAP for zone in re.findall(r"zone: (\S+)", text))
