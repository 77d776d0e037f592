"""What the distributor does without an API server; with one: tests/feature/test_trust_distributor.py."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from controllers.injection.policy import NamespaceFacts
from controllers.kube.client import KubeError
from controllers.kube.trust_distributor import TrustDistributor


class Api:
    """Knows one namespace; asked for a list, it is away."""

    async def get(self, path: str, query: Mapping[str, str], *, timeout_seconds: float) -> Mapping[str, object]:
        if path != "/api/v1/namespaces/new":
            raise KubeError(f"{path} is not there", status=404)
        return {"metadata": {"name": "new", "labels": {"a": "b"}}}


@asynccontextmanager
async def opened() -> AsyncIterator[Any]:
    yield Api()


def distributor(*, leads: bool = True) -> TrustDistributor:
    return TrustDistributor(opened, "own", lambda: "pem", lambda: leads)


async def test_a_namespace_that_was_not_told_of_is_asked_for() -> None:
    """One that is not to be had is not known, which is another thing than without labels."""
    assert await distributor().namespace_facts("new") == NamespaceFacts("new", {"a": "b"}, {})
    assert await distributor().namespace_facts("../pods") is None


def test_what_was_never_read_is_not_in_order() -> None:
    """Whoever leads."""
    assert not distributor().settled
    assert not distributor(leads=False).settled
