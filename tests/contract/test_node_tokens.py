"""What everything promises that proves who a proxy is: files of a site, and the API server's TokenReview."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

import pytest
from structlog.testing import capture_logs

from controllers.kube.client import KubeAccess, open_client
from controllers.kube.token_review import REPROVE_SECONDS, TokenReviewer
from federation.membership.tokens import NodePrincipal, NodeTokens, TokenStore, create_token, fingerprint
from support.kube.caller import Caller
from support.kube.objects import Json
from support.kube.plane import REAL, STAND_IN, Plane, plane_of
from support.kube.server import running
from support.kube.site import CORE, WAIT_SECONDS

AUDIENCE = "federation.test"


class Site(Protocol):
    """A place where tokens are given and taken back."""

    tokens: NodeTokens
    namespace: str

    async def give(self, account: str) -> str:
        """A token of a new account of the namespace."""

    async def give_gateway(self) -> str:
        """A token of the cluster's gateways."""

    async def take_back(self, account: str) -> None:
        """The account's token proves nothing any more."""

    async def notice(self) -> None:
        """Time passes in which it is to be noticed that tokens were taken back."""


class FileSite:
    namespace = "demo"

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.tokens: NodeTokens = TokenStore.load(directory)

    async def give(self, account: str) -> str:
        return self._created(f"{self.namespace}.{account}.token")

    async def give_gateway(self) -> str:
        return self._created("gateway.token")

    async def take_back(self, account: str) -> None:
        (self._directory / f"{self.namespace}.{account}.token").unlink()

    async def notice(self) -> None:
        """Files are looked at whenever somebody asks."""

    def _created(self, name: str) -> str:
        create_token(self._directory / name)
        return (self._directory / name).read_text().strip()


class KubernetesSite:
    def __init__(self, admin: Caller, access: KubeAccess, namespace: str, own_namespace: str) -> None:
        self._admin = admin
        self._own_namespace = own_namespace
        self._seconds = 1000.0
        self.namespace = namespace
        self.reviewer = TokenReviewer(
            lambda: open_client(access),
            AUDIENCE,
            own_namespace=own_namespace,
            monotonic=lambda: self._seconds,
            clock=lambda: datetime.now(UTC),
        )
        self.tokens: NodeTokens = self.reviewer

    async def give(self, account: str) -> str:
        return await self._created(self.namespace, account)

    async def give_gateway(self) -> str:
        return await self._created(self._own_namespace, "federation-gateway")

    async def take_back(self, account: str) -> None:
        await self._admin.delete(f"{CORE}/namespaces/{self.namespace}/serviceaccounts/{account}")

    async def notice(self) -> None:
        self._seconds += REPROVE_SECONDS
        await self.reviewer.reprove()

    async def _created(self, namespace: str, account: str) -> str:
        path = f"{CORE}/namespaces/{namespace}/serviceaccounts"
        made = await self._admin.post(path, {"metadata": {"name": account}})
        assert made.code == 201, made
        spec: Json = {"audiences": [AUDIENCE], "expirationSeconds": 600}
        reply = await self._admin.post(f"{path}/{account}/token", {"spec": spec})
        assert reply.code == 201, reply
        token: str = reply.body["status"]["token"]
        return token


@asynccontextmanager
async def kubernetes_site(plane: Plane, directory: Path) -> AsyncIterator[Site]:
    names = [f"tokens-{uuid.uuid4().hex[:8]}" for _ in range(2)]
    access = KubeAccess(plane.server.write_kubeconfig(directory / "kubeconfig"))
    async with plane.caller() as admin:
        for name in names:
            made = await admin.post(f"{CORE}/namespaces", {"metadata": {"name": name}})
            assert made.code == 201, made
        yield KubernetesSite(admin, access, *names)
        for name in names:
            await admin.delete(f"{CORE}/namespaces/{name}")


@pytest.fixture(params=["files", STAND_IN, REAL])
async def site(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Site]:
    if request.param == "files":
        (tmp_path / "tokens").mkdir()
        yield FileSite(tmp_path / "tokens")
    elif request.param == STAND_IN:
        async with running() as server, kubernetes_site(plane_of(server), tmp_path) as opened:
            yield opened
    else:
        async with kubernetes_site(plane_of(request.getfixturevalue("real_api_server")), tmp_path) as opened:
            yield opened


async def test_a_token_proves_its_account_and_nobody_else(site: Site) -> None:
    """Namespace and account are those that the token was given to; another account's is another's."""
    echo, dotted = await site.give("echo"), await site.give("echo.v1")

    assert await site.tokens.authenticate(echo) == NodePrincipal("sidecar", site.namespace, "echo")
    assert await site.tokens.authenticate(dotted) == NodePrincipal("sidecar", site.namespace, "echo.v1")


async def test_the_gateways_have_a_role_of_their_own(site: Site) -> None:
    """An account that is named as theirs, elsewhere, is a sidecar's."""
    gateway, pretender = await site.give_gateway(), await site.give("federation-gateway")

    assert await site.tokens.authenticate(gateway) == NodePrincipal("gateway")
    assert await site.tokens.authenticate(pretender) == NodePrincipal("sidecar", site.namespace, "federation-gateway")


async def test_what_is_no_token_of_ours_proves_nothing(site: Site) -> None:
    """Text, a part of a token, and one with a single character changed."""
    token = await site.give("echo")
    changed = token[:-2] + ("A" if token[-2] != "A" else "B") + token[-1]

    for wrong in ("", "x" * 43, "a.b.c", "\udce9", token[:-1], f"{token} ", changed):
        assert await site.tokens.authenticate(wrong) is None


async def test_a_token_that_was_taken_back_is_withdrawn(site: Site) -> None:
    """It is named among those that are held, until it is held no more; the others stay."""
    stays, goes = await site.give("stays"), await site.give("goes")
    held = frozenset({fingerprint(stays), fingerprint(goes)})
    for token in (stays, goes):
        assert await site.tokens.authenticate(token) is not None
    assert site.tokens.withdrawn(held) == frozenset()
    await site.take_back("goes")
    async with asyncio.timeout(WAIT_SECONDS):
        while not (lost := site.tokens.withdrawn(held)):
            await site.notice()

    assert lost == {fingerprint(goes)}
    assert site.tokens.withdrawn(held - lost) == frozenset()
    assert await site.tokens.authenticate(goes) is None
    assert await site.tokens.authenticate(stays) is not None


async def test_no_token_is_told(site: Site) -> None:
    """Neither a good one nor a bad one stands in a log, a problem, or an object's text."""
    good, bad = await site.give("echo"), f"{'x' * 40}.{'y' * 40}.{'z' * 40}"
    with capture_logs() as logs:
        for token in (good, bad):
            await site.tokens.authenticate(token)
        await site.take_back("echo")
        site.tokens.withdrawn({fingerprint(good)})
        await site.notice()

    told = f"{logs} {site.tokens.problems} {site.tokens!r} {vars(site.tokens)}"
    assert [token for token in (good, bad) if token in told] == []
