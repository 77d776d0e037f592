"""Errors of the system become ours, with their cause; all others stay what they are."""

from __future__ import annotations

import pytest

from federation.model.errors import ConfigError
from federation.storage.trouble import told_as


@pytest.mark.parametrize(
    ("error", "words"), [(OSError(28, "No space left on device"), "No space left on device"), (OSError("odd"), "odd")]
)
def test_trouble_is_told_in_the_words_of_whoever_has_the_file(error: OSError, words: str) -> None:
    """With the cause in it, and behind it."""
    with (
        pytest.raises(ConfigError, match=f"^state can't be used: {words}$") as caught,
        told_as(lambda cause: ConfigError(f"state can't be used: {cause}")),
    ):
        raise error
    assert caught.value.__cause__ is error


def test_what_is_no_trouble_with_files_passes() -> None:
    """A bug is not taken for a full disk."""
    with pytest.raises(ZeroDivisionError), told_as(ConfigError):
        raise ZeroDivisionError
