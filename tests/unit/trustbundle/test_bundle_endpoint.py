"""Fetching from a SPIFFE bundle endpoint, against ours and against rogues, over real HTTPS sockets."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from aiohttp import web

from federation.model.configuration import BundleEndpointSource
from federation.model.errors import TrustError
from gateway.xds.listening import ServingCertificate
from support.bundle_endpoint import (
    SERVER_ID,
    TRUST_DOMAIN,
    document,
    root,
    served,
    serving,
    silent,
    svid,
    web_certificate,
)
from support.certificates import Ca, make_ca, make_leaf
from trustbundle.bundle_endpoint import BundleEndpoint
from trustbundle.external import MAX_CONTENT_BYTES, TakenBundle, parse_content, take

OLD, NEW, OTHER = root("old"), root("new"), root("other")


def now() -> datetime:
    return datetime.now(UTC)


def spiffe(url: str, tmp_path: Path, *roots: Ca, spiffe_id: str = SERVER_ID) -> BundleEndpoint:
    """A client of profile https_spiffe that starts from these roots."""
    bootstrap = tmp_path / "bootstrap.pem"
    bootstrap.write_text("".join(ca.pem for ca in roots))
    source = BundleEndpointSource(url, "https_spiffe", spiffe_id, bootstrap)
    return BundleEndpoint(source, now, answer_seconds=5)


async def refused(endpoint: BundleEndpoint, held: TakenBundle | None = None) -> str:
    with pytest.raises(TrustError) as caught:
        await endpoint.fetch(held)
    return caught.value.reason


async def taken(endpoint: BundleEndpoint, held: TakenBundle | None = None) -> TakenBundle:
    answer = await endpoint.fetch(held)
    judged = take(parse_content(answer.content, TRUST_DOMAIN), answer.origin, held, TRUST_DOMAIN, now())
    assert isinstance(judged, TakenBundle)
    return judged


async def test_a_bundle_is_fetched_from_a_server_that_proves_its_spiffe_id(tmp_path: Path) -> None:
    """Ours is asked: the document arrives as it was served, and again while the stored bundle verifies the server."""
    async with served(lambda: svid(OLD), lambda: document(OLD, NEW), tmp_path) as url:
        endpoint = spiffe(url, tmp_path, OLD)
        answer = await endpoint.fetch(None)
        again = await endpoint.fetch(await taken(endpoint))

    assert (answer.content, again) == (document(OLD, NEW), answer)


async def test_an_intermediate_is_followed(tmp_path: Path) -> None:
    """A SPIRE server with an upstream authority shows a chain; all of it is verified."""
    intermediate = make_ca(now(), name="intermediate", issuer=OLD)
    leaf = serving(make_leaf(intermediate, now(), uris=[SERVER_ID], intermediates=[intermediate]))
    async with served(lambda: leaf, lambda: document(OLD), tmp_path) as url:
        answer = await spiffe(url, tmp_path, OLD).fetch(None)

    assert answer.content == document(OLD)


@pytest.mark.parametrize(
    ("certificate", "reason"),
    [
        (lambda: svid(OLD, ends=-timedelta(minutes=1)), "Expired"),
        (lambda: svid(OLD, spiffe_id=f"{SERVER_ID}/impostor"), "WrongSpiffeId"),
        (lambda: svid(OLD, spiffe_id="spiffe://west.test/federation/controller"), "UnknownTrustDomain"),
        (lambda: svid(OTHER), "UnknownAuthority"),
        (lambda: web_certificate("localhost")[0], "NoUriSan"),
    ],
)
async def test_a_server_that_is_not_the_one_configured_is_not_asked(
    certificate: Callable[[], ServingCertificate], reason: str, tmp_path: Path
) -> None:
    """Its certificate ends the handshake: no request reaches it, and the reason says what was wrong."""
    asked = 0

    def answer() -> bytes:
        nonlocal asked
        asked += 1
        return document(OTHER)

    shown = certificate()
    async with served(lambda: shown, answer, tmp_path) as url:
        reasons = await refused(spiffe(url, tmp_path, OLD))

    assert (reasons, asked) == (reason, 0)


async def test_the_root_of_the_endpoint_itself_rotates(tmp_path: Path) -> None:
    """The new root is learned from the document served under the old one; the bootstrap bundle never helps again."""
    shown, answer = svid(OLD), document(OLD, NEW, sequence=1)
    async with served(lambda: shown, lambda: answer, tmp_path) as url:
        endpoint = spiffe(url, tmp_path, OLD)
        held = await taken(endpoint)
        shown, answer = svid(NEW), document(NEW, sequence=2)
        held = await taken(endpoint, held)
        shown = svid(OLD)
        gone_back = await refused(endpoint, held)

    assert held.authorities == (NEW.der,)
    assert gone_back == "UnknownAuthority"


async def test_another_bootstrap_bundle_begins_anew(tmp_path: Path) -> None:
    """Who replaces the file decides whom to trust: the way back after the stored bundle has become useless."""
    async with served(lambda: svid(NEW), lambda: document(NEW, sequence=1), tmp_path) as url:
        endpoint = spiffe(url, tmp_path, OLD)
        held = TakenBundle(TRUST_DOMAIN, 9, (OLD.der,), endpoint._spiffe_origin(None), 50, now())
        before = await refused(endpoint, held)
        after = await taken(spiffe(url, tmp_path, NEW), held)

    assert before == "UnknownAuthority"
    assert (after.authorities, after.origin_sequence) == ((NEW.der,), 1)


async def test_a_server_of_another_trust_domain_is_verified_by_the_bootstrap_bundle(tmp_path: Path) -> None:
    """Always: what it serves says nothing of its own domain, and is never taken for a bundle of that."""
    server = "spiffe://spire.test/server"
    async with served(lambda: svid(OTHER, spiffe_id=server), lambda: document(OLD), tmp_path) as url:
        held = await taken(spiffe(url, tmp_path, OTHER, spiffe_id=server))
        again = await taken(spiffe(url, tmp_path, OTHER, spiffe_id=server), held)
        wrong = await refused(spiffe(url, tmp_path, OLD, spiffe_id=server), held)

    assert (held.authorities, again.authorities, wrong) == ((OLD.der,), (OLD.der,), "UnknownAuthority")


async def test_the_bootstrap_bundle_is_needed_only_to_start(tmp_path: Path) -> None:
    """Its file may go once a bundle was taken; before, its loss is told."""
    async with served(lambda: svid(OLD), lambda: document(OLD), tmp_path) as url:
        endpoint = spiffe(url, tmp_path, OLD)
        held = await taken(endpoint)
        (tmp_path / "bootstrap.pem").unlink()
        again = await taken(endpoint, held)
        without = await refused(endpoint)

    assert (again.origin, without) == (held.origin, "Unreadable")


async def test_all_revoked_means_the_endpoint_too(tmp_path: Path) -> None:
    """After a document without keys nobody can prove to be that server."""
    async with served(lambda: svid(OLD), lambda: document(sequence=2), tmp_path) as url:
        endpoint = spiffe(url, tmp_path, OLD)
        held = await taken(endpoint)

        assert (held.authorities, await refused(endpoint, held)) == ((), "NoAuthorities")


async def test_the_profile_of_the_web_goes_by_the_name(tmp_path: Path) -> None:
    """The CA of the settings, or the system's, must vouch for the host of the URL."""
    certificate, ca = web_certificate("localhost")
    (tmp_path / "ca.pem").write_bytes(ca)
    async with served(lambda: certificate, lambda: document(OLD), tmp_path) as url:
        named = url.replace("127.0.0.1", "localhost")
        private = BundleEndpoint(BundleEndpointSource(named, "https_web", ca_file=tmp_path / "ca.pem"), now)
        wrong_name = BundleEndpoint(BundleEndpointSource(url, "https_web", ca_file=tmp_path / "ca.pem"), now)
        system = BundleEndpoint(BundleEndpointSource(named, "https_web"), now)
        no_file = BundleEndpoint(BundleEndpointSource(named, "https_web", ca_file=tmp_path / "none"), now)

        answer = await private.fetch(None)
        reasons = [await refused(endpoint) for endpoint in (wrong_name, system, no_file)]

    assert (answer.content, answer.origin) == (document(OLD), f"https_web {named}")
    assert reasons == ["BadCertificate", "BadCertificate", "Unreadable"]


