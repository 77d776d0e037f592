"""Field sets: what is written in managedFields is read back, and merging never loses or invents a field."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from support.kube.builtin_schemas import CONDITIONS, STRING, TEXTS, keyed, record, unique
from support.kube.field_sets import from_fields_v1, leaves, merged, removed, spelt, to_fields_v1
from support.kube.objects import Json

SCHEMA = record(
    labels=TEXTS,
    owners=unique(STRING),
    conditions=CONDITIONS,
    ports=keyed(
        record(port={"type": "integer"}, protocol={"type": "string", "default": "TCP"}, name=STRING), "port", "protocol"
    ),
)

NAMES = st.sampled_from(["a", "b", "c"])
PORTS = st.builds(
    lambda port, protocol, name: {"port": port, "protocol": protocol, "name": name},
    st.integers(1, 3),
    st.sampled_from(["TCP", "UDP"]),
    NAMES,
)
BODIES = st.fixed_dictionaries(
    {},
    optional={
        "labels": st.dictionaries(NAMES, NAMES, min_size=1),
        "owners": st.lists(NAMES, min_size=1, unique=True),
        "ports": st.lists(PORTS, min_size=1, unique_by=lambda port: (port["port"], port["protocol"])),
    },
)


@given(BODIES)
def test_what_is_written_is_read_back(body: Json) -> None:
    """FieldsV1 of any set of fields gives that set again."""
    paths = leaves(body, SCHEMA).keys()
    assert from_fields_v1(to_fields_v1(paths)) == paths


@given(BODIES, BODIES)
def test_a_merge_has_all_of_the_applied_and_the_rest_of_the_live(live: Json, applied: Json) -> None:
    """Every applied field has its value; every other field of the live object is as it was."""
    before, wanted, after = (leaves(body, SCHEMA) for body in (live, applied, merged(live, applied, SCHEMA)))
    assert after == {**before, **wanted}


@given(BODIES, BODIES)
def test_what_was_merged_in_can_be_removed(live: Json, applied: Json) -> None:
    """Without the fields that only the applied one had, what is left is the live object's fields."""
    before, wanted = leaves(live, SCHEMA), leaves(applied, SCHEMA)
    left = removed(merged(live, applied, SCHEMA), SCHEMA, [path for path in wanted if path not in before])
    assert leaves(left, SCHEMA).keys() == before.keys()


def test_a_path_is_spelt_as_conflicts_name_it() -> None:
    """Items of keyed lists by their keys, with the default of a key that is not given."""
    (path,) = leaves({"ports": [{"port": 80}]}, SCHEMA).keys() - {("f:ports", 'k:{"port":80,"protocol":"TCP"}', ".")}
    assert spelt(path) == '.ports[port=80,protocol="TCP"].port'
