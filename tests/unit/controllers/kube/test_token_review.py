"""TokenReviewer: what it asks, what it remembers, and what it says when nobody answers."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Any

import pytest
from structlog.testing import capture_logs

from controllers.kube.client import KubeError
from controllers.kube.token_review import (
    OUTAGE_SECONDS,
    REFUSED_SECONDS,
    REMEMBERED_SECONDS,
    REPROVE_SECONDS,
    SILENT_SECONDS,
    TokenReviewer,
    claimed_expiry,
    reviewed_principal,
)
from controllers.mcs.objects import Document
from federation.membership.tokens import NodePrincipal, fingerprint
from support.clock import START, ManualClock
from support.exchange import until

OURS, GATEWAY = "federation-system", "federation-gateway"
AUDIENCE = "federation.acme"
ECHO = NodePrincipal("sidecar", "demo", "echo", "echo-1")
HOUR = timedelta(hours=1)


def encoded(claims: Any) -> str:
    """A JWT with these claims, whatever they are."""
    parts = [base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in ({}, claims)]
    return ".".join([*parts, "c2lnbmF0dXJl"])


def jwt(name: str = "echo", expires: datetime | None = START + HOUR) -> str:
    """A token as Kubernetes makes them; ``name`` tells it from others."""
    return encoded({"jti": name, **({} if expires is None else {"exp": int(expires.timestamp())})})


def answer(user: str = "system:serviceaccount:demo:echo", audiences: Any = (AUDIENCE,), **more: Any) -> Document:
    extra = {"authentication.kubernetes.io/pod-name": ["echo-1"]}
    status = {"authenticated": True, "user": {"username": user, "extra": extra}, "audiences": list(audiences), **more}
    return {"status": status}


REFUSED: Document = {"status": {"user": {}, "error": "token lookup failed"}}
AWAY = KubeError("the API server can't be reached: gone")


class Server:
    """An API server that answers as it is told, when it is told."""

    def __init__(self) -> None:
        self.says: Callable[[str], Document] = lambda _: answer()
        self.asked: list[str] = []
        self.open = asyncio.Event()
        self.open.set()
        self.at_once = 0
        self.most_at_once = 0

    async def create(self, document: Document, *, timeout_seconds: float) -> Document:
        assert timeout_seconds > 0
        spec: Any = document["spec"]
        assert (document["kind"], spec["audiences"]) == ("TokenReview", [AUDIENCE])
        self.asked.append(spec["token"])
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            await self.open.wait()
            return self.says(spec["token"])
        finally:
            self.at_once -= 1

    def fails(self, error: KubeError = AWAY) -> None:
        def fail(_: str) -> Document:
            raise error

        self.says = fail


class Bench:
    """A reviewer, its server, and the time of both."""

    def __init__(self) -> None:
        self.server = Server()
        self.clients = 0
        self.unusable: KubeError | None = None
        self.clock = ManualClock()
        self.reviewer = TokenReviewer(
            self.opened,
            AUDIENCE,
            own_namespace=OURS,
            monotonic=self.seconds,
            clock=self.clock,
        )

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[Server]:
        self.clients += 1
        if self.unusable is not None:
            raise self.unusable
        yield self.server

    def seconds(self) -> float:
        return (self.clock.now() - START).total_seconds()

    def pass_seconds(self, seconds: float) -> None:
        self.clock.advance(timedelta(seconds=seconds))

    async def proves(self, token: str) -> NodePrincipal | None:
        return await self.reviewer.authenticate(token)


@pytest.fixture
async def bench() -> Bench:
    return Bench()


# Reading an answer


@pytest.mark.parametrize(
    ("review", "principal"),
    [
        (answer(), ECHO),
        (answer(f"system:serviceaccount:{OURS}:federation-gateway"), NodePrincipal("gateway", pod="echo-1")),
        (
            answer("system:serviceaccount:demo:federation-gateway"),
            NodePrincipal("sidecar", "demo", "federation-gateway", "echo-1"),
        ),
        (answer(f"system:serviceaccount:{OURS}:other"), NodePrincipal("sidecar", OURS, "other", "echo-1")),
        (answer(audiences=["other", AUDIENCE]), ECHO),
        (answer(user="system:serviceaccount:demo:echo.v1"), NodePrincipal("sidecar", "demo", "echo.v1", "echo-1")),
        (REFUSED, None),
        ({}, None),
        (answer(authenticated="true"), None),
        (answer(authenticated=False), None),
        (answer(audiences=[]), None),
        (answer(audiences=["https://kubernetes.default.svc"]), None),
        (answer("jane"), None),
        (answer("system:node:demo"), None),
        (answer("system:serviceaccount:demo:echo:more"), None),
        (answer("system:serviceaccount:demo:"), None),
        (answer("system:serviceaccount:de/mo:echo"), None),
        (answer("system:serviceaccount:demo:../echo"), None),
        (answer("x system:serviceaccount:demo:echo"), None),
        (answer(user=["system:serviceaccount:demo:echo"]), None),  # type: ignore[arg-type]
    ],
)
def test_an_answer_proves_an_account_or_nobody(review: Document, principal: NodePrincipal | None) -> None:
    """Only who is authenticated, for our audience, and is a service account; whatever else stands there is nobody."""
    assert reviewed_principal(review, AUDIENCE, OURS) == principal


def test_an_account_without_pod_is_proved_too() -> None:
    """Whoever may ask for an account's token may be that account."""
    review: Any = answer()
    review["status"]["user"]["extra"] = {}
    assert reviewed_principal(review, AUDIENCE, OURS) == NodePrincipal("sidecar", "demo", "echo")


