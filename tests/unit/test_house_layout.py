"""How modules are named, how long they are, and that each has its tests."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parents[2]
CODE = ("federation", "gateway", "trustbundle", "controllers", "bench")
PACKAGES = CODE[:4]
LONGEST = 400
DRAWERS = {"common", "helper", "helpers", "misc", "shared", "util", "utils"}

TESTED_ELSEWHERE: dict[str, str] = {}
"""Modules without a unit test file of their own, each with where its behaviour is held instead."""


def modules(*folders: str) -> list[Path]:
    return sorted(path.relative_to(ROOT) for folder in folders for path in (ROOT / folder).rglob("*.py"))


def unit_test_of(module: Path) -> Path:
    return Path("tests/unit") / module.parent / f"test_{module.stem.lstrip('_')}.py"


def test_every_module_has_its_unit_tests() -> None:
    """A module without tests/unit/<its package>/test_<its name>.py is on the list above, with the reason."""
    untested = {
        str(module)
        for module in modules(*PACKAGES)
        if module.stem not in {"__init__", "__main__"} and not (ROOT / unit_test_of(module)).exists()
    }
    assert set(TESTED_ELSEWHERE) == untested


def test_every_unit_test_has_its_module() -> None:
    """A unit test file under a package's name mirrors a module that exists, so that a renamed module takes it along."""
    mirrored = {unit_test_of(module) for module in modules(*PACKAGES)}
    written = {
        path for path in modules(*(f"tests/unit/{package}" for package in PACKAGES)) if path.name != "conftest.py"
    }
    assert set() == written - mirrored


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
