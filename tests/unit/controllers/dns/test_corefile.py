"""How a Corefile is read: as CoreDNS does, and refused where CoreDNS would refuse it."""

from __future__ import annotations

import pytest

from controllers.dns.corefile import CorefileError, parse_corefile, port_of, zone_of
from support.corefiles import AKS, KUBEADM


def names(text: str) -> list[list[str]]:
    return [[directive.name for directive in block.directives] for block in parse_corefile(text).blocks]


def test_blocks_have_their_plugins() -> None:
    """The Corefile of kubeadm: one block for all names, each plugin with its arguments and options."""
    (block,) = parse_corefile(KUBEADM).blocks
    (kubernetes,) = block.named("kubernetes")

    assert (block.keys, block.zones, block.ports) == ((".:53",), {"."}, ("53",))
    assert [one.name for one in block.directives][:4] == ["errors", "health", "ready", "kubernetes"]
    assert kubernetes.arguments == ("cluster.local", "in-addr.arpa", "ip6.arpa")
    assert (kubernetes.has("ttl"), kubernetes.has("insecure"), kubernetes.has("multicluster")) == (True, False, False)


def test_imports_beside_blocks_are_told() -> None:
    """Those in a block are plugins of it."""
    corefile = parse_corefile(AKS)
    assert corefile.imports == ("custom/*.server",)
    assert [one.arguments for one in corefile.blocks[0].named("import")] == [("custom/*.override",)]


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("", []),
        ("# . {\n", []),
        (". {\n}", [[]]),
        ("a,\nb {\n log\n}", [["log"]]),
        (".\n{\n log\n}", [["log"]]),
        (". { log\n}", [["log"]]),
        (". {\n log#comment }\n}", [["log"]]),
        ('. {\n log "{ \\" }" x\n errors\n}', [["log", "errors"]]),
        ("(snippet) {\n log {\n x\n }\n}\n. {\n import snippet\n}", [["import"]]),
        (". {\r\n log\r\n}\r\n", [["log"]]),
        (". {\n lo\rg\n}", [["log"]]),
        ('. {\n log "two\nlines" x\n}', [["log", "x"]]),
    ],
)
def test_odd_spellings_are_read_as_coredns_reads_them(text: str, read: list[list[str]]) -> None:
    """Comments begin anywhere, quotes hide braces, keys may go on after a comma, a return is no space."""
    assert names(text) == read


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        (".:53\nwhoami", "without braces"),
        (".:53", "without braces"),
        (". {\n log", "never closed"),
        (". {\n log {\n x\n", "never closed"),
        (". {\n}\n}", "closes nothing"),
        (". {\n log }\n}", "closes nothing"),
        (". {\n {\n }\n}", "without a name"),
        ('. {\n log "open\n}', "quotation mark"),
        ("import a b", "import takes one name"),
    ],
)
def test_what_coredns_would_refuse_or_swallow_is_refused(text: str, cause: str) -> None:
    """A block put behind such text would become a part of it."""
    with pytest.raises(CorefileError, match=cause) as refused:
        parse_corefile(text)
    assert refused.value.hint


@pytest.mark.parametrize(
    ("key", "zone", "port"),
    [
        (".", ".", "53"),
        (".:1053", ".", "1053"),
        ("dns://Clusterset.Local.:53", "clusterset.local", "53"),
        ("tls://example.org:853", "example.org", "853"),
        ("tls://example.org", "example.org", "53"),
        ("10.0.0.0/24", "10.0.0.0/24", "53"),
    ],
)
def test_keys_are_zones_and_ports(key: str, zone: str, port: str) -> None:
    """With scheme, port and last dot, or without."""
    assert (zone_of(key), port_of(key)) == (zone, port)
