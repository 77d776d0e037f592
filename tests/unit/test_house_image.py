"""deploy/image/Dockerfile, read as a builder without BuildKit reads it."""

from __future__ import annotations

import re
import tomllib
from fnmatch import fnmatch
from pathlib import Path

import pytest

from federation.app.programs import ENVOY_VARIABLE
from federation.install.vocabulary import UID

ROOT = Path(__file__).parents[2]
DOCKERFILE = ROOT / "deploy" / "image" / "Dockerfile"
CLASSIC = {"ARG", "FROM", "COPY", "RUN", "ENV", "LABEL", "USER", "ENTRYPOINT"}
"""The instructions that are used, all of them older than BuildKit."""


def instructions() -> list[tuple[str, str]]:
    """Each instruction with its words, continued lines joined."""
    lines = [line for line in DOCKERFILE.read_text().splitlines() if not line.lstrip().startswith("#")]
    text = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    return [(line.split(maxsplit=1)[0], line.split(maxsplit=1)[1]) for line in text.splitlines() if line.strip()]


def of(name: str) -> list[str]:
    return [words for found, words in instructions() if found == name]


def last_stage() -> list[tuple[str, str]]:
    found = instructions()
    return found[max(at for at, (name, _) in enumerate(found) if name == "FROM") :]


def is_sent(path: str) -> bool:
    """Whether a file is in the context: .dockerignore leaves everything out, and lets some in again."""
    rules = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    assert rules[0] == "*"
    kept = [rule.removeprefix("!") for rule in rules if rule.startswith("!")]
    return any(path == rule or path.startswith(f"{rule}/") or fnmatch(path, rule) for rule in kept)


def copied() -> list[str]:
    """Every source in the context."""
    return [source for words in of("COPY") if not words.startswith("--from=") for source in words.split()[:-1]]


def test_nothing_of_buildkit_is_needed() -> None:
    """No syntax line, no heredoc, no mounts, no flag of COPY but the stage."""
    text = DOCKERFILE.read_text()
    assert {name for name, _ in instructions()} <= CLASSIC
    assert not re.search(r"^#\s*syntax=|<<|--mount|--link|--chmod|--parents", text, re.MULTILINE)


def test_it_runs_as_nobody_in_particular() -> None:
    """The last user is a number that is not root's, the one that pods run as; nothing changes it afterwards."""
    users = [words for name, words in last_stage() if name == "USER"]
    assert users == [f"{UID}:{UID}"]
    assert [name for name, _ in last_stage()].index("USER") > max(
        at for at, (name, _) in enumerate(last_stage()) if name in {"RUN", "COPY"}
    )


def test_images_are_named_by_a_version_that_can_be_replaced() -> None:
    """Bases are arguments, so that a release names them by digest; none is ``latest``, nor nothing."""
    defaults = dict(words.split("=", 1) for words in of("ARG") if "=" in words)
    stages = [words.split(" AS ")[1] for words in of("FROM") if " AS " in words]
    for base in (words.split(" AS ")[0] for words in of("FROM")):
        named = defaults[base[2:-1]] if base.startswith("${") else base
        assert named in stages or (":" in named and not named.endswith(":latest")), base


def test_every_package_is_held_to_its_hash() -> None:
    """pip installs from the locks alone, with hashes, and builds nothing."""
    installs = [step for words in of("RUN") for step in words.split("&&") if "pip install" in step]
    assert installs
    for step in installs:
        assert {"--require-hashes", "--only-binary", ":all:", "-r"} <= {*step.split()}, step
        lock = re.search(r"-r /(requirements/\S+\.txt)", step)
        assert lock is not None
        assert (ROOT / lock[1]).is_file()


def test_what_is_copied_is_there_and_sent() -> None:
    """Every source exists and is in the context; all packages of the project are among them, and no test."""
    sources = copied()
    assert [source for source in sources if not (ROOT / source).exists()] == []
    assert [source for source in sources if not is_sent(source)] == []
    packages = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert {*packages["packages"]} <= {*sources}
    assert not is_sent("tests/conftest.py")
    assert not is_sent(".git/config")


def test_the_program_is_found_where_it_is_put() -> None:
    """The entry point is a script of the image that heads its path, and imports from where the packages are."""
    (entry,) = of("ENTRYPOINT")
    assert entry == '["federation"]'
    script = (ROOT / "deploy" / "image" / "federation").read_text()
    home = re.search(r'sys\.path\.insert\(0, "(?P<home>[^"]+)"\)', script)
    assert home is not None
    destinations = {words.split()[-1] for words in of("COPY")}
    assert f"{home['home']}/federation" in destinations
    assert f"{script.splitlines()[0].removeprefix('#!').split()[0].rpartition('/')[0]}/federation" in destinations


@pytest.mark.parametrize("variable", ["PYTHONUNBUFFERED", ENVOY_VARIABLE])
def test_the_environment_is_as_the_program_reads_it(variable: str) -> None:
    """Lines are not held back, and Envoy is the one of the image."""
    (environment,) = of("ENV")
    settings = dict(word.split("=", 1) for word in environment.split())
    assert settings[variable] == {"PYTHONUNBUFFERED": "1", ENVOY_VARIABLE: "/usr/local/bin/envoy"}[variable]


def test_whoever_runs_it_has_a_home() -> None:
    """It is said by the image: a uid without an entry in passwd has none, and the API server's client asks for it."""
    environment = " ".join(words for name, words in last_stage() if name == "ENV")
    assert "HOME=/var/lib/federation" in environment.split()
