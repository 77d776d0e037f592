"""Commands on a cluster in Kubernetes: what of the command line goes there, and what stays."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from controllers.kube.client import KubeAccess
from federation.app.kube import remote
from federation.app.kube.remote import Invocation
from federation.cli.cluster_command import kube_access
from federation.cli.main import run
from federation.model.errors import ConfigError


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., tuple[str, Invocation, int]]:
    """Run the words; what came to be asked of the cluster, in which namespace, and the exit code."""
    (tmp_path / "kubeconfig").write_text("")
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))

    def ask(*words: str, given: str = "") -> tuple[str, Invocation, int]:
        found: list[tuple[str, Invocation]] = []

        async def run_in_leader(access: KubeAccess, namespace: str, invocation: Invocation, **streams: Any) -> int:
            found.append((namespace, invocation))
            streams["out"](b"said")
            return 7

        monkeypatch.setattr(remote, "run_in_leader", run_in_leader)
        monkeypatch.setattr("sys.argv", ["federation", *words])
        monkeypatch.setattr("sys.stdin", io.StringIO(given))
        with pytest.raises(SystemExit) as ended:
            run()
        ((namespace, invocation),) = found
        return namespace, invocation, int(ended.value.code or 0)

    return ask


def test_the_words_go_there_without_those_that_say_where(
    asked: Callable[..., tuple[str, Invocation, int]], capsys: pytest.CaptureFixture[str]
) -> None:
    """In any spelling; what is said there is said here, and ends as it ended there."""
    for spelling in (["--context", "east", "-n", "mesh"], ["--context=east", "--namespace=mesh"]):
        namespace, invocation, code = asked("status", *spelling, "-o", "json")

        assert (namespace, invocation.words, code) == ("mesh", ("status", "-o", "json"), 7)
    assert capsys.readouterr().out == "saidsaid"


def test_files_go_there_by_content(asked: Callable[..., tuple[str, Invocation, int]], tmp_path: Path) -> None:
    """However they are given; the standard input too, and a token from the environment is no word."""
    ca = tmp_path / "ca.pem"
    ca.write_text("certificate")
    words = ["init", "--clusterset", "a", "--cluster-id", "b", "--exchange", "redis://h", "--context", "east"]
    for spelling in (["--exchange-ca", str(ca)], [f"--exchange-ca={ca}"]):
        invocation = asked(*words, *spelling)[1]

        assert invocation.files == (b"certificate",)
        assert str(ca) not in " ".join(invocation.words)
        assert "{FILE0}" in " ".join(invocation.words)
    given = asked("join", "--context", "east", "--token-file", "-", given="secret")[1]

    assert (given.words, given.given) == (("join", "--token-file", "-"), "secret")


def test_a_token_of_the_environment_is_given_as_a_file(
    asked: Callable[..., tuple[str, Invocation, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is seen in no list of processes."""
    monkeypatch.setenv("FEDERATION_TOKEN", "secret")
    invocation = asked("join", "--context", "east")[1]

    assert (invocation.words, invocation.files) == (("join", "--token-file", "{FILE0}"), (b"secret",))


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--dir", "clusters/east", "--context", "east"], "name two clusters"),
        (["--kubeconfig", "missing"], "kubeconfig missing is not there"),
    ],
)
def test_what_cannot_be_meant_is_refused(
    words: list[str], told: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """With what to give instead."""
    (tmp_path / "kubeconfig").write_text("")
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["federation", "status", *words])
    with pytest.raises(SystemExit) as ended:
        run()

    assert ended.value.code == 2
    assert told in capsys.readouterr().err


def test_a_kubeconfig_is_found_as_kubectl_finds_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The one that is given, the first of KUBECONFIG, or the one at home."""
    home = tmp_path / ".kube" / "config"
    home.parent.mkdir()
    first, given = tmp_path / "first", tmp_path / "given"
    for path in (home, first, given):
        path.write_text("")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("KUBECONFIG", f"{first}:{tmp_path / 'second'}")
    found = [kube_access(given, None).kubeconfig, kube_access(None, "east").kubeconfig]
    monkeypatch.delenv("KUBECONFIG")
    found.append(kube_access(None, None).kubeconfig)
    home.unlink()

    assert found == [given, first, home]
    with pytest.raises(ConfigError):
        kube_access(None, None)
