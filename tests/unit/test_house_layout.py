"""How modules are named, how long they are, and that each has its tests."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parents[2]
CODE = ("federation", "gateway", "trustbundle", "controllers", "bench")
PACKAGES = CODE[:4]
LONGEST = 400
DRAWERS = {"common", "helper", "helpers", "misc", "shared", "util", "utils"}

TESTED_ELSEWHERE = {
    "controllers/sources/base.py": "a protocol: tests/contract/test_source.py",
    "federation/model/conditions.py": "values: the conditions in tests/golden/export and tests/golden/merge",
    "federation/model/configuration.py": "values and defaults: tests/unit/federation/model/test_settings.py",
    "federation/model/settings_fields.py": "field by field in tests/unit/federation/model/test_settings.py",
    "federation/model/state.py": "values: tests/golden/export",
}
"""Modules whose behaviour is held by other tests than a unit test file of their own, each with which."""


def modules(*folders: str) -> list[Path]:
    return sorted(path.relative_to(ROOT) for folder in folders for path in (ROOT / folder).rglob("*.py"))


def unit_test_of(module: Path) -> Path:
    return Path("tests/unit") / module.parent / f"test_{module.stem}.py"


def without_unit_tests() -> set[str]:
    return {
        str(module)
        for module in modules(*PACKAGES)
        if module.stem not in {"__init__", "__main__"} and not (ROOT / unit_test_of(module)).exists()
    }


def test_every_module_has_its_unit_tests() -> None:
    """A module without tests/unit/<its package>/test_<its name>.py is on the list above, with the reason."""
    assert without_unit_tests() - TESTED_ELSEWHERE.keys() == set()


def test_no_module_is_excused_without_need() -> None:
    """The list above names no module that has its unit tests, or that is gone."""
    assert TESTED_ELSEWHERE.keys() - without_unit_tests() == set()


def mirrors(test: Path) -> bool:
    """Whether the module exists that a test file is named after: test_<module>.py, or test_<module>_<aspect>.py."""
    words = test.stem.removeprefix("test_").split("_")
    package = ROOT / test.parent.relative_to("tests/unit")
    return any((package / f"{'_'.join(words[:count])}.py").exists() for count in range(1, len(words) + 1))


def test_every_unit_test_has_its_module() -> None:
    """A unit test file under a package's name mirrors a module that exists, so that a renamed module takes it along."""
    written = modules(*(f"tests/unit/{package}" for package in PACKAGES))
    assert [test for test in written if test.name != "conftest.py" and not mirrors(test)] == []


def test_modules_are_short_enough_to_read_at_once() -> None:
    """No module is longer than 400 lines: past that it is split along a seam of the domain."""
    lengths = {str(module): len((ROOT / module).read_text().splitlines()) for module in modules(*CODE)}
    assert {module: length for module, length in lengths.items() if length > LONGEST} == {}


def test_modules_are_named_by_what_they_hold() -> None:
    """No module or package is a drawer: its name says what is inside."""
    drawers = [module for module in modules(*CODE) if DRAWERS & {part.removesuffix(".py") for part in module.parts}]
    assert drawers == []


def test_modules_say_what_they_are() -> None:
    """Every module and package begins with a docstring."""
    assert [module for module in modules(*CODE) if not (ROOT / module).read_text().startswith('"""')] == []