@pytest.mark.parametrize(
    ("token", "expires"),
    [
        (jwt(), START + HOUR),
        (jwt(expires=None), None),
        ("a.b.c", None),
        ("", None),
        (encoded([1]), None),
        (encoded({"exp": 1e300}), None),
        (encoded({"exp": True}), None),
        (encoded({"exp": "never"}), None),
    ],
)
def test_the_expiry_that_a_token_claims(token: str, expires: datetime | None) -> None:
    """None where it claims none that is one."""
    assert claimed_expiry(token) == expires


# Asking


async def test_a_proof_is_remembered_for_a_minute(bench: Bench) -> None:
    """Then the API server is asked again."""
    for _ in range(3):
        assert await bench.proves(jwt()) == ECHO
    assert len(bench.server.asked) == 1
    bench.pass_seconds(REMEMBERED_SECONDS)
    assert await bench.proves(jwt()) == ECHO
    assert len(bench.server.asked) == 2


async def test_a_refusal_is_remembered_for_less(bench: Bench) -> None:
    """A token that is good by then is not refused for long."""
    bench.server.says = lambda _: REFUSED
    for _ in range(3):
        assert await bench.proves(jwt()) is None
    assert len(bench.server.asked) == 1
    bench.server.says = lambda _: answer()
    bench.pass_seconds(REFUSED_SECONDS)
    assert await bench.proves(jwt()) == ECHO


async def test_a_proof_is_not_remembered_beyond_its_expiry(bench: Bench) -> None:
    """Who asks after that is told what the API server says then."""
    token = jwt(expires=START + timedelta(seconds=5))
    assert await bench.proves(token) == ECHO
    bench.server.says = lambda _: REFUSED
    bench.pass_seconds(5)
    assert await bench.proves(token) is None


@pytest.mark.parametrize(
    "token", ["", "x" * 43, "a.b", "a.b.c", "a.b.c.d", f"e30.e30.{'x' * 20_000}", "e30.e30.\n", "\udce9"]
)
async def test_what_can_be_no_token_of_kubernetes_is_not_asked_about(bench: Bench, token: str) -> None:
    """It is no JWT, or larger than any."""
    assert await bench.proves(token) is None
    assert bench.server.asked == []


async def test_questions_about_one_token_become_one(bench: Bench) -> None:
    """All who wait have its answer, refusal or proof."""
    bench.server.open.clear()
    async with asyncio.TaskGroup() as tasks:
        waiting = [tasks.create_task(bench.proves(jwt())) for _ in range(20)]
        await until(lambda: bool(bench.server.asked))
        bench.server.open.set()
    assert [task.result() for task in waiting] == [ECHO] * 20
    assert len(bench.server.asked) == 1


async def test_who_goes_away_leaves_the_question_to_the_next(bench: Bench) -> None:
    """A stream that ended while its token was asked about takes nobody along."""
    bench.server.open.clear()
    first = asyncio.ensure_future(bench.proves(jwt()))
    await until(lambda: len(bench.server.asked) == 1)
    second = asyncio.ensure_future(bench.proves(jwt()))
    await asyncio.sleep(0)
    first.cancel()
    await until(lambda: len(bench.server.asked) == 2)
    bench.server.open.set()
    assert await second == ECHO
    assert first.cancelled()


async def test_many_bad_tokens_do_not_flood_the_api_server(bench: Bench) -> None:
    """Eight are asked about at once, a thousand wait, who comes then is told to come again; a proof is told at once."""
    assert await bench.proves(jwt("good")) == ECHO
    bench.server.says = lambda _: REFUSED
    bench.server.open.clear()
    async with asyncio.TaskGroup() as tasks:
        waiting = [tasks.create_task(bench.proves(jwt(f"bad-{number}"))) for number in range(1000)]
        await until(lambda: bench.server.at_once == 8)
        with pytest.raises(KubeError, match="1000 tokens wait"):
            await bench.proves(jwt("one-more"))
        assert await bench.proves(jwt("good")) == ECHO
        bench.server.open.set()
    assert {task.result() for task in waiting} == {None}
    assert (bench.server.most_at_once, len(bench.server.asked)) == (8, 1001)


