"""Resources as wire bytes, sets of them, and the gate."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.xds import protos as pb
from gateway.xds.resources import (
    Resource,
    ResourceSet,
    check_consistency,
    content_end,
    difference,
    make_resource,
    message_bytes,
    message_of,
    resource_of_bytes,
    response_bytes,
)
from support.xds import endpoints, envoy_cluster, http_listener, route_table, secret


def reasons(*args: object, **kwargs: object) -> list[tuple[str, str]]:
    return [(problem.reason, problem.subject) for problem in check_consistency(*args, **kwargs)]


def test_the_version_is_a_hash_of_the_content() -> None:
    """Equal content, equal version, whatever the name; 16 hex digits."""
    assert endpoints("a").version == endpoints("a").version
    assert endpoints("a").version != endpoints("a", 81).version
    assert len(bytes.fromhex(endpoints("a").version)) == 8


def test_the_version_does_not_depend_on_the_order_of_maps() -> None:
    """Two replicas fill a map in different order and still agree."""

    def cluster(*keys: str) -> Resource:
        message = pb.Cluster(name="a")
        for key in keys:
            message.typed_extension_protocol_options[key].CopyFrom(pb.pack(pb.Router()))
        return make_resource(pb.CLUSTER, "a", message)

    keys = [f"key-{number}" for number in range(20)]
    assert cluster(*keys) == cluster(*reversed(keys))


def test_a_resource_of_bytes_equals_that_of_the_message() -> None:
    """Joining cached bytes is a shortcut, not another resource."""
    made = envoy_cluster("a")
    content = message_of(made).SerializeToString(deterministic=True)

    assert resource_of_bytes(pb.CLUSTER, "a", [content], made.references) == made
    assert resource_of_bytes(pb.CLUSTER, "a", [content[:9], memoryview(content)[9:]], made.references) == made


@given(st.binary(), st.text(min_size=1, max_size=300), st.integers(0, 20_000))
def test_a_resource_is_framed_as_protobuf_frames_it(content: bytes, name: str, zeros: int) -> None:
    """Byte by byte, whatever the lengths: an Envoy sees no difference."""
    parts = [content, bytes(zeros)]
    made = resource_of_bytes(pb.CLUSTER, name, parts, ())

    any_ = pb.AnyMessage(type_url=pb.CLUSTER, value=b"".join(parts))
    entry = pb.Resource(name=name, version=made.version, resource=any_)
    assert made.chunk == pb.DeltaDiscoveryResponse(resources=[entry]).SerializeToString()
    assert made.chunk[: content_end(made)].endswith(b"".join(parts))


def test_the_bytes_of_a_message_make_the_same_resource_again() -> None:
    """What is joined to others is the message's own bytes."""
    made = envoy_cluster("a")
    assert resource_of_bytes(pb.CLUSTER, "a", (message_bytes(made),), made.references) == made


def test_a_response_is_a_join_of_cached_bytes() -> None:
    """What protobuf reads back is what was put in, and the chunks are in it as they are."""
    resources = [endpoints("a"), endpoints("b", 81)]

    raw = response_bytes(pb.ENDPOINT, "7", resources, ["gone"])

    response = pb.DeltaDiscoveryResponse.FromString(raw)
    assert (response.type_url, response.nonce, list(response.removed_resources)) == (pb.ENDPOINT, "7", ["gone"])
    assert [(found.name, found.version) for found in response.resources] == [
        (found.name, found.version) for found in resources
    ]
    assert pb.unpack(response.resources[1].resource, pb.ClusterLoadAssignment) == message_of(resources[1])
    assert raw.endswith(resources[0].chunk + resources[1].chunk)


def test_a_large_response_makes_no_message_per_resource() -> None:
    """Ten thousand resources are joined, not serialised again: the chunks need not even be protobuf."""
    resources = [Resource(pb.ENDPOINT, str(number), "v", b"<%d>" % number) for number in range(10_000)]

    assert response_bytes(pb.ENDPOINT, "1", resources, ()).endswith(b"".join(b"<%d>" % n for n in range(10_000)))


