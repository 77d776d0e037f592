"""TokenReviewer: who a pod's proxy is, asked of the API server (TokenReview of authentication.k8s.io/v1).

Edge with a memory. A projected service-account token proves namespace, account and pod, to our audience alone, so that
one that was stolen from us opens nothing else. What is remembered: proofs, refusals, and that the API server can't be
asked. A token must not stand in any message.

In an outage of the API server, a token that was proved within ``OUTAGE_SECONDS`` is good until its own ``exp``; any
other can't be told, which is no refusal. Streams under way are kept: only an answer ends them.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import re
from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Final, Protocol

import msgspec
import structlog

from controllers.kube.client import KubeError
from controllers.kube.shared_client import SharedClient
from controllers.mcs.objects import Document, section, sequence, text
from federation.membership.tokens import NodePrincipal, fingerprint
from federation.model.names import is_dns_label
from federation.model.problems import Problem

_log = structlog.get_logger(__name__)

GATEWAY_ACCOUNT: Final = "federation-gateway"
"""The service account of the cluster's gateways, in the namespace of the product."""

REMEMBERED_SECONDS: Final = 60.0
"""A token that was proved is not asked about again for so long."""
REFUSED_SECONDS: Final = 10.0
"""Nor one that proved nothing."""
SILENT_SECONDS: Final = 2.0
"""After a failure nobody asks for so long."""
OUTAGE_SECONDS: Final = 900.0
"""A token that was proved stays good for so long while the API server can't be asked, but never beyond its ``exp``."""
REPROVE_SECONDS: Final = 300.0
"""Tokens of connected nodes are proved again at least this often: so long may a deleted account keep its streams."""

_EXPIRED_SECONDS: Final = 30.0
# The API server has a leeway of a minute, so that one answer soon after ``exp`` is not enough.
_LONGEST_SLEEP_SECONDS: Final = 5.0
_REVIEW_SECONDS: Final = 5.0
_AT_ONCE: Final = 8
_MOST_WAITING: Final = 1000
_MOST_PROOFS: Final = 100_000
_MOST_REFUSALS: Final = 10_000
_MOST_CHARACTERS: Final = 16 * 1024
_POD: Final = "authentication.kubernetes.io/pod-name"
_USER: Final = re.compile(r"system:serviceaccount:(?P<namespace>[^:]+):(?P<account>[^:]+)")
_JWT: Final = re.compile(r"[A-Za-z0-9_-]+\.(?P<claims>[A-Za-z0-9_-]+)\.[A-Za-z0-9_-]+")
# What befalls one token says nothing about the others; these befall all.
_GENERAL: Final = frozenset({0, HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.TOO_MANY_REQUESTS})


class Reviews(Protocol):
    """What is needed of an API server."""

    async def create(self, document: Document, *, timeout_seconds: float) -> Document:
        """The object as the API server answers it; raises KubeError."""


@dataclass(frozen=True, slots=True)
class _Proof:
    principal: NodePrincipal
    token: str = field(repr=False)
    asked: float
    """When it was asked, so that the answer is no older."""
    expires: datetime | None


