"""One file parsed again: it is as if read for the first time, at the cost of what differs."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controllers.sources.manifest_file import Document, Edit, ManifestFile, edit_file, split_again
from controllers.sources.manifests import ObjectId
from federation.model.documents import split_documents
from support.cluster_directory import export, service, stream

EMPTY = ManifestFile("a.yaml")
ECHO, OTHER = ObjectId("Service", "demo", "echo"), ObjectId("Service", "demo", "other")

fragments = (
    *("---", "---\n", "\n---\n", "\n--- x\n", "----", "-", "\n", "\r\n", " "),
    *("a", "b: 1\n", "# c\n", "%YAML 1.2\n", "\ufeff"),
)
texts = st.lists(st.sampled_from(fragments), max_size=12).map("".join)


def documents_of(text: str) -> tuple[Document, ...]:
    return tuple(Document(part, ()) for part in split_documents(text)) if text else ()


@settings(deadline=None, max_examples=1000)
@given(texts, texts, texts, texts)
def test_splitting_again_gives_what_splitting_gives(start: str, old: str, new: str, end: str) -> None:
    """Wherever two texts differ, also inside separators, directives, or what only looks like them."""
    before, text = start + old + end, start + new + end
    documents = documents_of(before)

    head, tail, parts = split_again(before, documents, text)

    kept = [document.text for document in documents]
    assert (*kept[:head], *parts, *kept[len(kept) - tail :]) == split_documents(text)


def test_a_byte_order_mark_is_no_line() -> None:
    """A separator behind it is one at the start of a text only."""
    before = "\ufeff---"

    assert split_again(before, documents_of(before), "---\ufeff---") == (0, 0, ("---\ufeff---",))


def test_what_does_not_differ_is_not_cut_again() -> None:
    """Of many documents, one that changed is cut out, with at most its neighbours."""
    parts = [f"a: {index}\n" for index in range(100)]
    before = "---\n".join(parts)
    parts[50] = "b: 50\n"

    _, _, cut = split_again(before, documents_of(before), "---\n".join(parts))

    assert len(cut) <= 3


def edited(*contents: str) -> Edit:
    edit = edit_file(EMPTY, contents[0].encode())
    for content in contents[1:]:
        edit = edit_file(edit.file, content.encode())
    return edit


def described(file: ManifestFile) -> tuple[object, ...]:
    """All that a file says, without the identity of its documents."""
    numbers = file.numbers()
    return (
        file.text,
        [document.text for document in file.documents],
        {
            key: [(numbers[statement.document], statement.manifest) for statement in statements]
            for key, statements in file.statements.items()
        },
        sorted(numbers[document] for document in file.faulty),
        file.empty,
        file.problems(),
    )


documents = st.sampled_from(
    [service(), service(port=81), service("other"), service(port=0), export(), "a: [", "# nothing\n", "\n"]
)
streams = st.lists(documents, max_size=5).map(lambda parts: stream(*parts))


@settings(deadline=None, max_examples=200)
@given(st.lists(streams, min_size=1, max_size=4))
def test_a_history_leaves_no_trace(history: list[str]) -> None:
    """However it came about, a file is what its content says."""
    assert described(edited(*history).file) == described(edited(history[-1]).file)


@settings(deadline=None, max_examples=200)
@given(streams, streams)
def test_what_an_edit_does_not_touch_is_said_as_before(before: str, after: str) -> None:
    """The objects that are not named say the same, whatever happened around them."""
    first, second = edited(before), edited(before, after)

    for key in (first.file.statements.keys() | second.file.statements.keys()) - second.touched:
        said = [[statement.manifest for statement in edit.file.statements.get(key, ())] for edit in (first, second)]
        assert said[0] == said[1]


def test_an_edit_tells_what_it_cost() -> None:
    """One document parsed, one object touched, no place moved."""
    edit = edited(stream(service(), service("other"), export()), stream(service(), service("other", port=81), export()))

    assert (edit.parsed, OTHER in edit.touched, edit.moved) == (1, True, False)
    assert ECHO not in edited(stream(service(), service("other")), stream(service(), service("third"))).touched


def test_places_move_with_documents_before_them() -> None:
    """A document more or less changes the numbers of those behind it."""
    assert edited(service(), stream(service("other"), service())).moved
    assert edited(stream(service("other"), service()), service()).moved


@pytest.mark.parametrize("blank", ["", " \n", "\ufeff"])
def test_an_empty_file_says_nothing_and_touches_all(blank: str) -> None:
    """That is for others to judge."""
    edit = edited(stream(service(), service("other")), blank)

    assert (edit.file.empty, edit.touched, dict(edit.file.statements)) == (True, {ECHO, OTHER}, {})


def test_a_text_that_stands_twice_is_two_documents() -> None:
    """They are told apart, also when one of them goes; parsed is a text once."""
    text = stream("# what precedes the first separator is no document\n", service(), service())
    twice = edited(text)
    once = edited(text, stream("# another\n", service()))

    assert [len(edit.file.statements[ECHO]) for edit in (twice, once)] == [2, 1]
    assert twice.parsed == 1
