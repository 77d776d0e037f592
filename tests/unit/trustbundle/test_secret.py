"""SecretBytes: key material that can't leak through printing or serialising."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from collections.abc import Callable

import msgspec
import pytest
import yaml

from trustbundle.secret import SecretBytes


@dataclasses.dataclass(frozen=True)
class _Holder:
    key: SecretBytes


SECRET = SecretBytes(b"hunter2")


@pytest.mark.parametrize("show", [repr, str, lambda secret: f"{secret}", lambda secret: repr(_Holder(secret))])
def test_printing_shows_nothing(show: Callable[[SecretBytes], str]) -> None:
    """Every way to print a secret, or a value that holds one, says <redacted> and no byte of it."""
    assert "<redacted>" in show(SECRET)
    assert "hunter2" not in show(SECRET)


@pytest.mark.parametrize(
    "serialise", [msgspec.json.encode, msgspec.to_builtins, yaml.dump, yaml.safe_dump, pickle.dumps]
)
def test_serialising_is_refused(serialise: Callable[[object], object]) -> None:
    """Serialisers refuse a secret instead of writing it."""
    with pytest.raises((TypeError, yaml.representer.RepresenterError)):
        serialise(_Holder(SECRET) if serialise is not yaml.safe_dump else SECRET)


def test_value() -> None:
    """Secrets compare by value, copy to themselves and reveal their bytes when asked."""
    assert SecretBytes(b"hunter2") == SECRET
    assert SecretBytes(b"hunter3") != SECRET
    assert hash(SecretBytes(b"hunter2")) == hash(SECRET)
    assert SECRET != b"hunter2"
    assert copy.deepcopy(_Holder(SECRET)) == _Holder(SECRET)
    assert SECRET.reveal() == b"hunter2"