class TokenReviewer:
    """Proves tokens for ``audience`` through clients that ``opened`` gives; the federation-gateway account of
    ``own_namespace`` is the gateways'. ``run`` keeps an eye on the tokens of connected nodes."""

    def __init__(
        self,
        opened: Callable[[], AbstractAsyncContextManager[Reviews]],
        audience: str,
        *,
        own_namespace: str,
        monotonic: Callable[[], float],
        clock: Callable[[], datetime],
    ) -> None:
        self._clients = SharedClient(opened)
        self._audience = audience
        self._own_namespace = own_namespace
        self._monotonic = monotonic
        self._clock = clock
        self._turns = asyncio.Semaphore(_AT_ONCE)
        self._under_way: dict[str, asyncio.Event] = {}
        self._proofs: dict[str, _Proof] = {}
        self._refusals: dict[str, float] = {}
        self._held: frozenset[str] = frozenset()
        self._silent_until = float("-inf")
        self._trouble: KubeError | None = None

    @property
    def problems(self) -> tuple[Problem, ...]:
        """Why no token can be proved, where that is so."""
        if self._trouble is None:
            return ()
        return (Problem("TokenReview", "TokensNotReviewed", _cannot_tell(self._trouble)),)

    async def authenticate(self, token: str) -> NodePrincipal | None:
        """Whom the token proves, or None; raises KubeError where that can't be told now."""
        # Whatever is no JWT is none of Kubernetes', and not worth a question.
        if _claims(token) is None:
            return None
        digest = fingerprint(token)
        while True:
            proof, now = self._proofs.get(digest), self._monotonic()
            if proof is not None and now < proof.asked + REMEMBERED_SECONDS and not self._expired(proof):
                return proof.principal
            if now < self._refusals.get(digest, float("-inf")) + REFUSED_SECONDS:
                return None
            if now < self._silent_until:
                return self._in_outage(digest)
            asked_already = self._under_way.get(digest)
            if asked_already is None:
                return await self._ask(digest, token)
            await asked_already.wait()

    def withdrawn(self, held: Collection[str]) -> frozenset[str]:
        """Which of the tokens with these fingerprints, those of the nodes that are known, prove nothing any more."""
        self._held = frozenset(held)
        return self._held - self._proofs.keys()

    async def run(self) -> None:
        """Prove the tokens of connected nodes again, each in its time, until cancelled."""
        while True:
            due_seconds = await self.reprove()
            await asyncio.sleep(min(due_seconds, _LONGEST_SLEEP_SECONDS))

    async def reprove(self) -> float:
        """Prove again what is due, one after the other, so that whoever comes has the other turns; returns in how many
        seconds something is due next."""
        self._forget()
        due_now = [digest for digest in self._held if self._due(digest) <= self._monotonic()]
        if due_now and self._monotonic() >= self._silent_until:
            try:
                # One client for all of them, not one for each.
                async with self._clients.borrowed():
                    await self._prove_again(sorted(due_now, key=self._due))
            except KubeError as error:
                self._note_failure(error)
        due = min(map(self._due, self._held), default=float("inf"))
        return max(max(due, self._silent_until) - self._monotonic(), 1.0)

    async def _prove_again(self, digests: Sequence[str]) -> None:
        for digest in digests:
            proof = self._proofs.get(digest)
            if proof is None or digest in self._under_way:
                continue
            try:
                await self._ask(digest, proof.token)
            except KubeError as error:
                _log.debug("token is not proved again now", reason=str(error))
            if self._monotonic() < self._silent_until:
                return

    async def _ask(self, digest: str, token: str) -> NodePrincipal | None:
        """The API server's answer, when it is this one's turn; others with the same token wait for it."""
        if len(self._under_way) >= _MOST_WAITING:
            raise KubeError(f"{_MOST_WAITING} tokens wait for the API server already", hint="they are asked for again")
        done = self._under_way[digest] = asyncio.Event()
        try:
            async with self._turns:
                if self._monotonic() < self._silent_until:
                    return self._in_outage(digest)
                return await self._review(digest, token)
        finally:
            del self._under_way[digest]
            done.set()

    async def _review(self, digest: str, token: str) -> NodePrincipal | None:
        asked = self._monotonic()
        try:
            async with self._clients.borrowed() as client:
                answer = await client.create(_question(token, self._audience), timeout_seconds=_REVIEW_SECONDS)
        except KubeError as error:
            self._note_failure(error)
            return self._in_outage(digest)
        self._note_answer()
        principal = reviewed_principal(answer, self._audience, self._own_namespace)
        self._proofs.pop(digest, None)
        if principal is None:
            self._refusals.pop(digest, None)
            self._refusals[digest] = self._monotonic()
        else:
            self._refusals.pop(digest, None)
            self._proofs[digest] = _Proof(principal, token, asked, claimed_expiry(token))
        return principal

    def _in_outage(self, digest: str) -> NodePrincipal:
        proof = self._proofs.get(digest)
        if proof is None or self._expired(proof) or self._monotonic() >= proof.asked + OUTAGE_SECONDS:
            trouble = self._trouble
            raise KubeError("token can't be reviewed now" if trouble is None else _cannot_tell(trouble))
        return proof.principal

    def _note_failure(self, error: KubeError) -> None:
        if error.status not in _GENERAL and error.status < HTTPStatus.INTERNAL_SERVER_ERROR:
            return
        self._silent_until = self._monotonic() + max(SILENT_SECONDS, error.retry_after_seconds)
        if self._trouble is None:
            _log.warning("tokens can't be reviewed", reason=str(error), hint=error.hint)
        self._trouble = error

    def _note_answer(self) -> None:
        if self._trouble is not None:
            _log.info("tokens are reviewed again")
        self._trouble = None

    def _expired(self, proof: _Proof) -> bool:
        return proof.expires is not None and self._clock() >= proof.expires

    def _due(self, digest: str) -> float:
        """When a token is to be proved again; never, for one without proof."""
        proof = self._proofs.get(digest)
        if proof is None:
            return float("inf")
        # Nodes that came together are spread over a quarter of the time.
        due = proof.asked + REPROVE_SECONDS * (0.75 + int(digest[:4], 16) / 0x40000)
        if proof.expires is None:
            return due
        left = (proof.expires - self._clock()).total_seconds()
        return min(due, max(self._monotonic() + left, proof.asked + _EXPIRED_SECONDS))

    def _forget(self) -> None:
        """Keep what is of use, and within bounds; a token of a connected node is always of use."""
        now = self._monotonic()
        loose = [digest for digest in self._proofs if digest not in self._held]
        surplus = max(len(loose) - _MOST_PROOFS, 0)
        for place, digest in enumerate(loose):
            if place < surplus or now >= self._proofs[digest].asked + OUTAGE_SECONDS:
                del self._proofs[digest]
        surplus = max(len(self._refusals) - _MOST_REFUSALS, 0)
        for place, (digest, refused) in enumerate(list(self._refusals.items())):
            if place < surplus or now >= refused + REFUSED_SECONDS:
                del self._refusals[digest]


