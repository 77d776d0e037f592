"""Whatever happens to the files of a directory, what they are in the end is all that counts."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from controllers.sources.base import SourceUpdate
from controllers.sources.directory import DirectoryReader
from controllers.sources.files import load_directory
from controllers.sources.manifest_store import ManifestStore, Reading
from federation.model.names import ServiceKey
from federation.model.state import ServiceState
from support.cluster_directory import endpoint_slice, export, service, settings_of, stream

FILES = ("a.yaml", "b.yaml", "d/c.yaml")

names = st.sampled_from(["x", "y", "z"])
good_documents = st.one_of(
    st.builds(service, names, st.integers(1, 3)),
    st.builds(export, names),
    st.builds(endpoint_slice, names, names),
    st.sampled_from(["apiVersion: v1\nkind: Namespace\nmetadata: {name: n}\n", "# nothing\n"]),
)
bad_documents = st.one_of(
    st.builds(service, names, st.just(0)),
    st.sampled_from(["a: [", "text", "kind: Service", service("x").replace("v1", "v9"), "\udcff"]),
)
good_texts = st.lists(good_documents, min_size=1, max_size=4).map(lambda documents: stream(*documents))
texts = st.one_of(
    good_texts,
    st.lists(st.one_of(good_documents, bad_documents), max_size=4).map(lambda documents: stream(*documents)),
    # Half-written.
    st.tuples(good_texts, st.floats(0, 1)).map(lambda drawn: drawn[0][: int(len(drawn[0]) * drawn[1])]),
)
contents = texts.map(lambda text: text.encode("utf-8", "surrogateescape"))
edits = st.lists(st.tuples(st.sampled_from(FILES), st.one_of(st.none(), contents)), max_size=8)
ends = st.dictionaries(st.sampled_from(FILES), good_texts.map(str.encode))


def fresh(files: Mapping[str, bytes]) -> SourceUpdate:
    return ManifestStore().update(Reading(files, frozenset(files)))


def difference(before: Mapping[ServiceKey, ServiceState], after: Mapping[ServiceKey, ServiceState]) -> set[ServiceKey]:
    return {key for key in before.keys() | after.keys() if before.get(key) != after.get(key)}


@settings(deadline=None, max_examples=300)
@given(edits, ends, st.booleans())
def test_files_that_are_good_in_the_end_are_as_after_a_fresh_start(
    history: list[tuple[str, bytes | None]], end: dict[str, bytes], at_once: bool
) -> None:
    """Faults leave no trace in state or problems, and ``changed`` is at every step what differs by value."""
    store = ManifestStore()
    files: dict[str, bytes] = {}
    state = store.update(Reading({}, frozenset())).state
    removals: list[tuple[str, bytes | None]] = [(name, None) for name in FILES if name not in end]
    steps = [{name: content} for name, content in [*history, *removals]]
    for step in [*steps, end] if at_once else [*steps, *({name: content} for name, content in end.items())]:
        files = {name: content for name, content in (files | step).items() if content is not None}
        texts_read = {name: content for name, content in step.items() if content is not None}
        update = store.update(Reading(texts_read, frozenset(files)))

        assert update.changed == difference(state.services, update.state.services)
        state = update.state

    expected = fresh(end)
    assert state == expected.state
    assert store.update(Reading({}, frozenset(end))).problems == expected.problems


@settings(deadline=None, max_examples=150)
@given(edits)
def test_a_good_version_in_a_file_is_always_served(history: list[tuple[str, bytes | None]]) -> None:
    """What a fresh start would serve of the same files is served, whatever was there before; stand-ins only add."""
    store = ManifestStore()
    files: dict[str, bytes] = {}
    for name, content in history:
        files = {other: text for other, text in (files | {name: content}).items() if text is not None}
        update = store.update(Reading({} if content is None else {name: content}, frozenset(files)))

        for key, expected in fresh(files).state.services.items():
            state = update.state.services[key]
            assert expected.service in {None, state.service}
            assert expected.export in {None, state.export}
            assert set(expected.slices) <= set(state.slices)


@settings(deadline=None, max_examples=60)
@given(edits, ends)
def test_a_real_directory_is_read_as_it_is_in_the_end(
    history: list[tuple[str, bytes | None]], end: dict[str, bytes]
) -> None:
    """Also where many writes fall into one tick of the file system's clock, and only changes are read."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        (directory / "d").mkdir()
        reader, store = DirectoryReader(directory, excluded=()), ManifestStore()
        store.update(reader.read())
        for file, content in [*history, *((file, end.get(file)) for file in FILES)]:
            path = directory / file
            if content is None:
                path.unlink(missing_ok=True)
            else:
                path.write_bytes(content)
            update = store.update(reader.read())

        update = store.update(reader.read())
        expected = load_directory(directory, settings_of(directory))
        assert update.state == expected.state
        assert update.problems == expected.problems


@settings(deadline=None, max_examples=60)
@given(edits, ends)
def test_single_files_looked_at_make_what_the_whole_makes(
    history: list[tuple[str, bytes | None]], end: dict[str, bytes]
) -> None:
    """Where each touched file alone is looked at, state and problems are at every step those of looking everywhere."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        (directory / "d").mkdir()
        narrow, wide = ((DirectoryReader(directory, excluded=()), ManifestStore()) for _ in range(2))
        for reader, store in (narrow, wide):
            store.update(reader.read())
        for file, content in [*history, *((file, end.get(file)) for file in FILES)]:
            path = directory / file
            if content is None:
                path.unlink(missing_ok=True)
            else:
                path.write_bytes(content)
            found = narrow[1].update(narrow[0].read_files({file}))
            expected = wide[1].update(wide[0].read({file}))

            assert found.state == expected.state
            assert found.problems == expected.problems
            assert found.changed == expected.changed
