"""Names of objects, and reading what anybody may have written."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

from controllers.mcs.objects import (
    derived_id,
    id_of,
    is_ours,
    mapping,
    rfc3339,
    section,
    sequence,
    text,
    texts,
    version_of,
)
from controllers.sources.manifests import ObjectId
from support.builders import key


def test_the_derived_service_is_named_as_by_the_reference_implementation() -> None:
    """derived-, and ten characters of base32hex of the SHA-256 of namespace/name."""
    assert derived_id(key("demo/echo")).name == "derived-qieggqc27v"
    assert derived_id(key("demo/echo")) != derived_id(key("demo/other"))


def test_times_are_in_utc_and_whole_seconds() -> None:
    """As metav1.Time is spelt."""
    local = datetime(2026, 1, 1, 2, 3, 4, 567, tzinfo=timezone(timedelta(hours=2)))

    assert rfc3339(local) == "2026-01-01T00:03:04Z"


def test_readers_take_whatever_they_find() -> None:
    """A value of another type is as good as none."""
    assert (mapping([1]), sequence("ab"), text(1), texts(["a", 1, None])) == ({}, (), "", ("a",))
    assert section({"a": {"b": [1]}}, "a", "b") == {}
    assert section(None, "a") == {}
    assert not is_ours("Service", {"metadata": {"labels": "none"}})
    assert not is_ours("Pod", {"metadata": {"labels": {"federation-gateway.dev/managed-by": "x"}}})


def test_an_object_says_which_it_is_and_how_new() -> None:
    """The items of a list don't say their kind; and whatever has no number is older than all that have one."""
    document = {"kind": "Service", "metadata": {"namespace": "demo", "name": "echo", "resourceVersion": "12"}}

    assert id_of(document) == ObjectId("Service", "demo", "echo")
    assert id_of({"metadata": {"name": "echo"}}, "Namespace") == ObjectId("Namespace", "", "echo")
    assert [version_of(document), version_of({}), version_of({"metadata": {"resourceVersion": "x"}})] == [12, 0, 0]
