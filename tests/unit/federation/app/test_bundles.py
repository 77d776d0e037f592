"""The own bundle as settings name it: from the built-in CA, a file or an endpoint, and served to others."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography import x509

from federation.app.bundles import (
    TAKEN_FILE,
    BundleFollower,
    bundle_problems,
    open_authorities,
    own_certificate,
    refresh_hint,
    serving_bundle,
    source_name,
)
from federation.app.clock import utc_now
from federation.model.configuration import ClusterSettings
from federation.model.errors import TrustError
from federation.model.settings import parse_cluster_settings
from support.bundle_endpoint import SERVER_ID, document, served, svid
from support.certificates import make_ca
from trustbundle.external import MAX_CONTENT_BYTES
from trustbundle.external_authority import ExternalAuthority
from trustbundle.identity import TrustDomain

EAST = TrustDomain("east.test")
OLD, NEW = make_ca(datetime.now(UTC), name="old"), make_ca(datetime.now(UTC), name="new")
CLUSTER = {
    "clusterset": "test",
    "cluster": "east",
    "region": "here",
    "trustDomain": str(EAST),
    "memberKeyFile": "member.key",
    "exchange": {"url": "redis://127.0.0.1:6379"},
}


def cluster(directory: Path, **changes: Any) -> ClusterSettings:
    directory.mkdir(exist_ok=True)
    return parse_cluster_settings(yaml.safe_dump(CLUSTER | changes), directory=directory)


def from_file(directory: Path) -> ClusterSettings:
    return cluster(directory, ca={"bundleFile": "root.pem"})


def write(directory: Path, text: str) -> None:
    aside = directory / ".root.pem"
    aside.write_text(text)
    aside.replace(directory / "root.pem")


async def external(settings: ClusterSettings) -> ExternalAuthority:
    authority = (await open_authorities(settings)).own
    assert isinstance(authority, ExternalAuthority)
    return authority


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.01)


async def test_without_a_source_the_own_ca_is_opened(tmp_path: Path) -> None:
    """It has a bundle and issues; nothing is said of it here."""
    settings = cluster(tmp_path)
    authorities = await open_authorities(settings)
    authority = authorities.own

    assert authority is authorities.built_in
    assert (len(authority.bundle().authorities), source_name(settings)) == (1, "built-in CA")
    assert bundle_problems(authority, utc_now()) == ()


async def test_a_cluster_does_not_start_before_it_has_had_a_bundle(tmp_path: Path) -> None:
    """With an empty file nothing may be published, least of all that everything is revoked."""
    write(tmp_path, "")

    with pytest.raises(TrustError) as caught:
        await open_authorities(from_file(tmp_path))

    assert str(caught.value) == f"own bundle from {tmp_path}/root.pem is not known yet: it is empty"
    assert not (tmp_path / "state" / TAKEN_FILE).exists()


async def test_a_restart_without_the_file_serves_the_last_good(tmp_path: Path) -> None:
    """With its age; once the file is back, nothing is left to say and the sequence is the same."""
    write(tmp_path, OLD.pem)
    first = (await external(from_file(tmp_path))).bundle()
    (tmp_path / "root.pem").unlink()

    again = await external(from_file(tmp_path))
    follower = BundleFollower(again, from_file(tmp_path), utc_now)
    troubles = []
    for present in (False, True, False, True):
        if present:
            write(tmp_path, OLD.pem)
            await follower.look()
        else:
            (tmp_path / "root.pem").unlink(missing_ok=True)
        await follower.look()
        troubles.append(bundle_problems(again, utc_now()))
    (trouble,) = troubles[0]

    assert again.bundle() == first
    assert (trouble.reason, "the bundle in force was taken 0:00:0" in trouble.message) == ("Unreadable", True)
    assert [len(found) for found in troubles] == [1, 0, 1, 0]


async def test_the_file_is_followed(tmp_path: Path) -> None:
    """A change is in force within its interval, an emptied file is not, and each change is told once."""
    write(tmp_path, OLD.pem)
    settings = from_file(tmp_path)
    authority = await external(settings)
    before, changes = authority.bundle(), []
    following = asyncio.ensure_future(BundleFollower(authority, settings, utc_now).run(lambda: changes.append(1)))
    try:
        write(tmp_path, OLD.pem + NEW.pem)
        await until(lambda: len(changes) == 1)
        both = authority.bundle()
        write(tmp_path, "")
        await until(lambda: authority.trouble is not None)
        kept = authority.bundle()
        write(tmp_path, NEW.pem)
        await until(lambda: len(changes) == 2)
    finally:
        following.cancel()

    assert (before.authorities, both.authorities, kept) == ((OLD.der,), (OLD.der, NEW.der), both)
    assert authority.bundle().authorities == (NEW.der,)
    assert before.sequence < both.sequence < authority.bundle().sequence


async def test_a_file_that_is_being_written_is_not_taken_by_halves(tmp_path: Path) -> None:
    """Cut between two certificates it looks whole, and would revoke the other: it is taken once it stays as it is."""
    write(tmp_path, OLD.pem + NEW.pem)
    settings = from_file(tmp_path)
    authority = await external(settings)
    follower = BundleFollower(authority, settings, utc_now)
    for _ in range(2):
        await follower.look()
    seen = []
    for text in (NEW.pem, NEW.pem + OLD.pem, NEW.pem + OLD.pem, NEW.pem, NEW.pem):
        write(tmp_path, text)
        await follower.look()
        seen.append(len(authority.bundle().authorities))

    assert seen == [2, 2, 2, 2, 1]


async def test_the_sequence_grows_from_one_ca_to_the_other_and_back(tmp_path: Path) -> None:
    """Peers refuse what goes back; the built-in CA keeps its keys meanwhile, and the way leads there and back twice."""
    write(tmp_path, OLD.pem)
    sequences, bundles = [], []
    for settings in (cluster(tmp_path), from_file(tmp_path), cluster(tmp_path), from_file(tmp_path)):
        bundle = (await open_authorities(settings)).own.bundle()
        sequences.append(bundle.sequence)
        bundles.append(bundle.authorities)

    assert sequences == sorted(set(sequences))
    assert bundles[0] == bundles[2]
    assert bundles[1] == bundles[3] == (OLD.der,)


async def test_one_controller_serves_what_another_takes(tmp_path: Path) -> None:
    """Both halves by their settings: the server shows its own SVID, the client starts from the server's bundle.pem."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    server = cluster(tmp_path / "server", bundleEndpoint={"listen": f"127.0.0.1:{port}"})
    source = {
        "url": f"https://127.0.0.1:{port}/",
        "profile": "https_spiffe",
        "spiffeId": f"spiffe://{EAST}/federation/controller",
        "bootstrapFile": "bootstrap.pem",
    }
    client = cluster(tmp_path / "client", ca={"bundleEndpoint": source})
    authorities = await open_authorities(server)
    authority = authorities.own
    (tmp_path / "client" / "bootstrap.pem").write_text(authority.bundle().pem)

    async with serving_bundle(server, authorities):
        taking = await external(client)
        follower = BundleFollower(taking, client, utc_now)
        interval = await follower.look()
    after_failure = await follower.look()
    (trouble,) = bundle_problems(taking, utc_now())
    restarted = await external(client)

    assert taking.bundle().authorities == authority.bundle().authorities
    # The server's hint is 2 s; nobody is asked so often, nor more often after a failure.
    assert (interval, after_failure) == (timedelta(seconds=10), timedelta(seconds=10))
    assert trouble.reason == "Unreachable"
    assert restarted.bundle() == taking.bundle()


