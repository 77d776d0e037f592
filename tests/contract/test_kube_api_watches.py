"""What this project relies on in an API server's lists and watches."""

from __future__ import annotations

import pytest

from support.kube.site import MCS, MCS_ALPHA, MERGE, Site, config_map, export, names, version

# Lists


@pytest.mark.parametrize(
    ("selector", "found"),
    [
        ("color=red", ["a", "b"]),
        ("color!=red,color", ["c"]),
        ("color in (red,blue),size", ["b"]),
        ("color notin (red),color", ["c"]),
        ("color,!size", ["a", "c"]),
        ("color,size notin (s)", ["a", "c"]),
    ],
)
async def test_labels_select(site: Site, selector: str, found: list[str]) -> None:
    """Equality, sets and existence, joined by commas."""
    for name, labels in (("a", {"color": "red"}), ("b", {"color": "red", "size": "s"}), ("c", {"color": "blue"})):
        await site.made(site.config_maps, config_map(name, labels))
    assert names(await site.admin.get(site.config_maps, labelSelector=selector)) == found


async def test_items_of_built_in_kinds_don_t_say_what_they_are(site: Site) -> None:
    """In a list, whose own kind says it; custom objects say it, and each does in an event of a watch."""
    await site.made(site.config_maps, config_map("a"))
    await site.made(site.path("serviceexports"), export())
    (built_in,) = (await site.admin.get(site.config_maps, fieldSelector="metadata.name=a")).body["items"]
    (custom,) = (await site.admin.get(site.path("serviceexports"))).body["items"]

    assert "kind" not in built_in
    assert "apiVersion" not in built_in
    assert (custom["kind"], custom["apiVersion"]) == ("ServiceExport", "multicluster.x-k8s.io/v1beta1")


async def test_fields_select_by_name_and_namespace(site: Site) -> None:
    """metadata.name and metadata.namespace select; a field that is not selectable, and nonsense, are 400."""
    for name in ("a", "b"):
        await site.made(site.path("serviceexports"), export(name))
    by_name = await site.admin.get(f"{MCS}/serviceexports", fieldSelector=f"metadata.namespace={site.namespace}")
    one = await site.admin.get(site.path("serviceexports"), fieldSelector="metadata.name=b")

    assert (names(by_name), names(one)) == (["a", "b"], ["b"])
    refused = await site.admin.get(site.path("serviceexports"), fieldSelector="spec.color=red")
    assert refused.reason == (400, "BadRequest")
    assert (await site.admin.get(site.config_maps, labelSelector="a==b==c(")).reason == (400, "BadRequest")


async def test_pages_show_one_revision(site: Site) -> None:
    """What is written between two pages is in neither; the pages tell what is left."""
    for name in ("a", "b", "c"):
        await site.made(site.path("serviceexports"), export(name))
    first = await site.admin.get(site.path("serviceexports"), limit="2")
    await site.made(site.path("serviceexports"), export("d"))
    token = first.body["metadata"]["continue"]
    second = await site.admin.get(site.path("serviceexports"), **{"limit": "2", "continue": token})

    assert (names(first), names(second)) == (["a", "b"], ["c"])
    assert first.body["metadata"]["remainingItemCount"] == 1
    assert version(second.body) == version(first.body)
    assert not second.body["metadata"].get("continue")
    assert (await site.admin.get(site.path("serviceexports"), **{"continue": "nonsense"})).code == 400


async def test_an_empty_list_has_a_version_to_watch_from(site: Site) -> None:
    """The list's kind and resource version are there without any item."""
    empty = await site.admin.get(site.path("serviceimports"))
    assert (empty.body["kind"], empty.body["items"]) == ("ServiceImportList", [])
    assert int(version(empty.body)) > 0


# Watches


