"""The files of a directory, parsed, with what stands in for those that are broken: readings in, ClusterState out.

In-memory state without I/O or clock; ``directory`` reads, ``files`` drives. What it promises:

- A document that did not change is not parsed again: the unit of caching is the text of one document.
- A broken document harms itself only. An object that can still be identified keeps its last good version; while a file
  has a document that can't, the objects that it had and now lacks are kept, since one of them may be in that document.
  A file that became empty is taken for half-written and keeps all. A file that can't be read keeps all.
- Files that are whole again leave no trace: the state is then the one that a fresh start would read.

An object stated twice is the first one's, by file name and position; one that is good beats a stand-in.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from controllers.sources.base import SourceUpdate
from controllers.sources.inventory import Inventory
from controllers.sources.manifests import KINDS, Manifest, ManifestObject, ObjectId, parse_manifests, unreadable
from federation.model.documents import read_json, read_yaml, split_documents
from federation.model.problems import Problem

# In a message, so that a file of thousands stays readable.
_NAMES_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Reading:
    """What one look at the directory found; paths are relative to it, with slashes."""

    texts: Mapping[str, bytes]
    """Content of the files that are new or may have changed."""
    present: frozenset[str]
    """All files of manifests there are, those that could not be read included."""
    unreadable_files: Mapping[str, str] = field(default_factory=dict)
    """Files of ``present`` that could not be read, with the cause."""
    unreadable_directories: Mapping[str, str] = field(default_factory=dict)
    """Directories that could not be listed, with the cause; nothing is known of the files below. ``.`` is the top."""

    def is_absent(self, name: str) -> bool:
        """Whether a file is known not to be there, which is more than not having been seen."""
        hidden = any(top == "." or name.startswith(f"{top}/") for top in self.unreadable_directories)
        return name not in self.present and not hidden


@dataclass(frozen=True, slots=True)
class _Claim:
    """A good version of an object, and where it stands."""

    file: str
    document: int
    value: ManifestObject

    @property
    def place(self) -> str:
        return f"{self.file} document {self.document}"


@dataclass(frozen=True, slots=True)
class _File:
    """One file as last read."""

    documents: Mapping[str, tuple[Manifest, ...]] = field(default_factory=dict)
    """By the text of the document."""
    claims: Mapping[ObjectId, tuple[_Claim, ...]] = field(default_factory=dict)
    invalid: frozenset[ObjectId] = frozenset()
    """Objects that it states wrongly."""
    obscure: bool = False
    """Whether it has a document that doesn't say which object it means."""
    empty: bool = False
    problems: tuple[Problem, ...] = ()

    @property
    def mentions(self) -> frozenset[ObjectId]:
        return self.invalid.union(self.claims)