def reviewed_principal(review: Document, audience: str, own_namespace: str) -> NodePrincipal | None:
    """Whom an answered TokenReview proves; None where that is nobody, no service account, or not for ``audience``.

    An authenticator that knows nothing of audiences leaves ``status.audiences`` empty, and then the token may have been
    meant for anybody (TokenReviewStatus of authentication.k8s.io/v1).
    """
    status = section(review, "status")
    if status.get("authenticated") is not True or audience not in sequence(status.get("audiences")):
        return None
    user = section(status, "user")
    found = _USER.fullmatch(text(user.get("username")))
    if found is None or not is_dns_label(found["namespace"]):
        return None
    if not all(is_dns_label(label) for label in found["account"].split(".")):
        return None
    pods = sequence(section(user, "extra").get(_POD))
    pod = text(pods[0]) if pods else ""
    if (found["namespace"], found["account"]) == (own_namespace, GATEWAY_ACCOUNT):
        return NodePrincipal("gateway", pod=pod)
    return NodePrincipal("sidecar", found["namespace"], found["account"], pod)


def claimed_expiry(token: str) -> datetime | None:
    """The ``exp`` that a JWT claims, not verified: good for nothing but to trust a proof no longer; None without."""
    claims = _claims(token)
    seconds = None if claims is None else claims.get("exp")
    if isinstance(seconds, bool) or not isinstance(seconds, int | float):
        return None
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (OverflowError, OSError, ValueError):
        return None


def _claims(token: str) -> Document | None:
    found = _JWT.fullmatch(token) if len(token) <= _MOST_CHARACTERS else None
    if found is None:
        return None
    try:
        return msgspec.json.decode(base64.urlsafe_b64decode(found["claims"] + "=="), type=dict[str, object])
    except (binascii.Error, msgspec.DecodeError, UnicodeDecodeError):
        return None


def _question(token: str, audience: str) -> Document:
    return {
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenReview",
        "spec": {"token": token, "audiences": [audience]},
    }


def _cannot_tell(trouble: KubeError) -> str:
    return f"tokens of nodes can't be reviewed: {trouble}"
