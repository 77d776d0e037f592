"""Golden cases: a folder whose name is the sentence it proves, with its input and the files expected of it.

``tests/golden/<suite>/<case>/in.yaml`` is the input, everything beside it is expected output. A suite is one
test module, ``tests/golden/test_<suite>.py``, that runs over ``cases(root)``:

    @pytest.mark.parametrize("case", cases(ROOT), ids=name)
    def test_merge(case: Path, update_golden: bool) -> None:
        ...
        check_golden(case, {"import.yaml": to_yaml(merged)}, update=update_golden)

What a case switches on stands in its own input, never in test code that knows the case's name.
"""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Mapping
from datetime import datetime
from enum import Enum
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import yaml

from federation.model.names import ServiceKey

INPUT = "in.yaml"

T = TypeVar("T")


class StrictInput(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """Base of the shapes of inputs: a field that the shape does not have is an error, not a silent no-op."""


def name(case: Path) -> str:
    """The sentence that a case proves, as the test's id."""
    return case.name


def cases(root: Path) -> list[Path]:
    """The cases of one suite, by name; anything else in ``root`` is an error, since no test reads it."""
    found = sorted(root.iterdir())
    strays = [path.name for path in found if not (path / INPUT).is_file()]
    if strays:
        raise AssertionError(f"{root}: not a golden case, it has no {INPUT}: {', '.join(strays)}")
    if not found:
        raise AssertionError(f"{root}: no golden cases")
    return found


def read_input(case: Path, shape: type[T]) -> T:
    """The input of a case as ``shape`` (StrictInput); unknown fields, wrong types, repeated keys raise."""
    return msgspec.convert(parse_yaml((case / INPUT).read_text()), shape)


def check_golden(case: Path, outputs: Mapping[str, str], *, update: bool) -> None:
    """Compare ``outputs``, by file name, with the files beside the input; every file must be read and equal.

    With ``update`` the files are written and those that no output reads are deleted.
    """
    expected = {
        str(path.relative_to(case)): path for path in sorted(case.rglob("*")) if path.is_file() and path != case / INPUT
    }
    if update:
        for file in expected.keys() - outputs.keys():
            expected[file].unlink()
        for file, text in outputs.items():
            (case / file).parent.mkdir(parents=True, exist_ok=True)
            (case / file).write_text(text)
        return
    complaints = [f"{file}: expected, but not produced" for file in sorted(expected.keys() - outputs.keys())]
    complaints += [f"{file}: produced, but not expected" for file in sorted(outputs.keys() - expected.keys())]
    for file in sorted(expected.keys() & outputs.keys()):
        complaints += difflib.unified_diff(
            expected[file].read_text().splitlines(),
            outputs[file].splitlines(),
            f"{file} (expected)",
            f"{file} (actual)",
            lineterm="",
        )
    if complaints:
        complaints.append("if the change is meant, run pytest --update-golden and read the difference")
        raise AssertionError("\n".join([case.name, *complaints]))


def to_yaml(value: object) -> str:
    """Canonical YAML of model values: fields as declared, mappings by key, empty fields left out."""
    return yaml.dump(
        plain(value), Dumper=_Dumper, default_flow_style=None, sort_keys=False, allow_unicode=True, width=1000
    )


def plain(value: object) -> Any:
    """Model values as what YAML has; fields that are None or an empty tuple are left out."""
    match value:
        case ServiceKey():
            return str(value)
        case Enum():
            return value.value
        case datetime():
            return value.isoformat().replace("+00:00", "Z")
        case Mapping():
            return {plain(key): plain(item) for key, item in sorted(value.items())}
        case tuple() | list():
            return [plain(item) for item in value]
        case _ if dataclasses.is_dataclass(value) and not isinstance(value, type):
            fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
            return {key: plain(item) for key, item in fields.items() if item is not None and item != ()}
        case _:
            return value


def parse_yaml(text: str) -> Any:
    """One YAML document; a key that occurs twice in a mapping is an error."""
    return yaml.load(text, Loader=_StrictLoader)


class _StrictLoader(yaml.SafeLoader):
    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        mapping = super().construct_mapping(node, deep=deep)
        if len(mapping) != len(node.value):
            raise yaml.constructor.ConstructorError(None, None, "a key occurs twice in one mapping", node.start_mark)
        return mapping


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True
