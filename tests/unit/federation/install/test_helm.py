"""Templates printed in the language of Helm."""

from __future__ import annotations

import pytest

from federation.install.helm import print_template
from federation.install.template import MANAGER, NAMESPACE, Either, Every, Given, Is, Node, Not, Value, When, text


def test_a_document_is_printed_in_blocks() -> None:
    """Mappings and lists in blocks, conditions around what they are about, every value as JSON in one line."""
    node: Node = {
        "kind": "Example",
        "metadata": {"name": text("{}-x", "name"), "namespace": Value(NAMESPACE), "labels": {"by": Value(MANAGER)}},
        "spec": {
            "count": 3,
            "flag": True,
            "quoted": "true",
            "empty": {},
            "maybe": When(Given("maybe"), Value("maybe")),
            "one": Either(Is("which", "a"), {"a": 1}, "b"),
            "items": ({"name": "x", "extra": When(Not(Given("off")), 1)}, When(Given("more"), "second")),
        },
    }
    assert print_template(When(Every((Given("on"), Given("really"))), node)) == (
        "{{- if and (.Values.on) (.Values.really) }}\n"
        "---\n"
        "kind: Example\n"
        "metadata:\n"
        '  name: {{ printf "%v-x" .Values.name | toJson }}\n'
        "  namespace: {{ .Release.Namespace | toJson }}\n"
        "  labels:\n"
        "    by: {{ .Release.Service | toJson }}\n"
        "spec:\n"
        "  count: 3\n"
        "  flag: true\n"
        '  quoted: "true"\n'
        "  empty: {}\n"
        "  {{- if .Values.maybe }}\n"
        "  maybe: {{ .Values.maybe | toJson }}\n"
        "  {{- end }}\n"
        '  {{- if eq .Values.which "a" }}\n'
        "  one:\n"
        "    a: 1\n"
        "  {{- else }}\n"
        "  one: b\n"
        "  {{- end }}\n"
        "  items:\n"
        "  - name: x\n"
        "    {{- if not (.Values.off) }}\n"
        "    extra: 1\n"
        "    {{- end }}\n"
        "  {{- if .Values.more }}\n"
        "  - second\n"
        "  {{- end }}\n"
        "{{- end }}\n"
    )


@pytest.mark.parametrize(
    ("node", "cause"),
    [
        ({"a": {"b": When(Given("x"), 1)}}, "may be left out"),
        ({"a": (When(Given("x"), 1),)}, "may be left out"),
        ({"a": ({"first": When(Given("x"), 1), "second": 2},)}, "the first entry"),
        ({"a": (("b",),)}, "list in a list"),
        ({"a": "{{ .Values.x }}"}, "taken for a template"),
        ({"a": text('"{}"', "x")}, "printf"),
        ("a", "mapping"),
    ],
)
def test_what_helm_would_render_otherwise_is_refused(node: Node, cause: str) -> None:
    """What can't be the same in both is an error when the chart is made."""
    with pytest.raises(ValueError, match=cause):
        print_template(node)
