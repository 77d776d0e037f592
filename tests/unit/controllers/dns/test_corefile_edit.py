"""What is put into a Corefile, and where it is refused; tests/property/test_corefile.py has that it comes out again."""

from __future__ import annotations

import pytest

from controllers.dns.corefile import CorefileError, parse_corefile
from controllers.dns.corefile_edit import (
    BEGIN,
    END,
    Installed,
    Method,
    installed,
    reloads,
    with_forward,
    with_plugin,
    without,
)
from federation.model.addresses import HostPort
from support.corefiles import KUBEADM

SERVER = HostPort("10.96.0.20", 53)
FORWARD = """\
clusterset.local:53 {
    errors
    cache 5 {
        servfail 0
    }
    forward . 10.96.0.20:53
}
"""


def test_forwarding_is_a_block_behind_the_others() -> None:
    """Between our marks; all before it stays."""
    edited = with_forward(KUBEADM, SERVER)
    assert edited == f"{KUBEADM}{BEGIN}\n{FORWARD}{END}\n"
    assert installed(edited) == Installed(Method.FORWARD, "10.96.0.20:53")


def test_another_address_takes_the_place_of_the_old_one() -> None:
    """As after the Service was made anew; an IPv6 address is put in brackets."""
    edited = with_forward(with_forward(KUBEADM, SERVER), HostPort("fd00::14", 53))
    assert edited == with_forward(KUBEADM, HostPort("fd00::14", 53))
    assert installed(edited) == Installed(Method.FORWARD, "[fd00::14]:53")


def test_the_block_listens_where_the_others_do() -> None:
    """On their port, and on their addresses only."""
    text = "example.org:5300 {\n}\n.:1053 {\n    bind 169.254.20.10 10.96.0.10\n}\n"
    (*_, block) = parse_corefile(with_forward(text, SERVER)).blocks
    assert block.keys == ("clusterset.local:1053",)
    assert [one.arguments for one in block.named("bind")] == [("169.254.20.10", "10.96.0.10")]


def test_the_plugin_gets_its_zone_and_its_line() -> None:
    """In the kubernetes block, which keeps its options."""
    edited = with_plugin(KUBEADM)
    (kubernetes,) = parse_corefile(edited).blocks[0].named("kubernetes")

    assert kubernetes.arguments == ("cluster.local", "clusterset.local", "in-addr.arpa", "ip6.arpa")
    assert [word.text for word in kubernetes.body][:4] == ["multicluster", "clusterset.local", "pods", "insecure"]
    assert installed(edited) == Installed(Method.PLUGIN)
    assert "# federation-gateway: was:    kubernetes cluster.local in-addr.arpa ip6.arpa {\n" in edited


@pytest.mark.parametrize(
    ("line", "read"),
    [
        ("kubernetes cluster.local", ("cluster.local", "clusterset.local")),
        ("kubernetes cluster.local # zones", ("cluster.local", "clusterset.local")),
        ("kubernetes cluster.local { # options\n}", ("cluster.local", "clusterset.local")),
        ("kubernetes cluster.local Clusterset.Local. {\n}", ("cluster.local", "Clusterset.Local.")),
    ],
)
def test_the_plugin_may_have_no_options_yet(line: str, read: tuple[str, ...]) -> None:
    """It gets a block of its own then; a zone that is there is not named twice."""
    (kubernetes,) = parse_corefile(with_plugin(f". {{\n {line}\n}}\n")).blocks[0].named("kubernetes")
    assert kubernetes.arguments == read
    assert [word.text for word in kubernetes.body] == ["multicluster", "clusterset.local"]


@pytest.mark.parametrize(
    "directive",
    [
        "    kubernetes cluster.local clusterset.local {\n        multicluster clusterset.local\n    }",
        "    multicluster clusterset.local",
        "    forward clusterset.local 10.0.0.1",
        "    file db.clusterset Clusterset.local.",
    ],
)
def test_who_has_settled_it_already_is_left_alone(directive: str) -> None:
    """Whichever plugin it is, it is named."""
    text = f".:53 {{\n{directive}\n}}\n"
    name = "multicluster" if "multicluster" in directive else directive.split(maxsplit=1)[0]
    for edit in (lambda: with_forward(text, SERVER), lambda: with_plugin(text)):
        with pytest.raises(CorefileError, match=f"has the plugin {name}.* already"):
            edit()


def test_a_block_of_somebody_else_is_left_alone() -> None:
    """Ours may be replaced, others' never."""
    text = f"{KUBEADM}clusterset.local.:53 {{\n    forward . 10.0.0.1\n}}\n"
    with pytest.raises(CorefileError, match=r"a server block for clusterset\.local already"):
        with_forward(text, SERVER)
    assert (without(text), installed(text)) == (text, None)


def test_a_block_below_the_zone_is_no_matter_of_ours() -> None:
    """A longer zone wins in CoreDNS anyway."""
    with_forward(f"{KUBEADM}demo.svc.clusterset.local {{\n}}\n", SERVER)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "example.org {\n}\n",
        "cluster.local {\n kubernetes cluster.local\n}\n",
    ],
)
def test_a_file_that_serves_not_all_names_is_refused(text: str) -> None:
    """It can't be what a cluster's pods ask."""
    with pytest.raises(CorefileError, match="no server block for all names"):
        with_forward(text, SERVER)


@pytest.mark.parametrize(
    "plugins",
    [
        "log",
        "kubernetes a\n kubernetes b",
        "kubernetes {\n }",
        "kubernetes a { ttl 5\n }",
        'kubernetes a "b\n c"',
        '"kubernetes" a',
    ],
)
def test_a_kubernetes_plugin_that_is_not_plain_is_refused(plugins: str) -> None:
    """None, several, one without zones, one that shares its line: a person has to look."""
    with pytest.raises(CorefileError):
        with_plugin(f". {{\n {plugins}\n}}\n")


@pytest.mark.parametrize("text", [f"{BEGIN}\n", f"{END}\n", f"{BEGIN}\n{BEGIN}\n{END}\n", f"{BEGIN}\n{END}\n{END}"])
def test_damaged_marks_are_told(text: str) -> None:
    """Nothing is taken out where it is not certain what is ours."""
    with pytest.raises(CorefileError, match="not as they were written"):
        without(text)


def test_whether_coredns_reloads_is_told() -> None:
    """By its plugin."""
    assert (reloads(KUBEADM), reloads(KUBEADM.replace("    reload\n", ""))) == (True, False)
