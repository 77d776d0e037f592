"""The keystore in files: modes, restarts, and no silent loss."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from federation.model.errors import TrustError
from support.clock import START as NOW
from trustbundle.authority import CertificateAuthority
from trustbundle.identity import TrustDomain, workload_id
from trustbundle.keystore import FileKeystore
from trustbundle.rotation import RotationPolicy
from trustbundle.secret import SecretBytes

EAST = TrustDomain("east.example")


def _authority(directory: Path, trust_domain: TrustDomain = EAST) -> CertificateAuthority:
    return CertificateAuthority(trust_domain, RotationPolicy(), FileKeystore(directory, trust_domain))


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A directory in which a CA has been started."""
    path = tmp_path / "state" / "ca"
    _authority(path).tick(NOW)
    return path


def _refusal(directory: Path, trust_domain: TrustDomain = EAST) -> TrustError:
    with pytest.raises(TrustError) as caught:
        _authority(directory, trust_domain)
    return caught.value


def test_survives_restart(directory: Path) -> None:
    """A CA opened again on its directory has the same bundle, is not changed by a tick, and can sign."""
    once, again = _authority(directory), _authority(directory)
    assert not again.tick(NOW)
    assert again.bundle() == once.bundle()
    again.issue(workload_id(EAST, "demo", "echo"), NOW)


def test_state_survives_unchanged(directory: Path) -> None:
    """Every field of the state reads back as it was written."""
    authority = _authority(directory)
    authority.request_rotation(NOW)
    authority.tick(NOW)
    authority.mark_published(authority.bundle().sequence, NOW)
    authority.tick(NOW + RotationPolicy().propagation)
    keystore = FileKeystore(directory, EAST)
    state = keystore.load()
    assert state is not None
    assert state.old[0].tainted
    keystore.save(state)
    assert FileKeystore(directory, EAST).load() == state


def test_a_taint_survives_a_restart(directory: Path) -> None:
    """A controller that is started again goes on with what was begun."""
    authority = _authority(directory)
    authority.taint(None, NOW)
    again = _authority(directory)
    assert again.state == authority.state
    assert (again.state.urgent, again.state.slots[0].revoked_at) == (True, NOW)


def test_a_journal_from_before_taints_is_read(directory: Path) -> None:
    """Fields that an older program did not write have their defaults."""
    journal = directory / "journal.json"
    content = json.loads(journal.read_text())
    del content["state"]["urgent"], content["state"]["current"]["revoked_at"]
    journal.write_text(json.dumps(content))
    state = _authority(directory).state
    assert (state.urgent, state.slots[0].revoked_at) == (False, None)


def test_modes(directory: Path) -> None:
    """Only the owner can enter the directory and read the files, and nothing temporary is left."""
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in directory.iterdir()} == {0o600}
    assert sorted(path.suffix for path in directory.iterdir()) == [".json", ".pem"]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_wide_key_file(directory: Path, mode: int) -> None:
    """A key that others could have read is refused, with the command that mends it and the alternative."""
    (key,) = directory.glob("*.key.pem")
    key.chmod(mode)
    error = _refusal(directory)
    assert error.reason == "WideMode"
    assert f"chmod 600 {key}" in error.hint


def test_wide_directory(directory: Path) -> None:
    """A directory that others can enter is refused."""
    directory.chmod(0o750)
    assert _refusal(directory).reason == "WideMode"


@pytest.mark.parametrize(
    "content", [b"", b"{", b"null", b'{"version": 1}', b"\xff\xfe", b'{"version":1,"trust_domain":"east.example"}']
)
def test_corrupt_journal(directory: Path, content: bytes) -> None:
    """A journal that can't be read is reported and left as it is, never taken for a new CA."""
    journal = directory / "journal.json"
    journal.write_bytes(content)
    error = _refusal(directory)
    assert error.reason == "JournalCorrupt"
    assert "backup" in error.hint
    assert journal.read_bytes() == content


def test_lost_journal(directory: Path) -> None:
    """Keys without a journal are the rest of a CA, not the start of one."""
    (directory / "journal.json").unlink()
    assert _refusal(directory).reason == "JournalMissing"


def test_lost_key(directory: Path) -> None:
    """A CA whose key is gone is reported, not replaced."""
    (key,) = directory.glob("*.key.pem")
    key.unlink()
    assert _refusal(directory).reason == "Unusable"


def test_damaged_key(directory: Path) -> None:
    """A key file that holds something else is reported without its content."""
    (key,) = directory.glob("*.key.pem")
    key.write_text("-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n")
    error = _refusal(directory)
    assert error.reason == "BadKey"
    assert "c2VjcmV0" not in str(error)


def test_journal_of_a_newer_program(directory: Path) -> None:
    """A journal of another version is not guessed at."""
    journal = directory / "journal.json"
    journal.write_text(json.dumps(json.loads(journal.read_text()) | {"version": 2}))
    assert _refusal(directory).reason == "JournalVersion"


def test_journal_of_another_trust_domain(directory: Path) -> None:
    """The CA of one trust domain is never opened for another."""
    assert _refusal(directory, TrustDomain("west.example")).reason == "WrongTrustDomain"


def test_directory_that_can_not_be_made(tmp_path: Path) -> None:
    """Where the directory can't be made, the error names it."""
    (tmp_path / "file").write_text("")
    with pytest.raises(TrustError, match="file/ca can't be used"):
        FileKeystore(tmp_path / "file" / "ca", EAST)


def test_left_over_of_a_crash(directory: Path) -> None:
    """A half-written temporary file, even one of wide mode, neither hurts nor is used."""
    left_over = directory / ".journal.json.new"
    left_over.write_text("half")
    left_over.chmod(0o666)
    keystore = FileKeystore(directory, EAST)
    state = keystore.load()
    assert state is not None
    keystore.save(state)
    assert keystore.load() == state
    assert not left_over.exists()


def test_retain_keys(directory: Path) -> None:
    """Keys that are not asked to be kept are deleted."""
    keystore = FileKeystore(directory, EAST)
    keystore.save_key("extra", SecretBytes(b"key"))
    assert keystore.load_key("extra") == SecretBytes(b"key")
    keystore.retain_keys(frozenset({"extra"}))
    assert [path.name for path in directory.glob("*.key.pem")] == ["extra.key.pem"]
