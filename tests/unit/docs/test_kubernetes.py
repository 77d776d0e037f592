"""docs/kubernetes.md says what is installed."""

from __future__ import annotations

from pathlib import Path

from federation.install.access import CLUSTER_RULES, INJECTION_RULES, MESH_RULES, NAMESPACE_RULES, Rule
from federation.install.values import parse_values
from support.installation import SITES, rendered

TEXT = (Path(__file__).parents[3] / "docs" / "kubernetes.md").read_text()


def line(rule: Rule, scope: str) -> str:
    group = f" ({rule.group})" if rule.group else ""
    names = ", ".join(f"`{name}`" for name in rule.names)
    where = f"{names}, {scope}" if names else scope
    return f"| {', '.join(rule.resources)}{group} | {', '.join(rule.verbs)} | {where} | {rule.why} |"


def rights() -> list[str]:
    scopes = [("the cluster", CLUSTER_RULES), ("the cluster, with the webhook", INJECTION_RULES)]
    scopes += [(f"the cluster, with mesh {mesh}", rules) for mesh, rules in MESH_RULES.items()]
    scopes.append(("our namespace", NAMESPACE_RULES))
    return [line(rule, scope) for scope, rules in scopes for rule in rules]


def test_the_table_of_rights_is_the_rules() -> None:
    """Every rule stands in the table, with its reason, and no other."""
    table = TEXT.partition("<!-- rights -->\n")[2].partition("<!-- /rights -->")[0].splitlines()[2:]
    assert table == rights(), "\n".join(rights())


def test_values_that_are_named_are_there() -> None:
    """Each value in the table exists."""
    table = TEXT.partition("| value | default | |\n|---|---|---|\n")[2].partition("\n\n")[0]
    names = [name.strip("` ") for row in table.splitlines() for name in row.split("|")[1].split(",")]
    tree = parse_values().tree
    for name in names:
        at: object = tree
        for key in name.removesuffix(".*").split("."):
            assert isinstance(at, dict)
            at = at[key]


def test_objects_that_are_named_are_installed() -> None:
    """Each object of the table is in some installation, and each workload and Service in the table."""
    table = TEXT.partition("| object | for |\n|---|---|\n")[2].partition("\n\n")[0]
    documents = [document for words in SITES.values() for document in rendered(*words)]
    names = {document["metadata"]["name"] for document in documents}
    named = {word.strip("`,") for word in table.split() if word.startswith("`federation-")}
    assert named <= names
    assert {"federation-controller", "federation-gateway", "federation-dns", "federation-settings"} <= named
