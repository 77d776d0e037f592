"""The authority's directory: one change at a time, whole after every crash, and no key that was replaced."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

import federation.membership.authority_store as module
from federation.membership.admission import replace_authority
from federation.membership.authority_store import AuthorityStore, HeldError
from federation.membership.keys import public_key
from federation.membership.ledger import Ledger
from federation.membership.roster import hand_over
from federation.model.errors import InvariantError, TrustError
from federation.model.names import ClusterId
from support.membership_values import CLUSTERSET, EAST, key, ledger_of, public, roster_member

ROOT = Path(__file__).parents[4]
LEDGER = ledger_of(EAST)
FRESH = replace_authority(LEDGER, hand_over(CLUSTERSET, key("authority"), key("fresh")))


@pytest.fixture
def store(tmp_path: Path) -> AuthorityStore:
    """An authority with one member."""
    made = AuthorityStore(tmp_path / "authority")
    made.create(LEDGER, key("authority"))
    return made


def refusal(call: Callable[[], object]) -> TrustError:
    with pytest.raises(TrustError) as caught:
        call()
    return caught.value


def keys(store: AuthorityStore) -> list[Path]:
    return sorted(store.directory.glob("*.key"))


def raw(found: tuple[Ledger, Ed25519PrivateKey]) -> tuple[Ledger, bytes]:
    """The ledger and the public half, which can be compared."""
    return found[0], public_key(found[1])


def with_one_more(ledger: Ledger, name: str) -> Ledger:
    """The ledger with one more member."""
    members = [*ledger.roster.members, roster_member(ClusterId(name))]
    return replace(ledger, roster=ledger.roster.with_members(members))


def test_an_authority_is_begun(store: AuthorityStore) -> None:
    """What was begun is there, for its owner alone."""
    assert store.exists
    assert store.read() == LEDGER
    assert raw(store.sign_key()) == (LEDGER, public("authority"))
    assert store.directory.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in store.directory.iterdir()} == {0o600}
    assert len(keys(store)) == 1


def test_there_is_one_authority(store: AuthorityStore) -> None:
    """A second one is not begun in the place of the first."""
    error = refusal(lambda: store.create(FRESH, key("fresh")))
    assert error.reason == "AuthorityExists"
    assert raw(store.sign_key()) == (LEDGER, public("authority"))


def test_there_is_none(tmp_path: Path) -> None:
    """Where no authority is kept, its want is told with where it may be, and nothing is made."""
    store = AuthorityStore(tmp_path / "authority")
    assert not store.exists
    for call in (store.read, store.sign_key):
        error = refusal(call)
        assert error.reason == "NoAuthority"
        assert "federation init" in error.hint
    assert not store.directory.exists()


def test_a_key_without_its_ledger(store: AuthorityStore) -> None:
    """A directory that lost its ledger is not begun anew: the key in it may be the clusterset's."""
    (store.directory / "ledger.json").unlink()
    error = refusal(lambda: store.create(FRESH, key("fresh")))
    assert error.reason == "AuthorityIncomplete"
    assert str(keys(store)[0]) in error.hint
    assert len(keys(store)) == 1


def test_a_ledger_without_its_key(store: AuthorityStore) -> None:
    """Without its key an authority can be read, and does nothing."""
    keys(store)[0].unlink()
    assert store.read() == LEDGER
    assert refusal(store.sign_key).reason == "Unusable"


def test_another_key_in_the_place_of_the_ledgers(store: AuthorityStore) -> None:
    """A key that does not belong to the ledger does not sign."""
    other = AuthorityStore(store.directory.with_name("other"))
    other.create(FRESH, key("fresh"))
    keys(other)[0].replace(keys(store)[0])
    assert refusal(store.sign_key).reason == "BadKey"


@pytest.mark.parametrize("suffix", [".key", ".json"])
def test_wide_modes(store: AuthorityStore, suffix: str) -> None:
    """Neither a key that others could read nor a ledger that others could write is used."""
    path = next(path for path in store.directory.iterdir() if path.suffix == suffix)
    path.chmod(0o660)
    error = refusal(store.sign_key)
    assert error.reason == "WideMode"
    assert f"chmod 600 {path}" in error.hint


def test_a_damaged_ledger(store: AuthorityStore) -> None:
    """A ledger that was cut is refused, and stays as it is."""
    path = store.directory / "ledger.json"
    path.write_bytes(path.read_bytes()[:100])
    assert refusal(store.sign_key).reason == "LedgerCorrupt"
    assert path.stat().st_size == 100


def test_a_large_ledger(store: AuthorityStore) -> None:
    """A thousand members fit."""
    with store.transaction() as held:
        members = [roster_member(ClusterId(f"c{number}")) for number in range(1000)]
        held.commit(replace(held.ledger, roster=held.ledger.roster.with_members(members)))
    assert len(store.read().roster.members) == 1000


def test_nothing_changes_without_commit(store: AuthorityStore) -> None:
    """A transaction that ends, or fails, before its commit leaves all as it was, and lets others in."""
    with store.transaction() as held:
        assert held.ledger == LEDGER
    with pytest.raises(ZeroDivisionError), store.transaction():
        raise ZeroDivisionError
    assert raw(store.sign_key()) == (LEDGER, public("authority"))


