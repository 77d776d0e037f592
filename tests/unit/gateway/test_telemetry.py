"""The table of what proxies measure."""

from __future__ import annotations

import re

from gateway.telemetry import BUCKETS_MILLISECONDS, FAMILIES


def test_names_are_of_prometheus_form() -> None:
    """Each name once; counters end as counters do, and the unit of a histogram stands in its name."""
    names = [family.name for family in FAMILIES]
    assert len(set(names)) == len(names)
    for family in FAMILIES:
        assert re.fullmatch(r"[a-z_]+", family.name)
        assert family.name.endswith("_total" if family.kind == "counter" else "_milliseconds")


def test_no_label_is_an_address_or_an_identity() -> None:
    """Labels have as many values as there are services and clusters, never as many as there are pods or callers."""
    labels = {label for family in FAMILIES for label in family.labels}
    assert labels == {
        "source_cluster",
        "source_trust_domain",
        "destination_cluster",
        "destination_namespace",
        "destination_service",
        "destination_port",
        "path",
        "response_code",
        "response_flags",
    }


def test_buckets_rise() -> None:
    """Envoy refuses others."""
    assert list(BUCKETS_MILLISECONDS) == sorted(set(BUCKETS_MILLISECONDS))
