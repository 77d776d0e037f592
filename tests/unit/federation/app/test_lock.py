"""One controller per state directory."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from federation.app.lock import LOCK_FILE, only_controller
from federation.model.errors import ConfigError


def test_a_second_holder_is_refused_by_name(tmp_path: Path) -> None:
    """While one holds the directory another one is told who does."""
    refused = pytest.raises(ConfigError, match=rf"another controller runs on .* \(process {os.getpid()}\)")
    with only_controller(tmp_path), refused, only_controller(tmp_path):
        pass


def test_it_is_free_again_afterwards(tmp_path: Path) -> None:
    """The end of the context lets go, although the file stays."""
    with only_controller(tmp_path):
        pass
    with only_controller(tmp_path):
        assert (tmp_path / LOCK_FILE).read_text() == f"{os.getpid()}\n"


def test_the_directory_is_made_private(tmp_path: Path) -> None:
    """A state directory that is not there yet gets mode 0700, the lock 0600."""
    state = tmp_path / "a" / "state"
    with only_controller(state):
        modes = [stat.S_IMODE(path.stat().st_mode) for path in (state, state / LOCK_FILE)]
    assert modes == [0o700, 0o600]


def test_a_directory_that_cannot_be_made_is_an_error_with_a_hint(tmp_path: Path) -> None:
    """A file in the way is told as trouble of the state directory."""
    (tmp_path / "state").write_text("")
    refused = pytest.raises(ConfigError, match=r"state directory .*/state can't be used: File exists")
    with refused as caught, only_controller(tmp_path / "state"):
        pass
    assert "stateDirectory" in caught.value.hint
