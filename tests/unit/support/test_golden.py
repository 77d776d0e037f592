"""The golden harness itself: what it must refuse, since a golden suite that can't fail proves nothing."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
import yaml

from support.builders import ECHO, endpoints_record
from support.golden import StrictInput, cases, check_golden, parse_yaml, read_input, to_yaml

GOLDEN = Path(__file__).parents[2] / "golden"


class Shape(StrictInput):
    number: int = 0


def make_case(root: Path, name: str = "a-case", **files: str) -> Path:
    case = root / name
    case.mkdir()
    (case / "in.yaml").write_text("number: 1\n")
    for file, text in files.items():
        (case / f"{file}.yaml").write_text(text)
    return case


def test_equal_files_pass(tmp_path: Path) -> None:
    """A case passes when every expected file is produced with the same text."""
    case = make_case(tmp_path, out="a: 1\n")
    check_golden(case, {"out.yaml": "a: 1\n"}, update=False)


@pytest.mark.parametrize(
    ("outputs", "complaint"),
    [
        ({"out.yaml": "a: 2\n"}, r"-a: 1\n\+a: 2"),
        ({}, "out.yaml: expected, but not produced"),
        ({"out.yaml": "a: 1\n", "new.yaml": "b: 1\n"}, "new.yaml: produced, but not expected"),
    ],
    ids=["different", "stale", "missing"],
)
def test_any_difference_fails(tmp_path: Path, outputs: dict[str, str], complaint: str) -> None:
    """A changed text, a file that nothing produced and a file that nobody expected each fail the case."""
    case = make_case(tmp_path, out="a: 1\n")
    with pytest.raises(AssertionError, match=complaint):
        check_golden(case, outputs, update=False)


def test_update_rewrites_and_deletes(tmp_path: Path) -> None:
    """With the flag the case holds exactly its input and what was produced."""
    case = make_case(tmp_path, out="a: 1\n", stale="b: 1\n")
    check_golden(case, {"out.yaml": "a: 2\n", "new.yaml": "c: 1\n"}, update=True)
    actual = {path.name: path.read_text() for path in case.iterdir()}
    assert actual == {"in.yaml": "number: 1\n", "out.yaml": "a: 2\n", "new.yaml": "c: 1\n"}


def test_cases_are_all_folders_by_name(tmp_path: Path) -> None:
    """Every folder of a suite is a case."""
    expected = [make_case(tmp_path, name) for name in ("a", "b")]
    assert expected == cases(tmp_path)


def test_strays_in_a_suite_fail(tmp_path: Path) -> None:
    """A file or folder of a suite that no test would read is an error."""
    make_case(tmp_path)
    (tmp_path / "notes.txt").write_text("")
    with pytest.raises(AssertionError, match=r"notes\.txt"):
        cases(tmp_path)


def test_an_empty_suite_fails(tmp_path: Path) -> None:
    """A suite that lost its cases doesn't pass by running none."""
    with pytest.raises(AssertionError, match="no golden cases"):
        cases(tmp_path)


def test_unknown_fields_of_an_input_fail(tmp_path: Path) -> None:
    """A misspelt field of an input is an error instead of a default."""
    case = make_case(tmp_path)
    (case / "in.yaml").write_text("numbr: 1\n")
    with pytest.raises(msgspec.ValidationError, match="numbr"):
        read_input(case, Shape)


def test_repeated_keys_of_an_input_fail() -> None:
    """A key written twice is an error instead of the last one winning."""
    with pytest.raises(yaml.YAMLError, match="twice"):
        parse_yaml("{a: 1, a: 2}")


def test_values_have_one_spelling() -> None:
    """Model values become YAML with fields in declared order, without those that are empty."""
    expected = "key: demo/echo\nzones:\n- {zone: a, ready: 2}\ncapacity: 0\n"
    assert expected == to_yaml(endpoints_record(ECHO, zones={"a": 2}))


def test_every_suite_has_its_test_module() -> None:
    """Each folder under tests/golden is run by the test module of its name."""
    expected = sorted(f"test_{path.name}.py" for path in GOLDEN.iterdir() if path.is_dir() and path.name[0] != "_")
    actual = sorted(path.name for path in GOLDEN.glob("test_*.py"))
    assert expected == actual
