"""All that is installed beside the CRDs, in the order in which it is made, and the documents that it is for given
values. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from federation.install.access import access_objects
from federation.install.controller import controller_objects
from federation.install.exchange import exchange_objects
from federation.install.gateway import gateway_objects
from federation.install.injection import injection_objects
from federation.install.network import network_objects
from federation.install.template import MANAGER, NAMESPACE, Either, Is, Node, Value, evaluate
from federation.install.values import InstallValues
from federation.install.vocabulary import MANAGED_BY_LABEL, PART_OF, PART_OF_LABEL

Document = Mapping[str, Any]

FIELD_MANAGER: Final = "federation-install"
"""Of server-side apply, and the value of the label ``app.kubernetes.io/managed-by``."""

TEMPLATES: Final[Mapping[str, tuple[Node, ...]]] = {
    "access": access_objects(),
    "network": network_objects(),
    "exchange": exchange_objects(),
    "controller": controller_objects(),
    "gateway": gateway_objects(),
    # Last: the API server asks it as soon as it is there.
    "injection": injection_objects(),
}
"""The templates by topic; rights come before who uses them."""


def render(values: InstallValues, namespace: str) -> tuple[Document, ...]:
    """The documents of an installation in ``namespace``, without the namespace itself and the CRDs."""
    tree = _tree(values, namespace)
    documents = (evaluate(node, tree) for nodes in TEMPLATES.values() for node in nodes)
    return tuple(document for document in documents if isinstance(document, Mapping))


def render_namespace(values: InstallValues, namespace: str) -> Document:
    """The namespace, which pod security of the restricted profile is asked of. Helm makes it by itself, bare."""
    on_host = Is("gateway.service.type", "HostPort")
    # Pods with host ports meet no profile but the one that forbids nothing; then the others can't be held to theirs.
    level = "pod-security.kubernetes.io/"
    template: Node = {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {
            "name": Value(NAMESPACE),
            "labels": {
                PART_OF_LABEL: PART_OF,
                MANAGED_BY_LABEL: Value(MANAGER),
                f"{level}enforce": Either(on_host, "privileged", "restricted"),
                f"{level}warn": Either(on_host, "privileged", "restricted"),
            },
        },
    }
    document = evaluate(template, _tree(values, namespace))
    assert isinstance(document, Mapping)  # noqa: S101 - the template is one
    return document


def _tree(values: InstallValues, namespace: str) -> Mapping[str, object]:
    _, namespace_key = NAMESPACE.split(".")
    _, manager_key = MANAGER.split(".")
    return {**values.tree, "release": {namespace_key: namespace, manager_key: FIELD_MANAGER}}
