"""docs/dns.md and deploy/coredns hold what they promise: settings, bounds, metrics, zone."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

from controllers.dns.answers import AMPLIFICATION, MAX_QUERY, MAX_UDP
from controllers.dns.corefile_edit import forwarding, with_plugin, without
from controllers.dns.server import Limits
from controllers.dns.zone import SPEC_VERSION
from federation.app.dns_plan import CUSTOM_KEY, OLDEST_COREDNS
from federation.model.addresses import HostPort
from federation.model.configuration import DnsSettings
from federation.model.names import CLUSTERSET_DOMAIN
from federation.model.settings import parse_cluster_settings

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "dns.md").read_text()
COREDNS = ROOT / "deploy" / "coredns"
METRICS = (ROOT / "docs" / "reference" / "metrics.md").read_text()

CLUSTER = {
    "clusterset": "example",
    "cluster": "us-east",
    "region": "us",
    "trustDomain": "us-east.example",
    "exchange": {"url": "redis://127.0.0.1:6379"},
}


def bounds() -> dict[str, str]:
    """The table of limits: what is bounded, and by what."""
    _, _, table = PAGE.partition("| what | bound | beyond it |")
    cells = [[cell.strip() for cell in line.split("|")] for line in table.partition("\n\n")[0].splitlines()[2:]]
    return {row[1]: row[2] for row in cells}


def numbers(text: str) -> list[int]:
    return [int(number.replace(",", "")) for number in re.findall(r"\d[\d,]*", text)]


def blocks(corefile: str) -> dict[str, str]:
    """The server blocks of a Corefile by what they serve."""
    text = "\n".join(line for line in (COREDNS / corefile).read_text().splitlines() if not line.startswith("#"))
    found = re.findall(r"^(\S+) \{\n(.*?)^\}", text, re.DOTALL | re.MULTILINE)
    assert text.count("{") == text.count("}")
    assert re.sub(r"^(\S+) \{\n(.*?)^\}", "", text, flags=re.DOTALL | re.MULTILINE).strip() == ""
    return dict(found)


def test_the_setting_of_the_page_is_accepted() -> None:
    """With it alone there is a server, and answers are kept as long as the page says."""
    (block,) = re.findall(r"^```yaml\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    settings = parse_cluster_settings(yaml.safe_dump(CLUSTER | yaml.safe_load(block)), directory=ROOT)

    assert settings.dns == DnsSettings(HostPort("127.0.0.1", 5353))
    assert f"`ttl`, {settings.dns.ttl.seconds} s by default" in PAGE


def test_the_bounds_are_those_of_the_code() -> None:
    """Each number of the table of limits that is one of ours."""
    limits, told = Limits(), bounds()

    assert numbers(told["answer over UDP"]) == [512, MAX_UDP]
    assert numbers(told["the same"]) == [AMPLIFICATION]
    assert numbers(told["query"]) == [MAX_QUERY]
    per_source = told["questions of one source (IPv4 address, IPv6 /64)"]
    assert numbers(per_source) == [limits.per_second, limits.burst]
    assert numbers(told["TCP connections"]) == [limits.connections, limits.connections_per_source]
    assert numbers(told["a connection that is silent, or does not take its answers"]) == [limits.idle_seconds]


def test_the_version_and_the_metrics_are_those_of_the_code() -> None:
    """What is named in the page is there."""
    named = set(re.findall(r"`(federation_dns_\w+)`", PAGE))

    assert f"`{SPEC_VERSION}`" in PAGE
    assert named
    assert all(f"`{name}`" in METRICS for name in named)


def test_the_corefiles_serve_the_zone() -> None:
    """One forwards it and nothing else; the other has it in the block of the cluster's own names, which stay."""
    forwarding, plugin = blocks("forward.Corefile"), blocks("multicluster.Corefile")

    assert list(forwarding) == [f"{CLUSTERSET_DOMAIN}:53"]
    assert "    forward . 192.0.2.53:53\n" in forwarding[f"{CLUSTERSET_DOMAIN}:53"]
    assert "loadbalance" not in forwarding[f"{CLUSTERSET_DOMAIN}:53"]
    assert f"    kubernetes cluster.local {CLUSTERSET_DOMAIN} in-addr.arpa ip6.arpa {{\n" in plugin[".:53"]
    assert f"        multicluster {CLUSTERSET_DOMAIN}\n" in plugin[".:53"]


def test_what_is_done_by_hand_is_what_the_command_does() -> None:
    """The block and the plugin's line of deploy/coredns are those that `federation dns install` writes."""
    told = [line for line in (COREDNS / "forward.Corefile").read_text().splitlines() if not line.startswith("#")]
    _, _, by_hand = (COREDNS / "multicluster.Corefile").read_text().partition("\n")
    before = by_hand.replace(f" {CLUSTERSET_DOMAIN} in-addr", " in-addr").replace(
        f"        multicluster {CLUSTERSET_DOMAIN}\n", ""
    )
    edited = [line for line in with_plugin(before).splitlines() if "# federation-gateway:" not in line]

    assert told == list(forwarding(HostPort("192.0.2.53", 53)))
    assert before != by_hand
    assert edited == by_hand.splitlines()
    assert without(with_plugin(before)) == before


def test_the_rights_of_the_plugin_are_those_that_it_is_checked_for() -> None:
    """List and watch of ServiceImports, and nothing else; the page names version and key as the code has them."""
    role, binding = yaml.safe_load_all((COREDNS / "multicluster-rbac.yaml").read_text())
    rule = {"apiGroups": ["multicluster.x-k8s.io"], "resources": ["serviceimports"], "verbs": ["list", "watch"]}
    assert role["rules"] == [rule]
    assert binding["roleRef"]["name"] == role["metadata"]["name"]
    assert binding["subjects"] == [{"kind": "ServiceAccount", "namespace": "kube-system", "name": "coredns"}]
    assert f"CoreDNS {'.'.join(map(str, OLDEST_COREDNS))} or newer" in PAGE
    assert f"`{CUSTOM_KEY}`" in PAGE