# Outage


async def test_in_an_outage_who_was_proved_lately_is_still(bench: Bench) -> None:
    """For a quarter of an hour after it was last asked."""
    assert await bench.proves(jwt()) == ECHO
    bench.server.fails()
    bench.pass_seconds(OUTAGE_SECONDS - 1)
    assert await bench.proves(jwt()) == ECHO
    bench.pass_seconds(1)
    with pytest.raises(KubeError):
        await bench.proves(jwt())


async def test_in_an_outage_no_token_outlives_its_expiry(bench: Bench) -> None:
    """What the token claims of itself may only shorten the time."""
    token = jwt(expires=START + timedelta(minutes=2))
    assert await bench.proves(token) == ECHO
    bench.server.fails()
    bench.pass_seconds(119)
    assert await bench.proves(token) == ECHO
    bench.pass_seconds(1)
    with pytest.raises(KubeError):
        await bench.proves(token)


@pytest.mark.parametrize("status", [0, 401, 403, 429, 500, 503])
async def test_who_can_not_be_asked_about_is_not_refused(bench: Bench, status: int) -> None:
    """A token that nobody knows can't be told now, for whatever reason; the API server is left alone for a while."""
    bench.server.fails(KubeError("no", status=status))
    for _ in range(3):
        with pytest.raises(KubeError, match="can't be reviewed: no"):
            await bench.proves(jwt())
    assert len(bench.server.asked) == 1
    assert [problem.reason for problem in bench.reviewer.problems] == ["TokensNotReviewed"]
    bench.server.says = lambda _: answer()
    bench.pass_seconds(SILENT_SECONDS)
    assert await bench.proves(jwt()) == ECHO
    assert bench.reviewer.problems == ()


async def test_an_api_server_that_asks_to_wait_is_left_alone_for_so_long(bench: Bench) -> None:
    """Its own word counts, where it is longer."""
    bench.server.fails(KubeError("busy", status=429, retry_after_seconds=30))
    with pytest.raises(KubeError):
        await bench.proves(jwt())
    bench.pass_seconds(29)
    with pytest.raises(KubeError):
        await bench.proves(jwt())
    assert len(bench.server.asked) == 1


async def test_trouble_with_one_token_is_no_trouble_of_others(bench: Bench) -> None:
    """A request that is bad in itself silences nobody."""
    bench.server.fails(KubeError("what is that", status=422))
    with pytest.raises(KubeError):
        await bench.proves(jwt("odd"))
    bench.server.says = lambda _: answer()
    assert await bench.proves(jwt("good")) == ECHO


async def test_who_waits_for_a_turn_is_spared_a_server_that_failed(bench: Bench) -> None:
    """The eight that have their turn fail; the others behind them ask no more."""
    bench.server.fails()
    bench.server.open.clear()
    waiting = [asyncio.ensure_future(bench.proves(jwt(str(number)))) for number in range(50)]
    await until(lambda: bench.server.at_once == 8)
    bench.server.open.set()
    found = await asyncio.gather(*waiting, return_exceptions=True)
    assert {type(error) for error in found} == {KubeError}
    assert len(bench.server.asked) == 8


async def test_an_outage_is_logged_once(bench: Bench) -> None:
    """When it begins and when it ends; no token is in the log."""
    with capture_logs() as logs:
        bench.server.fails()
        for _ in range(3):
            with pytest.raises(KubeError):
                await bench.proves(jwt())
            bench.pass_seconds(SILENT_SECONDS)
        bench.server.says = lambda _: answer()
        await bench.proves(jwt())
    assert [line["event"] for line in logs] == ["tokens can't be reviewed", "tokens are reviewed again"]
    assert jwt() not in str(logs)


# Connected nodes