async def test_a_watch_goes_on_from_a_revision(site: Site) -> None:
    """All that came after the list is told, in order, and goes on live."""
    path = site.path("serviceexports")
    listed = await site.admin.get(path)
    await site.made(path, export())
    await site.admin.ask("PATCH", f"{path}/echo", {"metadata": {"labels": {"a": "b"}}}, media=MERGE)
    async with site.admin.watch(path, resourceVersion=version(listed.body)) as events:
        assert await events.told(2) == [("ADDED", "echo"), ("MODIFIED", "echo")]
        await site.admin.delete(f"{path}/echo")
        gone = await events.next()

    assert gone is not None
    assert gone["type"] == "DELETED"
    assert int(version(gone["object"])) > int(version(listed.body))


async def test_a_watch_without_a_revision_begins_with_what_there_is(site: Site) -> None:
    """Each object is ADDED once, then changes follow; after its time the watch ends."""
    path = site.path("serviceexports")
    await site.made(path, export("a"))
    async with site.admin.watch(path, timeoutSeconds="1") as events:
        assert await events.told(1) == [("ADDED", "a")]
        await site.made(path, export("b"))
        assert await events.told(1) == [("ADDED", "b")]
        assert await events.next() is None


async def test_a_watch_resumes_where_it_broke_off(site: Site) -> None:
    """From the version of the last event nothing is lost and nothing comes twice."""
    path = site.path("serviceexports")
    listed = await site.admin.get(path)
    async with site.admin.watch(path, resourceVersion=version(listed.body)) as events:
        await site.made(path, export("a"))
        last = await events.next()
    assert last is not None
    await site.made(path, export("b"))
    async with site.admin.watch(path, resourceVersion=version(last["object"])) as events:
        assert await events.told(1) == [("ADDED", "b")]


async def test_an_object_comes_into_a_selection_and_leaves_it(site: Site) -> None:
    """A change of labels is ADDED or DELETED to a watch that selects by them."""
    listed = await site.admin.get(site.config_maps)
    path = f"{site.config_maps}/settings"
    query = {"resourceVersion": version(listed.body), "labelSelector": "color=red"}
    async with site.admin.watch(site.config_maps, **query) as events:
        await site.made(site.config_maps, config_map())
        for color in ("red", "blue"):
            await site.admin.ask("PATCH", path, {"metadata": {"labels": {"color": color}}}, media=MERGE)
        came, left = await events.next(), await events.next()

    assert came is not None
    assert left is not None
    assert (came["type"], came["object"]["metadata"]["labels"]) == ("ADDED", {"color": "red"})
    assert (left["type"], left["object"]["metadata"]["name"]) == ("DELETED", "settings")


async def test_initial_events_end_with_a_bookmark_or_are_refused(site: Site) -> None:
    """A server that streams lists says where the list ends; one that cannot says so, and a client lists instead."""
    path = site.path("serviceexports")
    await site.made(path, export("a"))
    query = {"sendInitialEvents": "true", "allowWatchBookmarks": "true", "resourceVersionMatch": "NotOlderThan"}
    async with site.admin.watch(path, **query) as events:
        first = await events.next()
        assert first is not None
        if first["type"] == "ADDED":
            end = await events.next()
            assert end is not None
            assert end["type"] == "BOOKMARK"
            assert end["object"]["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}
        else:
            assert first["type"] in {"ERROR", ""} or first["kind"] == "Status"


async def test_both_versions_show_the_same_objects(site: Site) -> None:
    """What is written in v1beta1 is read, watched and written in v1alpha1, with that version's name on it."""
    alpha = site.path("serviceexports", api=MCS_ALPHA)
    listed = await site.admin.get(alpha)
    made = await site.made(site.path("serviceexports"), export(exportedLabels={"a": "b"}))
    shown = await site.admin.get(f"{alpha}/echo")
    async with site.admin.watch(alpha, resourceVersion=version(listed.body)) as events:
        event = await events.next()

    assert event is not None
    assert shown.body["apiVersion"] == event["object"]["apiVersion"] == "multicluster.x-k8s.io/v1alpha1"
    assert (shown.body["spec"], version(shown.body)) == (made["spec"], version(made))
