"""Records: their keys, and the sum over zones."""

from __future__ import annotations

import pytest

from federation.model.records import Record
from support.builders import bundle_record, endpoints_record, export_record, gateway_record


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        (export_record(), "export/demo/echo"),
        (endpoints_record(), "endpoints/demo/echo"),
        (gateway_record(), "gateway"),
        (bundle_record(), "bundle"),
    ],
)
def test_record_keys(record: Record, expected: str) -> None:
    """Every kind of record has its own key, so that no two records of one member collide."""
    assert expected == record.record_key


def test_ready_is_the_sum_of_zones() -> None:
    """A service is as ready as all its zones together."""
    assert endpoints_record(zones={"a": 2, "b": 3}).ready == 5
