"""One file of manifests, parsed; and after an edit parsed again where it differs.

Pure. Of a file of thousands of documents, an edit costs what it changed, a comparison of two texts, and copies of a few
collections; documents that stay are neither cut out nor looked up again. Which version of an object counts, and what
stands in for one that is broken, is ``manifest_store``'s.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from itertools import accumulate

from controllers.sources.manifests import Manifest, ObjectId, parse_manifests, unreadable
from federation.model.documents import read_json, read_yaml, split_documents
from federation.model.problems import Problem

_SEPARATOR = "---"


@dataclass(frozen=True, slots=True, eq=False)
class Document:
    """One document at one place; equal only to itself, since a file may hold a text twice."""

    text: str
    manifests: tuple[Manifest, ...]

    def is_faulty(self) -> bool:
        return any(manifest.problems for manifest in self.manifests)


@dataclass(frozen=True, slots=True)
class Statement:
    """What a document says of an object, well or wrongly."""

    document: Document
    manifest: Manifest


@dataclass(frozen=True, slots=True)
class ManifestFile:
    """One file as last read."""

    name: str
    text: str = ""
    documents: tuple[Document, ...] = ()
    statements: Mapping[ObjectId, tuple[Statement, ...]] = field(default_factory=dict)
    """By object, in the order of the file."""
    faulty: frozenset[Document] = frozenset()
    empty: bool = False
    """Whether it was read and has nothing in it, not even a comment."""

    def numbers(self) -> dict[Document, int]:
        """The documents' places, as a reader counts them."""
        return {document: number for number, document in enumerate(self.documents, start=1)}

    def problems(self) -> tuple[Problem, ...]:
        """What is wrong with it, by file and place."""
        if not self.faulty:
            return ()
        return tuple(
            _located(problem, self.name, number)
            for document, number in self.numbers().items()
            if document in self.faulty
            for manifest in document.manifests
            for problem in manifest.problems
        )


@dataclass(frozen=True, slots=True)
class Edit:
    """A file read again."""

    file: ManifestFile
    touched: frozenset[ObjectId]
    """Objects of which it may say something else than before."""
    moved: bool
    """Whether documents after the first that differs may have other numbers."""
    parsed: int
    """How many documents it cost."""


def edit_file(before: ManifestFile, content: bytes) -> Edit:
    """Read new content of a file, by means of what was read of it before; trouble in it is its ``problems``."""
    # Bytes that are no UTF-8 spoil the document that they are in, not its neighbours.
    text = content.decode("utf-8", "surrogateescape")
    if not text.strip("\ufeff \t\r\n"):
        return Edit(ManifestFile(before.name, empty=True), frozenset(before.statements), moved=True, parsed=0)
    is_json = before.name.endswith(".json")
    head, tail, parts = (0, 0, (text,)) if is_json else split_again(before.text, before.documents, text)
    stop = len(before.documents) - tail
    old = before.documents[head:stop]
    known = {document.text: document.manifests for document in old}
    new: list[Document] = []
    parsed = 0
    for part in parts:
        if part not in known:
            known[part] = _parse_document(part, is_json=is_json)
            parsed += 1
        new.append(Document(part, known[part]))
    file = ManifestFile(
        before.name,
        text,
        (*before.documents[:head], *new, *before.documents[stop:]),
        faulty=before.faulty.difference(old).union(document for document in new if document.is_faulty()),
    )
    touched = _mentions(old) | _mentions(new)
    statements = _restated(before.statements, old, new, file)
    return Edit(replace(file, statements=statements), touched, moved=len(old) != len(new), parsed=parsed)


def split_again(before: str, documents: tuple[Document, ...], text: str) -> tuple[int, int, tuple[str, ...]]:
    """Cut a text at its separators, where it differs from an earlier one of which the documents are known.

    Returns how many documents stay at the start, how many at the end, and what is between them now: together what
    ``split_documents`` gives. A document stays where the separators around it do, with the characters on which it
    depends that they are separators.
    """
    if not documents:
        return 0, 0, split_documents(text)
    start = _common_start(before, text)
    end = _common_end(before, text, min(len(before), len(text)) - start)
    # Before the first there may be comments and directives, which are no document.
    lengths = [len(document.text) + len(_SEPARATOR) for document in documents]
    begins = list(accumulate(lengths, initial=len(before) + len(_SEPARATOR) - sum(lengths)))
    # What follows a separator and what precedes it, a line feed, decide on whether it is one.
    head = max(bisect_left(begins, start) - 1, 0)
    tail = max(len(documents) - bisect_left(begins, len(before) - end + len(_SEPARATOR) + 1, lo=1), 0)
    first = begins[head] if head else 0
    last = len(text) - len(before) + begins[len(documents) - tail] - len(_SEPARATOR) if tail else len(text)
    # At the start of a stream comments and directives are no document, elsewhere they are.
    before_it, after_it = "-\n---" if head else "", "---" if tail else ""
    parts = split_documents(f"{before_it}{text[first:last]}{after_it}")
    return head, tail, parts[1 if head else 0 : len(parts) - (1 if tail else 0)]


def _common_start(before: str, after: str) -> int:
    """How many characters two texts have in common at their start."""
    low, high = 0, min(len(before), len(after))
    while low < high:
        middle = (low + high + 1) // 2
        if before[low:middle] == after[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def _common_end(before: str, after: str, most: int) -> int:
    """How many characters two texts have in common at their end, up to a bound."""
    low, high = 0, most
    while low < high:
        middle = (low + high + 1) // 2
        if before[len(before) - middle : len(before) - low] == after[len(after) - middle : len(after) - low]:
            low = middle
        else:
            high = middle - 1
    return low


def _parse_document(text: str, *, is_json: bool) -> tuple[Manifest, ...]:
    try:
        document = read_json(text) if is_json else read_yaml(text)
    except ValueError as error:
        return (unreadable("BrokenDocument", str(error)),)
    return () if document is None else parse_manifests(document)


def _mentions(documents: Iterable[Document]) -> frozenset[ObjectId]:
    return frozenset(
        manifest.id for document in documents for manifest in document.manifests if manifest.id is not None
    )


def _restated(
    before: Mapping[ObjectId, tuple[Statement, ...]],
    old: Iterable[Document],
    new: Iterable[Document],
    file: ManifestFile,
) -> dict[ObjectId, tuple[Statement, ...]]:
    """The statements of a file after some of its documents were replaced."""
    statements = dict(before)
    removed = frozenset(old)
    for key in _mentions(removed):
        if rest := tuple(statement for statement in statements[key] if statement.document not in removed):
            statements[key] = rest
        else:
            del statements[key]
    repeated: set[ObjectId] = set()
    for document in new:
        for manifest in document.manifests:
            if manifest.id is not None:
                others = statements.get(manifest.id, ())
                statements[manifest.id] = (*others, Statement(document, manifest))
                if others:
                    repeated.add(manifest.id)
    if repeated:
        numbers = file.numbers()
        for key in repeated:
            statements[key] = tuple(sorted(statements[key], key=lambda statement: numbers[statement.document]))
    return statements


def _located(problem: Problem, file: str, document: int) -> Problem:
    known = f" ({problem.subject})" if problem.subject else ""
    return replace(problem, subject=f"{file} document {document}{known}")
