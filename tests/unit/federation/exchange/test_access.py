"""The ACL rules, as text; what servers make of them is in tests/contract/test_access.py."""

from __future__ import annotations

from federation.exchange.access import username
from federation.model.names import ClusterId


def test_names_of_users_are_never_those_of_another_clusterset() -> None:
    """A dot, which is in no DNS label, parts clusterset and cluster."""
    assert username("a", ClusterId("b-c")) == "fg.a.b-c"
    assert username("a-b", ClusterId("c")) == "fg.a-b.c"