class ManifestStore:
    """The files as last read, and the state that they make."""

    def __init__(self) -> None:
        self._files: dict[str, _File] = {}
        self._mentioned_by: dict[ObjectId, set[str]] = {}
        self._origin: dict[ObjectId, str] = {}
        """The file that each object in the inventory comes from."""
        self._stand_ins: set[ObjectId] = set()
        """Objects in the inventory that no file states well at the moment."""
        self._duplicates: dict[ObjectId, tuple[Problem, ...]] = {}
        self._inventory = Inventory()
        self.documents_parsed = 0
        """Documents parsed since the start: what an edit costs."""

    def update(self, reading: Reading) -> SourceUpdate:
        """Take in what was read; the update's ``changed`` is against the call before."""
        touched = set(self._stand_ins)
        for name in [name for name in self._files if reading.is_absent(name)]:
            touched |= self._replace(name, None)
        for name, content in reading.texts.items():
            touched |= self._replace(name, self._parse(name, content))
        changed = self._inventory.apply(self._resolve(touched))
        return SourceUpdate(self._inventory.state, changed, self._problems(reading))

    def _replace(self, name: str, file: _File | None) -> frozenset[ObjectId]:
        """Put a file in place of its earlier version; returns the objects of which the two don't say the same."""
        before, after = self._files.pop(name, _File()), file or _File()
        if file is not None:
            self._files[name] = file
        for key in before.mentions - after.mentions:
            self._mentioned_by[key].discard(name)
        for key in after.mentions - before.mentions:
            self._mentioned_by.setdefault(key, set()).add(name)
        claims = {key for key, claims in after.claims.items() if before.claims.get(key) != claims}
        return (before.invalid ^ after.invalid) | claims | (before.claims.keys() - after.claims.keys())

    def _parse(self, name: str, content: bytes) -> _File:
        # Bytes that are no UTF-8 spoil the document that they are in, not its neighbours.
        text = content.decode("utf-8", "surrogateescape")
        if not text.strip("\ufeff \t\r\n"):
            return _File(empty=True)
        known = self._files.get(name, _File()).documents
        is_json = name.endswith(".json")
        documents: dict[str, tuple[Manifest, ...]] = {}
        claims: dict[ObjectId, tuple[_Claim, ...]] = {}
        invalid: set[ObjectId] = set()
        obscure = False
        problems: list[Problem] = []
        for number, part in enumerate((text,) if is_json else split_documents(text), start=1):
            manifests = documents.get(part, known.get(part))
            if manifests is None:
                manifests = self._parse_document(part, is_json=is_json)
            documents[part] = manifests
            for manifest in manifests:
                problems += (_located(problem, name, number) for problem in manifest.problems)
                if manifest.id is None:
                    obscure = True
                elif manifest.value is None:
                    invalid.add(manifest.id)
                else:
                    claim = _Claim(name, number, manifest.value)
                    claims[manifest.id] = (*claims.get(manifest.id, ()), claim)
        return _File(documents, claims, frozenset(invalid), obscure, problems=tuple(problems))

    def _parse_document(self, text: str, *, is_json: bool) -> tuple[Manifest, ...]:
        self.documents_parsed += 1
        try:
            document = read_json(text) if is_json else read_yaml(text)
        except ValueError as error:
            return (unreadable("BrokenDocument", str(error)),)
        return () if document is None else parse_manifests(document)

    def _resolve(self, touched: Iterable[ObjectId]) -> dict[ObjectId, ManifestObject | None]:
        """Decide for each object which version counts; returns what the inventory has to learn."""
        doubtful = {name for name, file in self._files.items() if self._is_doubtful(file)}
        changes: dict[ObjectId, ManifestObject | None] = {}
        for key in touched:
            files = [self._files[name] for name in sorted(self._mentioned_by.get(key, ()))]
            claims = [claim for file in files for claim in file.claims.get(key, ())]
            self._stand_ins.discard(key)
            self._duplicates.pop(key, None)
            if claims:
                first, *others = claims
                changes[key] = first.value
                self._origin[key] = first.file
                if others:
                    self._duplicates[key] = tuple(_duplicate(key, claim, first) for claim in others)
            elif key in self._inventory and (files or self._origin[key] in doubtful):
                self._stand_ins.add(key)
                if self._origin[key] not in self._files:
                    self._origin[key] = min(self._mentioned_by[key])
            else:
                changes[key] = None
                self._origin.pop(key, None)
            if not files:
                self._mentioned_by.pop(key, None)
        return changes

    def _is_doubtful(self, file: _File) -> bool:
        """Whether objects that are missing from the file may only be hidden.

        A wrong object that was never good may be what is left of another: a name cut short names something else.
        """
        return (
            file.obscure or file.empty or any(key.kind in KINDS and key not in self._inventory for key in file.invalid)
        )

    def _problems(self, reading: Reading) -> tuple[Problem, ...]:
        problems = [problem for file in self._files.values() for problem in file.problems]
        problems += (problem for several in self._duplicates.values() for problem in several)
        problems += (
            Problem(name, "Unreadable", f"{cause}; what was last read of it stays in use")
            for causes in (reading.unreadable_files, reading.unreadable_directories)
            for name, cause in causes.items()
        )
        stand_ins: dict[str, list[ObjectId]] = {}
        for key in self._stand_ins:
            stand_ins.setdefault(self._origin[key], []).append(key)
        problems += (self._standing_in(name, keys) for name, keys in stand_ins.items())
        return tuple(sorted(problems))

    def _standing_in(self, name: str, keys: list[ObjectId]) -> Problem:
        shown = ", ".join(str(key) for key in sorted(keys)[:_NAMES_SHOWN])
        if len(keys) > _NAMES_SHOWN:
            shown = f"{shown} and {len(keys) - _NAMES_SHOWN} more"
        if (file := self._files.get(name)) is not None and file.empty:
            return Problem(name, "EmptyFile", f"file is empty; delete it to remove its objects: {shown}")
        return Problem(name, "LastGoodInUse", f"the last good version stays in use: {shown}")


def _located(problem: Problem, file: str, document: int) -> Problem:
    known = f" ({problem.subject})" if problem.subject else ""
    return replace(problem, subject=f"{file} document {document}{known}")


def _duplicate(key: ObjectId, claim: _Claim, first: _Claim) -> Problem:
    return Problem(f"{claim.place} ({key})", "Duplicate", f"is already defined in {first.place}, which counts")
