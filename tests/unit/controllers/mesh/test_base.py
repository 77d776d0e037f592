"""What adapters share: the clusterset IPs of a service."""

from __future__ import annotations

import pytest

from controllers.mcs.objects import derived_id
from controllers.mesh.base import clusterset_ips
from support.builders import ECHO


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({"clusterIPs": ["10.96.0.1", "fd00::1"]}, ("10.96.0.1", "fd00::1")),
        ({"clusterIPs": ["None"]}, ()),
        ({"clusterIPs": [7, "", "10.96.0.1"]}, ("10.96.0.1",)),
        ({}, ()),
    ],
)
def test_clusterset_ips_are_the_addresses_of_the_derived_service(
    spec: dict[str, object], expected: tuple[str, ...]
) -> None:
    """Whatever is no address is left out: anybody may have edited the Service."""
    assert clusterset_ips(ECHO, {derived_id(ECHO): {"spec": spec}}) == expected


def test_without_a_derived_service_there_is_no_clusterset_ip() -> None:
    """A headless service has none, and one that is new has none yet."""
    assert clusterset_ips(ECHO, {}) == ()
