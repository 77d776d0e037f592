"""A command that comes from an operator, taken in the pod."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import msgspec
import pytest
import typer

from federation.app.kube import keeping
from federation.app.kube.remote import Invocation
from federation.cli.in_pod import in_pod_of
from federation.model.errors import ConfigError


def taken(monkeypatch: pytest.MonkeyPatch, line: bytes) -> list[list[str]]:
    """The words that were run, with what stands in the files in the place of their names."""
    monkeypatch.setattr("sys.stdin", io.StringIO(line.decode()))
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("COLUMNS", "1")
    ran: list[list[str]] = []
    command = in_pod_of(
        lambda words: ran.append([Path(word).read_text() if Path(word).is_file() else word for word in words])
    )
    with pytest.raises(typer.Exit):
        command(Path("/cluster"))
    return ran


def test_the_command_is_run_on_the_pods_directory_with_the_operators_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are there while it runs."""
    invocation = Invocation(("join", "--token-file", "{FILE0}", "--x={FILE1}"), (b"token", b"other"))
    (words,) = taken(monkeypatch, msgspec.json.encode(invocation) + b"\nmore")

    assert words[:3] == ["join", "--token-file", "token"]
    assert words[-2:] == ["--dir", "/cluster"]
    assert not Path(words[3].removeprefix("--x=")).exists()


@pytest.mark.parametrize("code", [0, 2])
def test_a_command_that_ends_well_waits_until_what_it_made_is_kept(
    code: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """One that fails ends as it fails."""
    waited: list[tuple[Path, dict[str, bytes]]] = []

    async def wait_kept(directory: Path, before: dict[str, bytes]) -> None:
        waited.append((directory, before))

    def run(words: list[str]) -> None:
        (tmp_path / "member.key").write_text("new")
        sys.exit(code)

    monkeypatch.setattr(keeping, "wait_kept", wait_kept)
    monkeypatch.setattr("sys.stdin", io.StringIO(msgspec.json.encode(Invocation(("join",))).decode() + "\n"))
    monkeypatch.setenv("COLUMNS", "1")
    monkeypatch.setenv("NO_COLOR", "1")
    (tmp_path / "member.key").write_text("old")
    with pytest.raises(SystemExit if code else typer.Exit):
        in_pod_of(run)(tmp_path)

    assert waited == ([] if code else [(tmp_path, {"member.key": b"old"})])


@pytest.mark.parametrize("line", [b"", b"hello", b'{"words": []}', b'{"words": ["--help"]}', b'{"words": ["in-pod"]}'])
def test_what_is_no_command_is_refused(line: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever types it by hand learns what it is for."""
    monkeypatch.setattr("sys.stdin", io.StringIO(line.decode()))
    with pytest.raises(ConfigError) as caught:
        in_pod_of(lambda words: None)(Path("/cluster"))

    assert "not by hand" in caught.value.hint
