"""Commands that are run where the controller leads: who that is, and what the pod makes of them."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from controllers.kube.client import KubeAccess
from federation.app.kube.remote import (
    MAX_BYTES,
    Invocation,
    NoLeaderError,
    laid_out,
    placeholder,
    read_invocation,
    run_in_leader,
)
from federation.model.errors import ConfigError
from support.kube.server import running


async def test_without_a_leader_nothing_is_run(tmp_path: Path) -> None:
    """Neither without a lease nor with one that was given back; the hint says where to look."""
    async with running() as server:
        access = KubeAccess(server.write_kubeconfig(tmp_path / "kubeconfig"))
        for _ in range(2):
            with pytest.raises(NoLeaderError) as caught:
                await run_in_leader(access, "system", Invocation(("status",)), out=lambda _: None, err=lambda _: None)
            assert (caught.value.exit_code, caught.value.hint.find("`kubectl get pods -n system`")) == (3, 0)
            assert "federation install -n system" in caught.value.hint
            server.put(("", "namespaces"), {"metadata": {"name": "system"}})
            lease = {"metadata": {"namespace": "system", "name": "federation-controller"}, "spec": {}}
            server.put(("coordination.k8s.io", "leases"), lease)


def test_files_are_private_and_gone_afterwards() -> None:
    """Their names stand where the operator's did."""
    invocation = Invocation(("init", placeholder(1), f"--ca={placeholder(0)}"), (b"a", b"b"))
    with laid_out(invocation) as words:
        paths = [Path(words[2].removeprefix("--ca=")), Path(words[1])]
        found = [(path.read_bytes(), path.stat().st_mode & 0o777) for path in paths]

    assert found == [(b"a", 0o600), (b"b", 0o600)]
    assert not any(path.exists() for path in paths)


def test_what_is_no_command_or_too_large_is_refused() -> None:
    """Before anything is done."""
    for line in ("", "{}", '{"words": 1}', '{"words": ["' + "x" * MAX_BYTES + '"]}'):
        with pytest.raises(ConfigError, match="no command"):
            read_invocation(io.StringIO(line))
