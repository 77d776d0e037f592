"""`federation kind` from nothing to a call, on fakes of docker, kind and kubectl: there is no real one in the tests."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner, Result

from federation.cli.main import app
from support.fake_kind import CONFIGS, FakeKind

CLUSTERS = ("east", "west", "north")
WRITES = {"create", "build", "load", "install", "init", "join", "apply", "annotate", "export", "pull"}


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeKind:
    """A checkout with a Dockerfile, and the fakes on PATH; the limits of inotify are nobody's."""
    fakes = FakeKind(tmp_path / "fakes")
    fakes.install(monkeypatch)
    dockerfile = tmp_path / "checkout" / "deploy" / "image" / "Dockerfile"
    dockerfile.parent.mkdir(parents=True)
    dockerfile.write_text("FROM scratch\n")
    (tmp_path / "checkout" / "kind-configs").symlink_to(CONFIGS)
    fakes.checkout = tmp_path / "checkout"
    monkeypatch.chdir(fakes.checkout)
    monkeypatch.setattr("federation.app.kind.deeds.LIMITS", tmp_path / "none")
    return fakes


def kind(*words: str) -> Result:
    return CliRunner().invoke(app, ["kind", *words], catch_exceptions=False)


def outcomes(result: Result) -> dict[str, str]:
    steps = json.loads(result.stdout)["steps"]
    return {f"{one['cluster']} {one['step']}".strip(): one["outcome"] for one in steps}


def test_a_clusterset_from_nothing_and_again(host: FakeKind) -> None:
    """Every step is done, in an order that holds; a second run finds all of it, and only calls."""
    first = kind("up", "-o", "json")
    assert (first.exit_code, json.loads(first.stdout)["answers"]) == (0, {"west": 12})
    assert set(outcomes(first).values()) - {"done", "there"} == set()
    made = host.state["clusters"]
    assert sorted(made) == sorted(CLUSTERS)
    assert all(made[name]["member"] and made[name]["corefile"] and made[name]["pods"] for name in CLUSTERS)
    assert sorted(host.state["exported"]) == sorted(CLUSTERS)
    assert sorted(host.state["tokens"]) == ["north", "west"]

    host.log.clear()
    second = kind("up", "-o", "json")
    assert {step for step, outcome in outcomes(second).items() if outcome == "done"} == {"image", "call"}
    assert [line for line, _ in host.log if WRITES & set(line.split())] == host.asked("docker build")


def test_what_is_loaded_is_known_where_ids_differ(host: FakeKind) -> None:
    """Docker with containerd's image store: by names that never mean another image."""
    host.state["containerd"] = True
    assert kind("up").exit_code == 0
    second = outcomes(kind("up", "-o", "json"))
    assert {second[f"{name} load"] for name in CLUSTERS} == {second["east exchange image"]} == {"there"}


def test_what_the_clusters_are_told(host: FakeKind) -> None:
    """The exchange by a name that lasts, the image by its content, tokens by standard input only."""
    assert kind("up").exit_code == 0
    east = host.state["clusters"]["east"]
    values = {name: yaml.safe_load(host.state["clusters"][name]["values"]) for name in CLUSTERS}

    assert "--exchange rediss://east-control-plane:30379" in " ".join(east["init"])
    assert (east["--exchange-ca"], east["--exchange-admin"]) == ("ca", "admin")
    assert values["east"]["exchange"]["names"] == ["east-control-plane"]
    assert "exchange" not in values["west"]
    assert {one["image"]["tag"] for one in values.values()} == {"kind-0123456789ab"}
    assert {one["clusterset"] for one in values.values()} == {"kind"}
    tokens = [stdin for _, stdin in host.log if stdin.startswith("token of")]
    assert sorted(token.split(",")[0] for token in tokens) == ["token of north", "token of west"]
    assert host.asked("token of") == []


def test_another_image_rolls_out(host: FakeKind) -> None:
    """Code that changed is built, loaded and installed again; nobody joins again."""
    assert kind("up").exit_code == 0
    host.state["built"] = "sha256:fedcba9876543210"
    host.log.clear()
    again = kind("up", "-o", "json")
    done = {step for step, outcome in outcomes(again).items() if outcome == "done"}
    expected = {f"{name} {step}" for name in CLUSTERS for step in ("load", "install", "sample")}
    assert done == {"image", "call", *expected}


@pytest.mark.parametrize(
    ("broken", "failed"),
    [
        ("kind create cluster --name west", "west cluster"),
        ("kind load docker-image federation-gateway:kind-0123456789ab --name north", "north load"),
        ("federation init", "east found"),
        ("--cluster west", "west join"),
        ("apply", "sample"),
    ],
)
def test_what_failed_is_taken_up_where_it_stopped(host: FakeKind, broken: str, failed: str) -> None:
    """The error has the program's words; the next run does what is left, and nothing twice."""
    host.state["broken"] = [broken]
    cut = kind("up", "-o", "json")
    first = outcomes(cut)
    assert cut.exit_code == 1
    assert next(step for step, outcome in first.items() if outcome == "failed").endswith(failed)
    assert f"boom: {broken}" in cut.stderr
    assert first["call"] == "left"

    host.state["broken"] = []
    host.log.clear()
    again = kind("up", "-o", "json")
    second = outcomes(again)
    assert again.exit_code == 0
    done_twice = {step for step in first if first[step] == second[step] == "done"} - {"image"}
    assert done_twice == set()


