"""Node tokens: who a token proves to be, and what harms only itself."""

from __future__ import annotations

import errno
import shutil
import stat
from pathlib import Path

import pytest

from federation.membership.tokens import NodePrincipal, TokenStore, create_token, fingerprint
from federation.storage.private_file import create_private

GATEWAY = NodePrincipal("gateway")
ECHO = NodePrincipal("sidecar", "demo", "echo")


@pytest.fixture
def tokens(tmp_path: Path) -> Path:
    """A directory with a gateway's and a sidecar's token."""
    directory = tmp_path / "tokens"
    directory.mkdir()
    create_token(directory / "gateway.token")
    create_token(directory / "demo.echo.token")
    return directory


def _token(directory: Path, name: str) -> str:
    return (directory / name).read_text().strip()


def _reasons(store: TokenStore) -> list[tuple[str, str]]:
    return [(problem.subject, problem.reason) for problem in store.problems]


async def test_authenticate(tokens: Path) -> None:
    """A token proves the role, namespace and service account that its file is named after."""
    store = TokenStore.load(tokens)
    assert await store.authenticate(_token(tokens, "gateway.token")) == GATEWAY
    assert await store.authenticate(_token(tokens, "demo.echo.token")) == ECHO
    assert store.problems == ()


async def test_account_with_dots(tokens: Path) -> None:
    """A namespace is one label; all that follows it is the account."""
    create_token(tokens / "demo.echo.v1.token")
    principal = await TokenStore.load(tokens).authenticate(_token(tokens, "demo.echo.v1.token"))
    assert principal == NodePrincipal("sidecar", "demo", "echo.v1")


async def test_unknown_tokens(tokens: Path) -> None:
    """No token, a part of one, one with a space and text that is none prove nothing."""
    store = TokenStore.load(tokens)
    token = _token(tokens, "gateway.token")
    for unknown in ("", token[:-1], f"{token} ", "x" * 43, "\udce9"):
        assert await store.authenticate(unknown) is None


def test_created_tokens(tokens: Path) -> None:
    """A created token is random, of 32 bytes at least, private, and never overwritten."""
    first, second = _token(tokens, "gateway.token"), _token(tokens, "demo.echo.token")
    assert first != second
    assert len(first) >= 43
    assert stat.S_IMODE((tokens / "gateway.token").stat().st_mode) == 0o600
    with pytest.raises(FileExistsError):
        create_token(tokens / "gateway.token")
    assert _token(tokens, "gateway.token") == first


def test_a_token_that_can_not_be_written_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a full disk no empty file stays in the way of the next try."""

    def full(path: Path, content: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("federation.membership.tokens.replace_private", full)
    with pytest.raises(OSError, match="No space"):
        create_token(tmp_path / "gateway.token")
    assert list(tmp_path.iterdir()) == []


async def test_wide_mode_harms_itself_only(tokens: Path) -> None:
    """A token that others can read is refused with a problem; the others keep working."""
    (tokens / "demo.echo.token").chmod(0o644)
    store = TokenStore.load(tokens)
    assert await store.authenticate(_token(tokens, "demo.echo.token")) is None
    assert await store.authenticate(_token(tokens, "gateway.token")) == GATEWAY
    assert _reasons(store) == [("demo.echo.token", "TokenUnreadable")]
    assert "0644" in store.problems[0].message


@pytest.mark.parametrize("content", [b"", b"short", b"a b" * 20, b"\xff" * 50, b"x" * 42])
async def test_weak_token(tokens: Path, content: bytes) -> None:
    """A token that is too short or no base64url is refused, and its text is not in the problem."""
    create_private(tokens / "demo.weak.token", content)
    store = TokenStore.load(tokens)
    assert await store.authenticate(content.decode(errors="replace").strip()) is None
    assert _reasons(store) == [("demo.weak.token", "BadToken")]
    assert content == b"" or content.decode(errors="replace") not in str(store.problems)


@pytest.mark.parametrize("name", ["demo.token", ".token", "demo..token", "Demo.echo.token", "demo.e_cho.token"])
def test_bad_names(tokens: Path, name: str) -> None:
    """A file whose name is no principal is refused."""
    create_token(tokens / name)
    assert _reasons(TokenStore.load(tokens)) == [(name, "BadTokenName")]


def test_other_files_are_ignored(tokens: Path) -> None:
    """Files of another suffix are none of the store's business."""
    (tokens / "README.md").write_text("tokens live here")
    assert TokenStore.load(tokens).problems == ()


async def test_token_in_two_files(tokens: Path) -> None:
    """A token in two files proves neither name."""
    create_private(tokens / "demo.copy.token", (tokens / "demo.echo.token").read_bytes())
    store = TokenStore.load(tokens)
    assert await store.authenticate(_token(tokens, "demo.echo.token")) is None
    assert await store.authenticate(_token(tokens, "gateway.token")) == GATEWAY
    assert _reasons(store) == [("demo.copy.token", "SharedToken"), ("demo.echo.token", "SharedToken")]


async def test_refresh(tokens: Path) -> None:
    """Added, removed, replaced and re-moded tokens are seen at the next refresh, and a quiet directory is not read."""
    store = TokenStore.load(tokens)
    assert not store.refresh()
    create_token(tokens / "demo.new.token")
    assert store.refresh()
    added = _token(tokens, "demo.new.token")
    assert await store.authenticate(added) == NodePrincipal("sidecar", "demo", "new")
    (tokens / "demo.new.token").chmod(0o640)
    assert store.refresh()
    assert await store.authenticate(added) is None
    (tokens / "demo.new.token").unlink()
    create_token(tokens / "demo.new.token")
    assert store.refresh()
    assert await store.authenticate(added) is None
    assert await store.authenticate(_token(tokens, "demo.new.token")) is not None
    (tokens / "demo.new.token").unlink()
    assert store.refresh()
    assert not store.refresh()


async def test_missing_directory(tokens: Path) -> None:
    """A directory that is gone holds no tokens, is reported once, and is read again when it is back."""
    store = TokenStore.load(tokens)
    token = _token(tokens, "gateway.token")
    moved = tokens.with_name("moved")
    shutil.move(tokens, moved)
    assert [store.refresh(), store.refresh()] == [True, False]
    assert await store.authenticate(token) is None
    assert _reasons(store) == [(str(tokens), "TokensUnreadable")]
    shutil.move(moved, tokens)
    assert store.refresh()
    assert await store.authenticate(token) == GATEWAY
    assert store.problems == ()


def test_no_token_is_kept_in_the_open(tokens: Path) -> None:
    """The store keeps digests: no attribute of it holds a token."""
    store = TokenStore.load(tokens)
    assert _token(tokens, "gateway.token") not in repr(vars(store))


async def test_what_was_withdrawn(tokens: Path) -> None:
    """Of the tokens that are asked about, those whose file is gone or holds another one; nobody needs to refresh."""
    store = TokenStore.load(tokens)
    held = [fingerprint(_token(tokens, name)) for name in ("gateway.token", "demo.echo.token")]
    assert store.withdrawn(held) == frozenset()
    (tokens / "gateway.token").unlink()
    create_token(tokens / "gateway.token")
    assert store.withdrawn(held) == {held[0]}
    assert store.withdrawn(held[1:]) == frozenset()
