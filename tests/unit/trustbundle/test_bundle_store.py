"""What was taken of a CA elsewhere outlives the process, and is never mistaken for nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from federation.model.errors import TrustError
from support.clock import START
from trustbundle.bundle_store import BundleStore
from trustbundle.external import TakenBundle
from trustbundle.identity import TrustDomain

EAST = TrustDomain("east.test")
TAKEN = TakenBundle(EAST, 2**63 - 1, (b"one", b"two"), "https_web https://a/b", 7, START)


def reason_of(path: Path, trust_domain: TrustDomain = EAST) -> str:
    with pytest.raises(TrustError) as caught:
        BundleStore(path, trust_domain).load()
    return caught.value.reason


def test_what_was_saved_is_loaded(tmp_path: Path) -> None:
    """The last of what was saved, whole; before that nothing, and after a removal nothing."""
    path = tmp_path / "own-bundle.json"
    store = BundleStore(path, EAST)

    before = store.load()
    store.save(replace(TAKEN, sequence=1))
    store.save(TAKEN)
    after = BundleStore(path, EAST).load()
    store.remove()
    store.remove()

    assert (before, after, store.load()) == (None, TAKEN, None)
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_read_is_not_nothing(tmp_path: Path) -> None:
    """Damage, another version and another trust domain are errors: begun anew, the sequence could go back."""
    path = tmp_path / "own-bundle.json"
    BundleStore(path, EAST).save(TAKEN)
    good = path.read_text()

    assert reason_of(path, TrustDomain("west.test")) == "WrongTrustDomain"
    path.write_text(good.replace('"version": 1', '"version": 2'))
    assert reason_of(path) == "StoreVersion"
    path.write_text(good[:-20])
    assert reason_of(path) == "StoreCorrupt"
    path.write_text("")
    assert reason_of(path) == "StoreCorrupt"


def test_a_store_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    """Without its directory nothing is stored, and the error names the file."""
    store = BundleStore(tmp_path / "gone" / "own-bundle.json", EAST)

    with pytest.raises(TrustError, match=r"own-bundle\.json: No such file"):
        store.save(TAKEN)
