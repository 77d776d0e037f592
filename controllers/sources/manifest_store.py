"""The files of a directory, parsed, with what stands in for those that are broken: readings in, ClusterState out.

In-memory state without I/O or clock; ``directory`` reads, ``manifest_file`` parses, ``files`` drives. What it promises:

- A document that did not change is not parsed again: the unit of caching is the text of one document. What else an
  update costs grows with what changed, and with what is wrong at the moment.
- A broken document harms itself only. An object that can still be identified keeps its last good version; while a file
  has a document that can't, the objects that it had and now lacks are kept, since one of them may be in that document.
  A file that became empty is taken for half-written and keeps all. A file that can't be read keeps all.
- Files that are whole again leave no trace: the state is then the one that a fresh start would read.

An object stated twice is the first one's, by file name and position; one that is good beats a stand-in.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from itertools import chain
from operator import attrgetter

from controllers.sources.base import SourceUpdate
from controllers.sources.inventory import Inventory
from controllers.sources.manifest_file import Document, ManifestFile, Statement, edit_file
from controllers.sources.manifests import KINDS, ManifestObject, ObjectId
from federation.model.problems import Problem

# In a message, so that a file of thousands stays readable.
_NAMES_SHOWN = 5

_by_order = attrgetter("subject", "reason", "message", "path")


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
    looked_at: frozenset[str] | None = None
    """The only files of which anything is known; None where it was the whole directory."""

    def is_absent(self, name: str) -> bool:
        """Whether a file is known not to be there, which is more than not having been seen."""
        if self.looked_at is not None:
            return name in self.looked_at and name not in self.present
        hidden = any(top == "." or name.startswith(f"{top}/") for top in self.unreadable_directories)
        return name not in self.present and not hidden


class ManifestStore:
    """The files as last read, and the state that they make."""

    def __init__(self) -> None:
        self._files: dict[str, ManifestFile] = {}
        self._faults: dict[str, tuple[Problem, ...]] = {}
        """By file, of those that have any."""
        self._unreadable_files: dict[str, str] = {}
        self._unreadable_directories: Mapping[str, str] = {}
        self._mentioned_by: dict[ObjectId, set[str]] = {}
        self._origin: dict[ObjectId, str] = {}
        """The file that each object in the inventory comes from."""
        self._stand_ins: set[ObjectId] = set()
        """Objects in the inventory that no file states well at the moment."""
        self._duplicates: dict[ObjectId, tuple[Problem, ...]] = {}
        self._inventory = Inventory()
        self._problems: tuple[tuple[Problem, ...], tuple[Problem, ...]] = ((), ())
        """As they were gathered, and sorted."""
        self.documents_parsed = 0
        """Documents parsed since the start: what an edit costs."""

    def update(self, reading: Reading) -> SourceUpdate:
        """Take in what was read; the update's ``changed`` is against the call before."""
        touched = set(self._stand_ins)
        unseen = self._files.keys() - reading.present if reading.looked_at is None else reading.looked_at
        for name in unseen:
            if name in self._files and reading.is_absent(name):
                touched.update(self._remove(name))
        for name, content in reading.texts.items():
            touched.update(self._edit(name, content))
        self._note_unreadable(reading)
        changed = self._inventory.apply(self._resolve(touched))
        return SourceUpdate(self._inventory.state, changed, self._sorted_problems())

    def _remove(self, name: str) -> Iterable[ObjectId]:
        file = self._files.pop(name)
        self._faults.pop(name, None)
        for key in file.statements:
            self._mentioned_by[key].discard(name)
        return file.statements

    def _edit(self, name: str, content: bytes) -> Iterable[ObjectId]:
        """Put a file in place of its earlier version; returns the objects to decide on anew."""
        edit = edit_file(self._files.get(name, ManifestFile(name)), content)
        self._files[name] = edit.file
        self.documents_parsed += edit.parsed
        self._faults.pop(name, None)
        if problems := edit.file.problems():
            self._faults[name] = problems
        for key in edit.touched:
            if key in edit.file.statements:
                self._mentioned_by.setdefault(key, set()).add(name)
            else:
                self._mentioned_by[key].discard(name)
        if not edit.moved:
            return edit.touched
        # What is told of a duplicate names places, and these are others now.
        return edit.touched.union(key for key in self._duplicates if key in edit.file.statements)

    def _note_unreadable(self, reading: Reading) -> None:
        if reading.looked_at is None:
            self._unreadable_files = dict(reading.unreadable_files)
            self._unreadable_directories = reading.unreadable_directories
            return
        for name in reading.looked_at:
            self._unreadable_files.pop(name, None)
        self._unreadable_files |= reading.unreadable_files

    def _resolve(self, touched: Iterable[ObjectId]) -> dict[ObjectId, ManifestObject | None]:
        """Decide for each object which version counts; returns what the inventory has to learn."""
        is_doubtful = cache(self._is_doubtful)
        numbers_of = cache(self._numbers_of)
        changes: dict[ObjectId, ManifestObject | None] = {}
        for key in touched:
            files = sorted(self._mentioned_by.get(key, ()))
            good = [
                (name, statement, value)
                for name in files
                for statement in self._files[name].statements[key]
                if (value := statement.manifest.value) is not None
            ]
            self._stand_ins.discard(key)
            self._duplicates.pop(key, None)
            if good:
                (self._origin[key], _, changes[key]), *others = good
                if others:
                    places = [_place(name, statement, numbers_of(name)) for name, statement, _ in good]
                    self._duplicates[key] = tuple(_duplicate(key, place, places[0]) for place in places[1:])
            elif key in self._inventory and (files or is_doubtful(self._origin[key])):
                self._stand_ins.add(key)
                if self._origin[key] not in self._files:
                    self._origin[key] = files[0]
            else:
                changes[key] = None
                self._origin.pop(key, None)
            if not files:
                self._mentioned_by.pop(key, None)
        return changes

    def _numbers_of(self, name: str) -> Mapping[Document, int]:
        return self._files[name].numbers()

    def _is_doubtful(self, name: str) -> bool:
        """Whether objects that are missing from the file may only be hidden.

        A wrong object that was never good may be what is left of another: a name cut short names something else.
        """
        file = self._files.get(name)
        return file is not None and (
            file.empty
            or any(
                manifest.id is None or (manifest.id.kind in KINDS and manifest.id not in self._inventory)
                for document in file.faulty
                for manifest in document.manifests
                if manifest.value is None
            )
        )

    def _sorted_problems(self) -> tuple[Problem, ...]:
        """All problems; the same object while they are the same, since there may be thousands."""
        stand_ins: dict[str, list[ObjectId]] = {}
        for key in self._stand_ins:
            stand_ins.setdefault(self._origin[key], []).append(key)
        gathered = (
            *chain.from_iterable(self._faults.values()),
            *chain.from_iterable(self._duplicates.values()),
            *(
                Problem(name, "Unreadable", f"{cause}; what was last read of it stays in use")
                for causes in (self._unreadable_files, self._unreadable_directories)
                for name, cause in causes.items()
            ),
            *(self._standing_in(name, keys) for name, keys in stand_ins.items()),
        )
        if gathered != self._problems[0]:
            self._problems = gathered, tuple(sorted(gathered, key=_by_order))
        return self._problems[1]

    def _standing_in(self, name: str, keys: list[ObjectId]) -> Problem:
        shown = ", ".join(str(key) for key in sorted(keys)[:_NAMES_SHOWN])
        if len(keys) > _NAMES_SHOWN:
            shown = f"{shown} and {len(keys) - _NAMES_SHOWN} more"
        if (file := self._files.get(name)) is not None and file.empty:
            return Problem(name, "EmptyFile", f"file is empty; delete it to remove its objects: {shown}")
        return Problem(name, "LastGoodInUse", f"the last good version stays in use: {shown}")


def _place(file: str, statement: Statement, numbers: Mapping[Document, int]) -> str:
    return f"{file} document {numbers[statement.document]}"


def _duplicate(key: ObjectId, place: str, first: str) -> Problem:
    return Problem(f"{place} ({key})", "Duplicate", f"is already defined in {first}, which counts")