def test_keys_do_not_show_in_reprs() -> None:
    """A private key inside a secret never reaches a log by way of repr."""
    assert "s3cret" not in repr(secret("svid", b"s3cret"))
    assert b"s3cret" in secret("svid", b"s3cret").chunk


changes = st.lists(st.tuples(st.sampled_from("abc"), st.one_of(st.none(), st.integers(0, 2))), max_size=4)


@given(st.lists(changes, max_size=6))
def test_a_set_after_changes_equals_one_made_anew(history: list[list[tuple[str, int | None]]]) -> None:
    """Copy on write: every change gives the set of its content, with its reference counts, and alters no older one."""
    present: dict[str, Resource] = {}
    found = ResourceSet()
    for change in history:
        before, names = found, {resource.name for resource in found}
        upserts = [envoy_cluster(name, timeout_ms=version + 1) for name, version in change if version is not None]
        removals = [envoy_cluster(name).key for name, version in change if version is None]
        for key in removals:
            present.pop(key.name, None)
        present |= {resource.name: resource for resource in upserts}
        found = before.with_changes(upserts, removals)
        assert {resource.name for resource in before} == names

    anew = ResourceSet(present.values())
    assert {resource.key: resource for resource in found} == {resource.key: resource for resource in anew}
    assert [found.refers_to(endpoints(name).key) for name in "abc"] == [name in present for name in "abc"]


def test_a_difference_turns_one_set_into_the_other() -> None:
    """Only other versions and what is gone."""
    old = ResourceSet([endpoints("same"), endpoints("changed"), endpoints("gone")])
    new = ResourceSet([endpoints("same"), endpoints("changed", 81), endpoints("new")])

    upserts, removals = difference(old, new)

    assert [resource.name for resource in upserts] == ["changed", "new"]
    assert [key.name for key in removals] == ["gone"]
    assert difference(old, old.with_changes(upserts, removals)) == (upserts, removals)


def test_references_must_resolve() -> None:
    """In the own layer or in the one below."""
    cluster, table = envoy_cluster("a"), route_table("table", "b")
    layer = ResourceSet([cluster, table])

    assert reasons(layer, [cluster, table], []) == [
        ("UnresolvedReference", "Cluster a"),
        ("UnresolvedReference", "RouteConfiguration table"),
    ]
    below = ResourceSet([endpoints("a"), envoy_cluster("b"), endpoints("b")])
    assert reasons(layer, [cluster, table], [], below=below) == []


def test_what_is_referred_to_stays() -> None:
    """Removing it is refused, in the own layer and for the layers above."""
    after = ResourceSet([envoy_cluster("a")])
    assert reasons(after, [], [endpoints("a").key]) == [("StillReferenced", "ClusterLoadAssignment a")]

    nodes = [ResourceSet([http_listener("http", 80, table="table")])]
    assert reasons(ResourceSet(), [], [route_table("table").key], above=nodes) == [
        ("StillReferenced", "RouteConfiguration table")
    ]
    assert reasons(ResourceSet(), [], [route_table("table").key]) == []


def test_a_name_counts_once() -> None:
    """Twice in a change, or in two layers of one view, is refused."""
    one = endpoints("a")
    layer = ResourceSet([one])

    assert reasons(layer, [one, endpoints("a", 81)], []) == [("DuplicateName", "ClusterLoadAssignment a")]
    assert reasons(layer, [one], [], below=layer) == [("DuplicateName", "ClusterLoadAssignment a")]
    assert reasons(layer, [one], [], above=[layer]) == [("DuplicateName", "ClusterLoadAssignment a")]
    assert reasons(layer, [one], []) == []


def test_every_type_can_be_printed() -> None:
    """The message comes back out of the bytes."""
    for type_url, message_class in pb.MESSAGES.items():
        assert message_of(make_resource(type_url, "x", message_class())) == message_class()