async def test_bad_answers_leave_the_last_good(tmp_path: Path) -> None:
    """Over a real socket: garbage, nothing, too much and a replay each have their reason, and harm nothing."""
    answers = {
        "Malformed": b"<html>",
        "Empty": b"",
        "Oversized": bytes(MAX_CONTENT_BYTES + 1),
        "SequenceWentBack": document(NEW, sequence=4),
        "ForeignAuthority": document(make_ca(utc_now(), uris=["spiffe://west.test"]), sequence=6),
    }
    answer = document(OLD, sequence=5)
    (tmp_path / "bootstrap.pem").write_text(OLD.pem)
    async with served(lambda: svid(OLD), lambda: answer, tmp_path) as url:
        source = {"url": url, "profile": "https_spiffe", "spiffeId": SERVER_ID, "bootstrapFile": "bootstrap.pem"}
        settings = cluster(tmp_path, ca={"bundleEndpoint": source})
        authority = await external(settings)
        follower = BundleFollower(authority, settings, utc_now)
        good, reasons = authority.bundle(), []
        for bad in answers.values():
            answer = bad
            await follower.look()
            reasons += [problem.reason for problem in bundle_problems(authority, utc_now())]
        kept, answer = authority.bundle(), document(OLD, NEW, sequence=6)
        await follower.look()

    assert (reasons, kept) == (list(answers), good)
    assert authority.bundle().authorities == (OLD.der, NEW.der)
    assert bundle_problems(authority, utc_now()) == ()