def test_the_key_is_replaced(store: AuthorityStore) -> None:
    """A new key takes the place of the one before, which is destroyed."""
    with store.transaction() as held:
        held.commit(FRESH, key("fresh"))
        assert (held.ledger, public_key(held.key)) == (FRESH, public("fresh"))
    assert raw(store.sign_key()) == (FRESH, public("fresh"))
    assert len(keys(store)) == 1


def test_other_files_are_left_alone(store: AuthorityStore) -> None:
    """Keys of something else, kept in the same directory, are nobody's to destroy."""
    others = [store.directory / name for name in ("member.key", "tls.key", "0123.key")]
    for path in others:
        path.write_text("precious")
    with store.transaction() as held:
        held.commit(FRESH, key("fresh"))
    assert [path.read_text() for path in others] == ["precious"] * 3


@pytest.mark.parametrize("crash_in", ["put_ledger", "drop_other_keys"])
def test_a_crash_while_the_key_is_replaced(
    store: AuthorityStore, monkeypatch: pytest.MonkeyPatch, crash_in: str
) -> None:
    """Before the ledger is written the old pair counts, after it the new one; the next transaction tidies up."""

    def crash(*_: object) -> None:
        raise SystemExit

    with store.transaction() as held:
        monkeypatch.setattr(AuthorityStore, crash_in, crash)
        with pytest.raises(SystemExit):
            held.commit(FRESH, key("fresh"))
    monkeypatch.undo()
    assert len(keys(store)) == 2

    expected = (LEDGER, public("authority")) if crash_in == "put_ledger" else (FRESH, public("fresh"))
    assert raw(store.sign_key()) == expected
    assert len(keys(store)) == 1


def test_a_full_disk(store: AuthorityStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """What can't be written is told, and what was there stays."""

    def full(path: Path, content: bytes) -> None:
        path.with_name(f".{path.name}.new").write_bytes(content[:10])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "replace_private", full)
    with store.transaction() as held:
        error = refusal(lambda: held.commit(with_one_more(held.ledger, "west")))
        assert error.reason == "Unusable"
        assert "No space left on device" in str(error)
        assert held.ledger == LEDGER
    monkeypatch.undo()

    with store.transaction() as held:
        held.commit(with_one_more(held.ledger, "west"))
    assert len(store.read().roster.members) == 2


@pytest.mark.parametrize(
    ("ledger", "fresh"),
    [
        (FRESH, None),
        (LEDGER, "fresh"),
        (FRESH, "other"),
        (replace(LEDGER, roster=replace(LEDGER.roster, members=())), None),
        (replace(LEDGER, roster=replace(LEDGER.roster, serial=0)), None),
    ],
    ids=["key is missing", "key is another's", "key of neither", "same serial", "smaller serial"],
)
def test_commits_that_would_end_the_authority(store: AuthorityStore, ledger: Ledger, fresh: str | None) -> None:
    """A ledger is never stored without its key, nor another roster under a serial that was used."""
    with store.transaction() as held, pytest.raises(InvariantError):
        held.commit(ledger, None if fresh is None else key(fresh))
    assert raw(store.sign_key()) == (LEDGER, public("authority"))
    assert len(keys(store)) == 1


PROGRAM = """
import sys
from pathlib import Path
from federation.membership.authority_store import AuthorityStore
from federation.model.names import ClusterId
from test_authority_store import with_one_more

store = AuthorityStore(Path(sys.argv[1]))
for number in range(20):
    with store.transaction() as held:
        held.commit(with_one_more(held.ledger, f"{sys.argv[2]}{number}"))
"""


def test_two_processes_and_two_threads(store: AuthorityStore) -> None:
    """Whoever changes the ledger at the same time, no change is lost: the controller, a command, and threads of one."""

    def work(name: str) -> None:
        for number in range(20):
            with AuthorityStore(store.directory).transaction() as held:
                held.commit(with_one_more(held.ledger, f"{name}{number}"))

    path = ":".join(map(str, (ROOT, ROOT / "tests", Path(__file__).parent)))
    processes = [
        subprocess.Popen([sys.executable, "-c", PROGRAM, str(store.directory), name], env={"PYTHONPATH": path})
        for name in ("p", "q")
    ]
    threads = [threading.Thread(target=work, args=(name,)) for name in ("t", "u")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [process.wait(30) for process in processes] == [0, 0]

    roster = store.read().roster
    assert {member.cluster for member in roster.members} == {
        EAST,
        *(f"{name}{number}" for name in "pqtu" for number in range(20)),
    }
    assert roster.serial == LEDGER.roster.serial + 80


def test_whoever_does_not_wait_is_told_that_it_is_held(store: AuthorityStore) -> None:
    """And holds it as soon as nobody else does."""
    with (
        store.transaction(),
        pytest.raises(HeldError, match="another process holds the authority"),
        AuthorityStore(store.directory).transaction(wait=False),
    ):
        pass
    with store.transaction(wait=False) as held:
        assert held.ledger == LEDGER


def test_no_secret_is_shown(store: AuthorityStore) -> None:
    """Neither an error nor a representation holds the key."""
    secret = key("authority").private_bytes_raw()
    path = keys(store)[0]
    path.write_text(path.read_text()[:60])
    error = refusal(store.sign_key)
    shown = f"{error} {error.hint} {error!r} {store!r} {store.read()!r}"
    assert [text for text in (secret.hex(), repr(secret), "PRIVATE KEY") if text in shown] == []
