"""The webhook that gives pods their sidecar, over HTTPS: ``POST /inject`` with an AdmissionReview, and nothing else.

An edge; ``injection.admission`` decides. Whoever reaches it may ask: it tells nothing that is secret, and changes
nothing. What fails here is answered with a status of HTTP, and then the failurePolicy of the configuration says whether
the pod is made without a sidecar (``Ignore``, as installed) or not at all (``Fail``).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Final

import msgspec
import structlog
from aiohttp import web

from controllers.http.rotating_tls import Face
from controllers.injection.admission import Asked, answer_review, parse_review
from controllers.injection.pod_patch import Injection
from controllers.injection.policy import Decision, NamespaceFacts

_log = structlog.get_logger(__name__)

PATH: Final = "/inject"
PORT: Final = 15017
FACE: Final = Face(
    "injection webhook",
    listen_hint=f"stop what listens there; the Service federation-controller leads to port {PORT}",
    certificate_hint="the controllers' built-in CA issues it: `federation status` tells what is wrong with that",
)

# An API server takes requests of up to 3 MiB, of which the object is most.
_MOST_BYTES: Final = 4 * 1024 * 1024

NamespaceLookup = Callable[[str], Awaitable[NamespaceFacts | None]]


def serving_names(service: str = "federation-controller", namespace: str = "federation-system") -> tuple[str, ...]:
    """The DNS names that its certificate must have: an API server calls a webhook's Service by the first."""
    return (f"{service}.{namespace}.svc", f"{service}.{namespace}.svc.cluster.local")


def webhook_app(injection: Callable[[], Injection], namespace: NamespaceLookup) -> web.Application:
    """Answers with what ``injection`` gives at that moment; ``namespace`` tells of one, None while it is not known."""

    async def inject(request: web.Request) -> web.Response:
        if request.content_type != "application/json":
            return _wrong("the body must be application/json", HTTPStatus.UNSUPPORTED_MEDIA_TYPE)
        try:
            asked = parse_review(await request.read())
        except ValueError as error:
            return _wrong(str(error), HTTPStatus.BAD_REQUEST)
        facts = await namespace(asked.namespace) if asked.pod is not None else None
        answer = answer_review(asked, injection(), facts)
        if answer.decision is not None:
            _tell(asked, answer.decision)
        return web.Response(body=msgspec.json.encode(answer.document), content_type="application/json")

    app = web.Application(client_max_size=_MOST_BYTES)
    app.router.add_post(PATH, inject)
    return app


def _tell(asked: Asked, decision: Decision) -> None:
    facts = {"pod": asked.subject, "dry_run": asked.dry_run}
    if decision.reason is None:
        _log.info("pod gets its sidecar", **facts)
    elif decision.warnings:
        _log.warning("pod gets no sidecar", **facts, reason=str(decision.reason), cause=decision.message)
    else:
        _log.info("pod gets no sidecar", **facts, reason=str(decision.reason))


def _wrong(message: str, status: HTTPStatus) -> web.Response:
    return web.Response(text=f"{message}\n", status=status)
