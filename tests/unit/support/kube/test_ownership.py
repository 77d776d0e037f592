"""Server-side apply where managers share an item of a list."""

from __future__ import annotations

from support.kube.builtin_schemas import STRING, keyed, record
from support.kube.objects import Json
from support.kube.ownership import Writer, applied, owned_after_update

SCHEMA = record(ports=keyed(record(name=STRING, note=STRING, text=STRING), "name"))
EMPTY: Json = {"metadata": {}}
US, THEM = Writer("us", "Apply", "v1"), Writer("them", "Apply", "v1")
HAND = Writer("hand", "Update", "v1")


def us(live: Json, *ports: Json) -> Json:
    return applied(live, {"ports": list(ports)}, SCHEMA, US, "now", force=False)


def test_an_item_goes_with_its_last_owner() -> None:
    """It stays while another applies it too, without the fields that only the first had."""
    live = us(EMPTY, {"name": "a", "text": "1"}, {"name": "b"})
    live = applied(live, {"ports": [{"name": "a", "note": "2"}]}, SCHEMA, THEM, "now", force=False)

    left = us(live, {"name": "b"})
    assert left["ports"] == [{"name": "a", "note": "2"}, {"name": "b"}]
    gone = applied(left, {}, SCHEMA, THEM, "now", force=False)
    assert gone["ports"] == [{"name": "b"}]


def test_an_item_stays_whole_for_who_changed_a_field_of_it() -> None:
    """Whoever updated one field keeps the item, with the key that it is found by."""
    live = us(EMPTY, {"name": "a", "text": "1"})
    by_hand = {**live, "ports": [{"name": "a", "text": "1", "note": "2"}]}
    live = owned_after_update(live, by_hand, SCHEMA, HAND, "later")

    assert us(live)["ports"] == [{"name": "a", "note": "2"}]


def test_an_entry_is_stamped_when_its_fields_change() -> None:
    """The same again leaves the time; one field more moves it."""
    live = us(EMPTY, {"name": "a"})
    again = applied(live, {"ports": [{"name": "a"}]}, SCHEMA, US, "later", force=False)
    more = applied(live, {"ports": [{"name": "a", "text": "1"}]}, SCHEMA, US, "later", force=False)

    times = [[entry["time"] for entry in body["metadata"]["managedFields"]] for body in (live, again, more)]
    assert times == [["now"], ["now"], ["later"]]
