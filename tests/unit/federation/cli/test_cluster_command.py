"""Commands on a cluster in Kubernetes: what of the command line goes there, and what stays."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

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
    for spelling in (
        ["--context", "east", "-n", "mesh"],
        ["--context=east", "--namespace=mesh"],
        ["--context", "east", "-nmesh"],
    ):
        namespace, invocation, code = asked("status", *spelling, "-o", "json")

        assert (namespace, invocation.words, code) == ("mesh", ("status", "--output=json"), 7)
    assert capsys.readouterr().out == "said" * 3


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

    assert (given.words, given.given) == (("join", "--token-file=-"), "secret")


def test_a_token_of_the_environment_is_given_as_a_file(
    asked: Callable[..., tuple[str, Invocation, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is seen in no list of processes."""
    monkeypatch.setenv("FEDERATION_TOKEN", "secret")
    invocation = asked("join", "--context", "east")[1]

    assert (invocation.words, invocation.files) == (("join", "--token-file={FILE0}"), (b"secret",))


def test_a_file_is_known_in_any_spelling_and_nothing_else_is_taken_for_it(
    asked: Callable[..., tuple[str, Invocation, int]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A name that is not the shortest one; a cluster that has the name of the file."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "east").write_text("secret")
    (tmp_path / "a").mkdir()
    whole = Invocation(("join", "--token-file={FILE0}", "--cluster-id=east"), (b"secret",))
    for file in ("east", "./east", "a/../east", ".//east", str(tmp_path / "east")):
        for spelling in (["--token-file", file], [f"--token-file={file}"]):
            for words in ([*spelling, "--cluster-id", "east"], ["--cluster-id=east", *spelling]):
                invocation = asked("join", "--context", "east", *words)[1]
                assert (invocation.words, invocation.files) == (whole.words, whole.files), spelling


def test_a_token_is_given_once(
    asked: Callable[..., tuple[str, Invocation, int]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Whichever way it came; two of them stay two, which the command refuses."""
    for spelling in (["--token", "secret"], ["--token=secret"]):
        invocation = asked("join", "--context", "east", *spelling)[1]
        assert (invocation.words, invocation.files) == (("join", "--token-file={FILE0}"), (b"secret",))
    file = tmp_path / "token"
    file.write_text("other")
    monkeypatch.setenv("FEDERATION_TOKEN", "secret")
    both = asked("join", "--context", "east", "--token-file", str(file))[1]
    assert both.words == ("join", "--token=secret", "--token-file={FILE0}")
    monkeypatch.delenv("FEDERATION_TOKEN")
    revoked = asked("token", "revoke", "3f9ac01b77", "--context", "east")[1]
    assert (revoked.words, revoked.files) == (("token", "revoke", "3f9ac01b77"), ())


_CALLS = {
    "join": [
        ("--region", "eu"), ("--zone", ""), ("--timeout", "5"), ("--token-file", "./token"), ("--gateway", "-x=1"),
    ],
    "rotate ca": [("--now",), ("--timeout", "7.5")],
    "evict": [("west",)],
    "status": [("-o", "wide")],
}  # fmt: skip
_SAME_NAMES = {"-o": "--output", "-n": "--namespace"}


@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_spelling_of_a_call_is_the_same_call(
    asked: Callable[..., tuple[str, Invocation, int]], tmp_path: Path, data: st.DataObject
) -> None:
    """In any order, joined or apart, long or short; the words are its own as the pod's program reads them."""
    (tmp_path / "token").write_text("secret")
    name = data.draw(st.sampled_from(sorted(_CALLS)))
    options = [("--context", "east"), ("-n", "mesh"), *_CALLS[name]]
    calls = []
    for _ in range(2):
        words: list[str] = []
        for option in data.draw(st.permutations(options)):
            words += data.draw(st.sampled_from(_spellings(option, tmp_path)))
        namespace, invocation, _ = asked(*name.split(), *words)
        calls.append((namespace, invocation.words, invocation.files, invocation.given))
    assert calls[0] == calls[1]
    assert calls[0][0] == "mesh"
    assert not {"mesh", "east", "--context"} & {part for word in calls[0][1] for part in word.split("=")}
    assert str(tmp_path) not in " ".join(calls[0][1])


def _spellings(option: tuple[str, ...], directory: Path) -> list[list[str]]:
    """All ways to write one option or argument."""
    if len(option) == 1:
        return [list(option)]
    name, value = option
    if name == "--token-file":
        value = str(directory / "x" / ".." / "token").replace("x/../", "./")
    ways = [[name, value], [f"{_SAME_NAMES.get(name, name)}={value}"]]
    return ways + ([[f"{name}{value}"], [_SAME_NAMES[name], value]] if name in _SAME_NAMES else [])


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
    """The one that is given, those of KUBECONFIG that are there, or the one at home."""
    home = tmp_path / ".kube" / "config"
    home.parent.mkdir()
    first, second, given = tmp_path / "first", tmp_path / "second", tmp_path / "given"
    for path in (home, first, second, given):
        path.write_text("")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("KUBECONFIG", f"{tmp_path / 'missing'}:{first}:~/second:")
    found = [kube_access(given, None), kube_access(None, "east")]
    monkeypatch.setenv("KUBECONFIG", "")
    found.append(kube_access(None, None))
    home.unlink()

    assert found == [KubeAccess(given), KubeAccess(first, "east", more_kubeconfigs=(second,)), KubeAccess(home)]
    with pytest.raises(ConfigError, match=r"kubeconfig ~/\.kube/config is not there"):
        kube_access(None, None)
    monkeypatch.setenv("KUBECONFIG", "/nowhere/a:/nowhere/b")
    with pytest.raises(ConfigError, match="kubeconfig /nowhere/a:/nowhere/b is not there"):
        kube_access(None, None)