def app(handler: Callable[[web.Request], object]) -> web.Application:
    """A server with an answer of its own."""

    async def get(request: web.Request) -> web.StreamResponse:
        answer = handler(request)
        assert isinstance(answer, web.StreamResponse)
        return answer

    application = web.Application()
    application.router.add_get("/{path:.*}", get)
    return application


@pytest.mark.parametrize(
    ("handler", "reason"),
    [
        (lambda _: web.Response(status=302, headers={"Location": "/elsewhere"}), "Redirected"),
        (lambda _: web.Response(status=500), "BadStatus"),
        (lambda _: web.Response(body=bytes(MAX_CONTENT_BYTES + 1)), "Oversized"),
    ],
)
async def test_bad_answers_are_told_apart(
    handler: Callable[[web.Request], object], reason: str, tmp_path: Path
) -> None:
    """A redirect is not followed, and no more is read than a bundle may have."""
    async with served(lambda: svid(OLD), app(handler), tmp_path) as url:
        assert await refused(spiffe(url, tmp_path, OLD)) == reason


async def test_a_compressed_answer_is_not_expanded(tmp_path: Path) -> None:
    """It was not asked for, and could be of any size: its bytes are taken as they are, and are no bundle."""
    packed = gzip.compress(document(OLD))
    handler = app(lambda _: web.Response(body=packed, headers={"Content-Encoding": "gzip"}))
    async with served(lambda: svid(OLD), handler, tmp_path) as url:
        answer = await spiffe(url, tmp_path, OLD).fetch(None)

    assert answer.content == packed


async def test_a_server_that_says_nothing_is_given_up() -> None:
    """One that never answers the handshake, and one that is not there, are two reasons."""
    with silent() as url:
        source = BundleEndpointSource(url, "https_web")
        hung = await refused(BundleEndpoint(source, now, answer_seconds=0.2))

    assert hung == "Timeout"
    assert await refused(BundleEndpoint(BundleEndpointSource("https://a..b/", "https_web"), now)) == "Unreachable"
    assert await refused(BundleEndpoint(source, now)) == "Unreachable"