def test_with_keep_going_only_what_waits_for_it_is_left(host: FakeKind) -> None:
    """One cluster of three can't be made: the others become a clusterset."""
    host.state["broken"] = ["kind create cluster --name north"]
    result = kind("up", "--keep-going", "-o", "json")
    found = outcomes(result)
    assert result.exit_code == 1
    assert {step for step, outcome in found.items() if outcome == "left"} == {
        *(f"north {step}" for step in ("load", "install", "join", "ready", "dns", "sample")),
        "call",
    }
    assert (found["north cluster"], found["west sample"]) == ("failed", "done")
    assert host.asked("kind delete cluster --name north") != []


def test_names_take_their_time(host: FakeKind, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first call is tried until it is answered; if it never is, the last words are shown."""
    monkeypatch.setattr("federation.app.kind.deeds.PAUSE_SECONDS", 0.0)
    host.state["deaf"] = 3
    assert kind("up").exit_code == 0
    monkeypatch.setattr("federation.app.kind.deeds.TRIES", 2)
    host.state["deaf"] = 1000
    given_up = kind("up")
    assert given_up.exit_code == 1
    assert "Name or service not known" in given_up.stderr


def test_leaders_take_their_time(host: FakeKind, monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands that run where the leader is are tried until there is one, and given up with its words."""
    monkeypatch.setattr("federation.app.kind.deeds.PAUSE_SECONDS", 0.0)
    host.state["leaderless"] = 5
    assert kind("up", "--clusters", "east").exit_code == 0
    host.state.update(leaderless=10**6, clusters={})
    monkeypatch.setattr("federation.app.kind.deeds.TRIES", 2)
    given_up = kind("up", "--clusters", "east")
    assert given_up.exit_code == 1
    assert "`federation init --context kind-east` failed with 3: error: no controller leads" in given_up.stderr


def test_status_tells_what_there_is(host: FakeKind) -> None:
    """Nothing, all, and what is missing of it; the exit code says whether all is there."""
    nothing = kind("status")
    assert (nothing.exit_code, nothing.stdout.splitlines()[1].split()[:2]) == (1, ["east", "none"])
    assert kind("up").exit_code == 0
    assert kind("status").exit_code == 0
    host.state["clusters"]["west"].update(gateways=False, corefile="")
    part = kind("status", "-o", "json")
    west = next(one for one in json.loads(part.stdout) if one["cluster"] == "west")
    assert (part.exit_code, west["whole"], west["dns"], west["member"]) == (1, False, False, True)
    assert (west["gateways"], west["controllers"]) == ({"ready": 0, "wanted": 2}, {"ready": 2, "wanted": 2})
    host.state["silent"] = "north"
    assert "docker start north-control-plane" in kind("status").stderr


def test_down_deletes_what_up_made(host: FakeKind) -> None:
    """All of it, and no cluster of the same name that is somebody else's."""
    assert kind("up", "--clusters", "east,west").exit_code == 0
    host.state["clusters"]["west"]["ours"] = False
    down = kind("down")
    assert (down.exit_code, sorted(host.state["clusters"])) == (1, ["west"])
    assert "did not make" in down.stderr
    assert "north: is not there" in down.stderr


def test_a_cluster_of_somebody_else_is_not_touched(host: FakeKind) -> None:
    """Before anything is installed into it."""
    assert kind("up", "--clusters", "east").exit_code == 0
    host.state["clusters"]["east"]["ours"] = False
    host.log.clear()
    refused = kind("up")
    assert refused.exit_code == 1
    assert "there is a cluster east of kind that `federation kind` did not make" in refused.stderr
    assert host.asked("federation install", "kind-east") == []


def test_what_the_host_lacks_is_told_at_once(host: FakeKind) -> None:
    """A line each, with the next step; nothing was begun."""
    host.remove("kind")
    host.state.update(engine=False, versions={"docker": "28.0.0", "kind": "", "kubectl": "v1.20.0"})
    refused = kind("up")
    assert refused.exit_code == 2
    for words in ("kind is not on PATH: install kind", "engine does not answer", "kubectl 1.20.0 is too old"):
        assert [line for line in refused.stderr.splitlines() if words in line] != []
    assert host.asked("docker build") == []


def test_the_programs_are_processes(host: FakeKind, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same with a process for each command: found on PATH, with standard input, exit code and both outputs."""
    monkeypatch.undo()
    monkeypatch.setattr("federation.app.kind.deeds.LIMITS", Path("none"))
    monkeypatch.chdir(host.checkout)
    host.state["broken"] = ["dns install"]
    host.install(monkeypatch, in_processes=True)
    result = kind("up", "--clusters", "east", "--keep-going")
    host.read_back()

    assert (result.exit_code, result.stderr.count("boom: dns install")) == (1, 1)
    assert host.state["clusters"]["east"]["member"]
    assert next(stdin for line, stdin in host.log if " init " in line) == ""