def test_the_hint_fits_three_to_five_times_into_the_propagation(tmp_path: Path) -> None:
    """As the standard asks, down to its unit of one second."""
    hints = [
        refresh_hint(cluster(tmp_path, ca={"propagation": propagation}))
        for propagation in ("500ms", "5s", "10s", "25m")
    ]

    assert [hint.total_seconds() for hint in hints] == [1, 1, 2, 375]
    assert refresh_hint(from_file(tmp_path)) == timedelta(minutes=5)


async def test_the_own_certificate_is_renewed_when_asked_for(tmp_path: Path) -> None:
    """It names the controller."""
    certificate = own_certificate((await open_authorities(cluster(tmp_path / "built-in"))).built_in, EAST)
    other = (await open_authorities(cluster(tmp_path / "named"))).built_in
    named = own_certificate(other, EAST, ["controller.system.svc"])()
    first, second = certificate(), certificate()

    assert first == second
    assert b"controller.system.svc" in ssl.PEM_cert_to_DER_cert(named.chain_pem.decode())


async def test_with_a_ca_elsewhere_the_controllers_own_certificates_are_of_the_built_in_one(tmp_path: Path) -> None:
    """As before and after, so that whoever verifies a controller sees no difference; peers are told of neither."""
    write(tmp_path, OLD.pem)
    before = (await open_authorities(cluster(tmp_path))).built_in.bundle()
    elsewhere = await open_authorities(from_file(tmp_path))
    shown = own_certificate(elsewhere.built_in, EAST)().chain_pem
    after = (await open_authorities(cluster(tmp_path))).built_in.bundle()
    leaf = x509.load_pem_x509_certificate(shown)

    assert elsewhere.own.bundle().authorities == (OLD.der,)
    assert before.authorities == elsewhere.built_in.bundle().authorities == after.authorities
    leaf.verify_directly_issued_by(x509.load_der_x509_certificate(before.authorities[0]))


async def test_what_was_prepared_for_the_controllers_alone_is_published_anew(tmp_path: Path) -> None:
    """A CA that was to sign next when the cluster's own bundle was another: no peer has heard of it."""
    write(tmp_path, OLD.pem)
    elsewhere = await open_authorities(from_file(tmp_path))
    elsewhere.built_in.request_rotation(utc_now())
    elsewhere.built_in.tick(utc_now())
    elsewhere.built_in.mark_published(elsewhere.built_in.bundle().sequence, utc_now())
    prepared = elsewhere.built_in.state.next
    back = (await open_authorities(cluster(tmp_path))).built_in.state.next

    assert prepared is not None
    assert prepared.published_at is not None
    assert back is not None
    assert (back.id, back.published_at) == (prepared.id, None)


async def test_only_who_leads_makes_the_built_in_ca(tmp_path: Path) -> None:
    """Another replica takes it from the Secret: two would be two CAs."""
    write(tmp_path, OLD.pem)
    await open_authorities(from_file(tmp_path), leads=False)
    assert not (tmp_path / "state" / "ca" / "journal.json").exists()
