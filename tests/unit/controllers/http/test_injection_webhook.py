"""The webhook over HTTPS, asked as an API server asks: by its Service's DNS name, verified by the own trust bundle."""

from __future__ import annotations

import base64
import io
import json
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from structlog.testing import capture_logs

from controllers.http.injection_webhook import FACE, serving_names, webhook_app
from controllers.http.rotating_tls import serve_tls
from controllers.injection.policy import NamespaceFacts
from federation.app.bundles import own_certificate
from federation.model.addresses import HostPort
from gateway.xds.listening import ServingCertificate
from support.certificates import MemoryKeystore
from support.injection import INJECTION, review
from support.ports import free_port
from trustbundle.authority import CertificateAuthority
from trustbundle.identity import TrustDomain
from trustbundle.rotation import RotationPolicy

EAST = "east.test"
SERVICE = "federation-controller.federation-system.svc"
POD: dict[str, Any] = {"metadata": {"name": "web"}, "spec": {"containers": [{"name": "web"}]}}
ENABLED = NamespaceFacts("demo", {"federation-gateway.dev/injection": "enabled"})


def started() -> CertificateAuthority:
    policy = RotationPolicy(timedelta(hours=1), timedelta(hours=12), timedelta(minutes=10))
    authority = CertificateAuthority(TrustDomain(EAST), policy, MemoryKeystore())
    authority.tick(datetime.now(UTC))
    authority.mark_published(authority.bundle().sequence, datetime.now(UTC))
    return authority


async def known(_: str) -> NamespaceFacts:
    return ENABLED


class Webhook:
    """A webhook that is served, and a client with the trust bundle that the API server has of it."""

    def __init__(self, port: int, authority: CertificateAuthority) -> None:
        self.url = f"https://127.0.0.1:{port}"
        self.authority = authority
        self.bundle: Callable[[], str] = lambda: authority.bundle().pem

    async def ask(
        self, content: bytes, *, name: str = SERVICE, path: str = "/inject", method: str = "POST", **headers: str
    ) -> tuple[int, Any]:
        """Status and, if it is JSON, what was answered."""
        context = ssl.create_default_context(cadata=self.bundle())
        given = {"Content-Type": "application/json", **headers}
        async with (
            aiohttp.ClientSession() as client,
            client.request(
                method, self.url + path, data=io.BytesIO(content), headers=given, ssl=context, server_hostname=name
            ) as answer,
        ):
            body = await answer.read()
            return answer.status, json.loads(body) if answer.content_type == "application/json" else body.decode()


@asynccontextmanager
async def served(
    directory: Path,
    certificate: Callable[[CertificateAuthority], Callable[[], ServingCertificate]] = lambda authority: own_certificate(
        authority, EAST, serving_names()
    ),
    namespace: Any = known,
) -> AsyncIterator[Webhook]:
    authority, port = started(), free_port("127.0.0.1")
    app = webhook_app(lambda: INJECTION, namespace)
    async with serve_tls(app, HostPort("127.0.0.1", port), certificate(authority), directory, FACE):
        yield Webhook(port, authority)


async def test_an_api_server_gets_its_patch(tmp_path: Path) -> None:
    """It verifies the Service's name by the bundle; the answer has the request's id, a dry run the same answer."""
    async with served(tmp_path) as webhook:
        status, answer = await webhook.ask(review(POD, uid="4711"))
        _, dry = await webhook.ask(review(POD, uid="4711", dry_run=True))

    response = answer["response"]
    operations = json.loads(base64.b64decode(response["patch"]))
    assert (status, response["uid"], response["allowed"]) == (200, "4711", True)
    assert [one["path"] for one in operations][:2] == ["/metadata/labels", "/spec/initContainers"]
    assert dry == answer


@pytest.mark.parametrize("name", ["federation-controller.other.svc", "127.0.0.1"])
async def test_another_name_is_not_proved(name: str, tmp_path: Path) -> None:
    """The certificate is for the Service alone."""
    async with served(tmp_path) as webhook:
        with pytest.raises(aiohttp.ClientConnectorCertificateError):
            await webhook.ask(review(POD), name=name)


async def test_the_certificate_of_xds_would_not_do(tmp_path: Path) -> None:
    """Without DNS names an API server can't verify it."""
    async with served(tmp_path, lambda authority: own_certificate(authority, EAST)) as webhook:
        with pytest.raises(aiohttp.ClientConnectorCertificateError):
            await webhook.ask(review(POD))


async def test_it_goes_on_over_a_rotation_of_the_ca(tmp_path: Path) -> None:
    """Shown is a leaf of the CA that signs then, which the new CA alone verifies."""
    async with served(tmp_path) as webhook:
        authority, now = webhook.authority, datetime.now(UTC)
        before = authority.bundle().authorities
        first, _ = await webhook.ask(review(POD))
        authority.request_rotation(now)
        authority.tick(now)
        authority.mark_published(authority.bundle().sequence, now)
        authority.tick(now + timedelta(minutes=10))
        (new,) = set(authority.bundle().authorities) - set(before)
        webhook.bundle = lambda: ssl.DER_cert_to_PEM_cert(new)
        second, _ = await webhook.ask(review(POD))
    assert (first, second) == (200, 200)


async def test_only_reviews_are_answered(tmp_path: Path) -> None:
    """Other methods, places, types, nonsense and more than an object can be."""
    async with served(tmp_path) as webhook:
        found = [
            await webhook.ask(b"", method="GET"),
            await webhook.ask(b"", path="/"),
            await webhook.ask(review(POD), **{"Content-Type": "text/plain"}),
            await webhook.ask(b"{}"),
            await webhook.ask(b" " * (4 * 1024 * 1024 + 1)),
        ]
    assert [status for status, _ in found] == [405, 404, 415, 400, 413]
    assert found[3][1] == "the body is no AdmissionReview of admission.k8s.io/v1\n"


async def test_who_gets_none_is_logged_with_the_reason(tmp_path: Path) -> None:
    """As a warning where the user is warned; the pod is named, its content is not."""
    host = {"metadata": {"name": "node"}, "spec": {**POD["spec"], "hostNetwork": True}}
    quiet = {"metadata": {"labels": {"federation-gateway.dev/inject": "false"}}, "spec": POD["spec"]}
    with capture_logs() as logs:
        async with served(tmp_path) as webhook:
            answers = [await webhook.ask(review(pod)) for pod in (POD, host, quiet)]

    told = [(one["log_level"], one["pod"], one.get("reason")) for one in logs if "pod" in one]
    assert told == [
        ("info", "demo/web", None),
        ("warning", "demo/node", "HostNetwork"),
        ("info", "demo/*", "NotWanted"),
    ]
    assert [len(answer["response"].get("warnings", ())) for _, answer in answers] == [0, 1, 0]


async def test_what_breaks_here_is_left_to_the_failure_policy(tmp_path: Path) -> None:
    """An error of HTTP, by which an API server goes by its configuration; the next request is answered."""
    broken = [True]

    async def sometimes(name: str) -> NamespaceFacts | None:
        if broken:
            broken.clear()
            raise LookupError(name)
        return None

    async with served(tmp_path, namespace=sometimes) as webhook:
        statuses = [(await webhook.ask(review(POD)))[0] for _ in range(2)]
    assert statuses == [500, 200]