async def test_the_tokens_of_connected_nodes_are_proved_again(bench: Bench) -> None:
    """Each within five minutes, and none before three quarters of that; those that nobody holds are not asked about."""
    tokens = [jwt(str(number)) for number in range(20)]
    for token in [*tokens, jwt("gone")]:
        await bench.proves(token)
    assert bench.reviewer.withdrawn({fingerprint(token) for token in tokens}) == frozenset()
    bench.server.asked.clear()
    bench.pass_seconds(REPROVE_SECONDS * 0.75 - 1)
    wait = await bench.reviewer.reprove()
    assert (bench.server.asked, 1 <= wait < REPROVE_SECONDS / 4) == ([], True)
    bench.pass_seconds(REPROVE_SECONDS * 0.125)
    await bench.reviewer.reprove()
    assert 0 < len(bench.server.asked) < 20
    bench.pass_seconds(REPROVE_SECONDS * 0.125 + 1)
    await bench.reviewer.reprove()
    assert sorted(bench.server.asked) == sorted(tokens)
    assert bench.server.most_at_once == 1
    # One for each who came, one for each of the two rounds.
    assert bench.clients == len([*tokens, "gone"]) + 2


async def test_who_is_refused_then_is_withdrawn(bench: Bench) -> None:
    """Its account was deleted, or its pod."""
    await bench.proves(jwt())
    held = {fingerprint(jwt())}
    assert bench.reviewer.withdrawn(held) == frozenset()
    bench.server.says = lambda _: REFUSED
    bench.pass_seconds(REPROVE_SECONDS)
    await bench.reviewer.reprove()
    assert bench.reviewer.withdrawn(held) == held


async def test_a_token_that_expires_is_asked_about_then(bench: Bench) -> None:
    """And again, since the API server has a leeway, until it is refused."""
    await bench.proves(jwt(expires=START + timedelta(seconds=100)))
    held = {fingerprint(jwt(expires=START + timedelta(seconds=100)))}
    bench.reviewer.withdrawn(held)
    bench.pass_seconds(99)
    assert await bench.reviewer.reprove() == 1
    assert len(bench.server.asked) == 1
    bench.pass_seconds(1)
    assert await bench.reviewer.reprove() == 30
    assert bench.reviewer.withdrawn(held) == frozenset()
    bench.server.says = lambda _: REFUSED
    bench.pass_seconds(30)
    await bench.reviewer.reprove()
    assert (len(bench.server.asked), bench.reviewer.withdrawn(held)) == (3, held)


async def test_no_stream_ends_for_want_of_an_answer(bench: Bench) -> None:
    """In an outage who is connected stays so, however long it lasts and whatever expires."""
    await bench.proves(jwt())
    held = {fingerprint(jwt())}
    bench.reviewer.withdrawn(held)
    bench.server.fails()
    for _ in range(10):
        bench.pass_seconds(OUTAGE_SECONDS)
        assert await bench.reviewer.reprove() == SILENT_SECONDS
        assert bench.reviewer.withdrawn(held) == frozenset()
    bench.server.says = lambda _: REFUSED
    bench.pass_seconds(SILENT_SECONDS)
    await bench.reviewer.reprove()
    assert bench.reviewer.withdrawn(held) == held


async def test_a_client_that_can_not_be_had_is_an_outage_too(bench: Bench) -> None:
    """As where the credentials for the API server are gone: nobody is withdrawn for it, and it is told."""
    await bench.proves(jwt())
    held = {fingerprint(jwt())}
    bench.reviewer.withdrawn(held)
    bench.unusable = KubeError("the credentials can't be used")
    bench.pass_seconds(REPROVE_SECONDS)
    assert await bench.reviewer.reprove() == SILENT_SECONDS
    assert bench.reviewer.withdrawn(held) == frozenset()
    assert "the credentials can't be used" in bench.reviewer.problems[0].message
    assert await bench.proves(jwt()) == ECHO


async def test_what_is_of_no_use_is_forgotten(bench: Bench) -> None:
    """No token is kept that nobody holds and that no outage may need."""
    await bench.proves(jwt("stays"))
    await bench.proves(jwt("goes"))
    bench.server.says = lambda _: REFUSED
    await bench.proves(jwt("bad"))
    bench.server.says = lambda _: answer()
    bench.reviewer.withdrawn({fingerprint(jwt("stays"))})
    bench.pass_seconds(OUTAGE_SECONDS)
    await bench.reviewer.reprove()
    bench.server.fails()
    for token in (jwt("goes"), jwt("bad")):
        with pytest.raises(KubeError):
            await bench.proves(token)
    assert await bench.proves(jwt("stays")) == ECHO
    assert bench.reviewer.withdrawn({fingerprint(jwt("goes"))}) == {fingerprint(jwt("goes"))}


async def test_what_runs_proves_again_by_itself(bench: Bench) -> None:
    """Until it is cancelled."""
    await bench.proves(jwt())
    held = {fingerprint(jwt())}
    bench.reviewer.withdrawn(held)
    bench.server.says = lambda _: REFUSED
    bench.pass_seconds(REPROVE_SECONDS)
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(bench.reviewer.run())
        await until(lambda: bench.reviewer.withdrawn(held) == held)
        running.cancel()
