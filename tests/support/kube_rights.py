"""Which of the rights that roles give a user needs, judged by what he asked for. Pure.

A right is one verb on one resource, of one name where the rule has names. It is needed if a request was let through
that no other right lets through: without it, that request would have been forbidden.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from itertools import product
from typing import Any

from support.kube.api import Audited

ROLES = frozenset({"ClusterRole", "Role"})
_UNJUDGED = frozenset({HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.TOO_MANY_REQUESTS})
"""Answers that say nothing of a right that is there."""


@dataclass(frozen=True, slots=True, order=True)
class Right:
    """What one rule lets its subjects do: in a namespace, or with none in the whole cluster."""

    group: str
    resource: str
    verb: str
    name: str = ""
    """Empty: any."""
    namespace: str = ""

    def __str__(self) -> str:
        resource = f"{self.resource}.{self.group}" if self.group else self.resource
        named = f" {self.name}" if self.name else ""
        return f"{self.verb} {resource}{named}{f' in {self.namespace}' if self.namespace else ''}"

    def lets(self, verb: str, asked: Audited) -> bool:
        """Whether a request that needs ``verb`` gets through by this."""
        return (
            (verb, asked.asked.group, asked.asked.resource) == (self.verb, self.group, self.resource)
            and self.name in {"", asked.asked.name}
            and self.namespace in {"", asked.asked.namespace}
        )


def rights_of(documents: Iterable[Mapping[str, Any]]) -> frozenset[Right]:
    """The rights in all Roles and ClusterRoles of a manifest, as if each is bound where it is."""
    return frozenset(
        Right(group, resource, verb, name, document["metadata"].get("namespace", ""))
        for document in documents
        if document["kind"] in ROLES
        for rule in document["rules"]
        for group, resource, verb, name in product(
            rule["apiGroups"], rule["resources"], rule["verbs"], rule.get("resourceNames") or ("",)
        )
    )


def verbs_of(asked: Audited) -> Iterator[str]:
    """What a request needs to be allowed to do: an apply that makes its object needs two verbs."""
    yield asked.asked.verb
    if (asked.asked.verb, asked.code) == ("patch", HTTPStatus.CREATED):
        yield "create"


def unneeded(rights: frozenset[Right], requests: Iterable[Audited]) -> list[str]:
    """The rights without which every request would have been answered as it was."""
    needed: set[Right] = set()
    for verb, asked in _let_through(requests):
        by = [right for right in rights if right.lets(verb, asked)]
        needed |= set(by) if len(by) == 1 else set()
    return sorted(map(str, rights - needed))


def ungranted(rights: frozenset[Right], requests: Iterable[Audited]) -> list[str]:
    """What was let through by none of the rights."""
    found = {
        f"{verb} {asked.asked.resource}"
        for verb, asked in _let_through(requests)
        if not any(right.lets(verb, asked) for right in rights)
    }
    return sorted(found)


def forbidden(requests: Iterable[Audited], *, going: str = "") -> list[str]:
    """What was not let through, but for what came too late to be made in a namespace that was ``going``: that is
    answered with the same code (``NamespaceTerminating``)."""
    return sorted(
        f"{asked.asked.verb} {asked.asked.resource} {asked.asked.namespace}/{asked.asked.name}"
        for asked in requests
        if asked.code == HTTPStatus.FORBIDDEN
        and not (going and asked.asked.namespace == going and asked.asked.verb in {"create", "patch"})
    )


def _let_through(requests: Iterable[Audited]) -> Iterator[tuple[str, Audited]]:
    for asked in requests:
        if asked.code not in _UNJUDGED:
            yield from ((verb, asked) for verb in verbs_of(asked))
