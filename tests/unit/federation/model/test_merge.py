"""Merge rules that golden cases can't show; the rules themselves are in tests/golden/merge."""

from __future__ import annotations

from dataclasses import replace

from federation.model.merge import merge_all, merge_service
from support.builders import EAST, ECHO, NORTH, WEST, endpoints_record, export_record, key

OTHER = key("demo/other")


def test_merge_all_joins_the_clusters_of_each_key() -> None:
    """Every key is merged from exactly the clusters that export it, in the order of keys."""
    echo, other = (export_record(), endpoints_record()), (export_record(OTHER), None)
    merged = merge_all({WEST: {OTHER: other, ECHO: echo}, EAST: {ECHO: echo}, NORTH: {}})
    expected = {
        ECHO: merge_service(ECHO, {EAST: echo, WEST: echo}),
        OTHER: merge_service(OTHER, {WEST: other}),
    }
    assert list(expected.items()) == list(merged.items())


def test_labels_of_a_record_in_any_order_agree() -> None:
    """A peer whose record holds the same pairs in another order disagrees with nobody."""
    pairs = (("a", "1"), ("b", "2"))
    exports = {
        cluster: (replace(export_record(), labels=order, annotations=order), None)
        for cluster, order in ((EAST, pairs), (WEST, pairs[::-1]))
    }
    merged = merge_service(ECHO, exports)
    assert merged is not None
    assert (pairs, pairs, ()) == (merged.labels, merged.annotations, merged.conflicts)
