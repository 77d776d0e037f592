"""What the cluster's properties say; which are written is in tests/golden/mcs."""

from __future__ import annotations

from controllers.mcs.cluster_properties import (
    CLUSTER_PROPERTY,
    CLUSTERSET_PROPERTY,
    ClusterIdentity,
    check_identity,
    read_identity,
)
from controllers.mcs.objects import MANAGED_BY, MANAGER
from support.builders import EAST


def test_the_identity_is_what_the_properties_say() -> None:
    """Whoever wrote them; what is missing or malformed is empty."""
    ours = {"metadata": {"labels": {MANAGED_BY["ClusterProperty"]: MANAGER}}, "spec": {"value": "east"}}

    assert read_identity({CLUSTER_PROPERTY: ours}) == ClusterIdentity("east", "")
    assert read_identity({CLUSTER_PROPERTY: {"spec": None}, CLUSTERSET_PROPERTY: {"spec": {"value": "acme"}}}) == (
        ClusterIdentity("", "acme")
    )


def test_properties_that_agree_are_no_problem() -> None:
    """Another program may have given the cluster the same id, and put it in the same clusterset."""
    observed = {CLUSTER_PROPERTY: {"spec": {"value": "east"}}, CLUSTERSET_PROPERTY: {"spec": {"value": "acme"}}}

    assert check_identity(observed, EAST, "acme") == ()
    assert [one.reason for one in check_identity(observed, EAST, "other")] == ["OtherClusterset"]
