"""The entry point: exit codes, errors in words, and a quick start."""

from __future__ import annotations

import subprocess
import sys

import pytest
import typer

from federation import __version__
from federation.cli import main
from federation.model.errors import ConfigError, FederationError


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> object:
    """The exit code of the command line with these arguments."""
    monkeypatch.setattr(sys, "argv", ["federation", *arguments])
    with pytest.raises(SystemExit) as ended:
        main.run()
    return ended.value.code


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> list[BaseException]:
    """A command ``fail`` that raises what is put into the list."""
    errors: list[BaseException] = []
    app = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False)

    @app.command()
    def fail() -> None:
        raise errors[0]

    monkeypatch.setattr(main, "app", app)
    return errors


def test_the_version_is_told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """--version prints name and version."""
    assert (run(monkeypatch, "--version"), capsys.readouterr().out) == (0, f"federation {__version__}\n")


@pytest.mark.parametrize(
    "arguments", [("nonsense",), ("status", "-o", "xml"), ("status", "--nonsense"), ("credentials", "node-token"), ()]
)
def test_a_wrong_command_line_is_explained(
    arguments: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is wrong goes to standard error with the usage, and the exit code is 2."""
    code = run(monkeypatch, *arguments)
    out, err = capsys.readouterr()
    assert (code, out, err.startswith("Usage: "), "Traceback" in err) == (2, "", True, False)


@pytest.mark.parametrize(("error", "code"), [(ConfigError("no region"), 2), (FederationError("no region"), 1)])
def test_an_expected_error_is_words_and_a_code(
    error: FederationError,
    code: int,
    failing: list[BaseException],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Each family has its exit code; no traceback is shown."""
    failing.append(error)
    assert (run(monkeypatch), capsys.readouterr()) == (code, ("", "error: no region\n"))


def test_an_interrupt_is_130(failing: list[BaseException], monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C ends without a traceback, as shells expect."""
    failing.append(KeyboardInterrupt())
    assert run(monkeypatch) == 130


def test_a_bug_is_not_hidden(failing: list[BaseException], monkeypatch: pytest.MonkeyPatch) -> None:
    """An error that nobody expected keeps its traceback."""
    failing.append(KeyError("bug"))
    monkeypatch.setattr(sys, "argv", ["federation"])
    with pytest.raises(KeyError):
        main.run()


@pytest.mark.parametrize(
    "arguments", [("--help",), ("status", "--help"), ("controller", "--help"), ("status", "--dir", "nowhere")]
)
def test_commands_that_only_look_start_quickly(arguments: tuple[str, ...]) -> None:
    """Help and status load neither gRPC nor Envoy's messages, nor what prints tracebacks in colours."""
    code = (
        "import sys\n"
        "from federation.cli.main import run\n"
        f"sys.argv = ['federation', *{arguments!r}]\n"
        "try:\n"
        "    run()\n"
        "except SystemExit:\n"
        "    heavy = {'aiohttp', 'cryptography', 'envoy', 'google.protobuf', 'grpc', 'redis', 'rich', 'structlog'}\n"
        "    print('loaded:', *sorted(heavy & sys.modules.keys()))\n"
    )
    # What Python itself is told to load at its start (coverage, a debugger) is not ours.
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.splitlines()[-1] == "loaded:"


def test_what_starts_other_programs_does_not_load_grpc() -> None:
    """The supervisors and the demo fork; with gRPC in the process, a fork can abort or hang the child."""
    code = (
        "import sys, federation.app.proxies, federation.demo.command\n"
        "print('grpc' in sys.modules, 'federation.app.envoy' in sys.modules)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout == "False True\n"


def test_no_library_that_only_developers_have_is_needed() -> None:
    """The command line imports nothing but what the product's own dependencies bring: Typer, not click."""
    code = "import sys, federation.cli.main; print('click' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout == "False\n"
