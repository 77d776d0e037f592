"""The desk where Envoys prove who they are: whose view and whose certificate a node gets."""

from __future__ import annotations

from collections.abc import Collection
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest
from cryptography import x509
from structlog.testing import capture_logs

from federation.app.nodes import NodeDesk
from federation.membership.tokens import NodePrincipal, TokenStore, create_token, fingerprint
from federation.model.errors import ConfigError
from gateway.nodes import Node as Spec
from gateway.nodes import SidecarNode, node_metadata
from gateway.xds.server import Node, NodeIdentity
from support.builders import EAST, spiffe_id
from support.clock import ManualClock
from support.control import GATEWAY, SIDECAR, Changes, ControlLoop, started_authority

WEB, DB = spiffe_id(EAST, "web"), spiffe_id(EAST, "db")
MINUTE = timedelta(minutes=1)


class Reception:
    """A desk over a control loop, with tokens for two workloads and the gateways."""

    def __init__(self, directory: Path) -> None:
        self.clock = ManualClock()
        self.authority = started_authority(clock=self.clock)
        self.loop = ControlLoop(directory, clock=self.clock, authority=self.authority)
        self.loop.own({})
        self.loop.step()
        self.tokens = directory / "tokens"
        self.tokens.mkdir(mode=0o700)
        for name in ("demo.web", "demo.db", "gateway"):
            create_token(self.tokens / f"{name}.token")
        store = TokenStore.load(self.tokens)
        self.desk = NodeDesk(self.loop.dataplane, store, self.authority, "east.test", self.clock)

    def token(self, name: str) -> str:
        return (self.tokens / f"{name}.token").read_text().strip()

    async def prove(self, name: str) -> NodeIdentity:
        identity = await self.desk.authenticate(self.token(name), "any", {})
        assert identity is not None
        return identity

    async def come(self, token: str, node_id: str, spec: Spec = SIDECAR) -> str | None:
        """A node with that token says that it is ``node_id``, of that kind; returns the view it is given."""
        return await self.desk.on_node(await self.prove(token), Node(node_id, "east", node_metadata(spec)))

    def identity_in(self, view: str) -> str:
        """The SPIFFE ID of the certificate that a view hands out."""
        chain = self.loop.message(view, "SDS", "default").tls_certificate.certificate_chain.inline_bytes
        names = x509.load_pem_x509_certificate(chain).extensions.get_extension_for_class(x509.SubjectAlternativeName)
        return str(names.value.get_values_for_type(x509.UniformResourceIdentifier)[0])


@pytest.fixture
def reception(tmp_path: Path) -> Reception:
    return Reception(tmp_path)


# Who it is


async def test_a_gateway_that_originates_tls_has_an_identity_of_its_own(reception: Reception) -> None:
    """No workload, whatever its namespace and account are, can have the same."""
    view = await reception.come("gateway", "gw", msgspec.structs.replace(GATEWAY, egress=True))
    assert view is not None
    assert reception.identity_in(view) == "spiffe://east.test/federation/gateway"


async def test_a_token_proves_its_workload(reception: Reception) -> None:
    """The subject is the workload's SPIFFE ID in the own trust domain, or the gateway."""
    found = [(await reception.prove(name)).subject for name in ("demo.web", "demo.db", "gateway")]
    assert found == [WEB, DB, "gateway"]


@pytest.mark.parametrize("token", [None, "", "x" * 43])
async def test_whoever_has_no_token_of_ours_is_nobody(reception: Reception, token: str | None) -> None:
    """No token and an unknown token prove nothing, whatever the node says of itself."""
    assert await reception.desk.authenticate(token, f"{WEB} web", node_metadata(SIDECAR)) is None


async def test_a_new_token_works_at_once_and_a_removed_one_never_again(reception: Reception) -> None:
    """Token files are looked at for every node that comes."""
    create_token(reception.tokens / "demo.new.token")
    assert (await reception.prove("demo.new")).subject == spiffe_id(EAST, "new")
    old = reception.token("demo.web")
    (reception.tokens / "demo.web.token").unlink()
    assert await reception.desk.authenticate(old, "web", {}) is None


async def test_a_token_that_goes_takes_its_nodes_along(reception: Reception) -> None:
    """Removing or replacing a token names the nodes that came with it, once, and renews nothing for them."""
    await reception.come("demo.web", "web-1")
    db = await reception.come("demo.db", "db-1")
    assert reception.desk.withdrawn() == frozenset()
    (reception.tokens / "demo.db.token").unlink()
    create_token(reception.tokens / "demo.db.token")
    assert reception.desk.withdrawn() == {db}
    assert reception.desk.withdrawn() == frozenset()
    assert db not in reception.loop.dataplane.nodes
    assert await reception.come("demo.db", "db-1") == db


class Elsewhere:
    """Tokens that are proved by somebody else, who can't tell any but one."""

    problems = ()

    def __init__(self) -> None:
        self.held: frozenset[str] = frozenset()

    async def authenticate(self, token: str) -> NodePrincipal | None:
        if token != "good":
            raise ConfigError("nobody answers")
        return NodePrincipal("sidecar", "demo", "web", "web-1")

    def withdrawn(self, held: Collection[str]) -> frozenset[str]:
        self.held = frozenset(held)
        return frozenset()


async def test_what_can_not_be_told_now_is_no_refusal(reception: Reception) -> None:
    """The error passes, so that the server answers UNAVAILABLE and Envoy comes back."""
    desk = NodeDesk(reception.loop.dataplane, Elsewhere(), reception.authority, "east.test", reception.clock)
    with pytest.raises(ConfigError):
        await desk.authenticate("other", "web", {})


async def test_whoever_proves_tokens_is_told_which_are_held(reception: Reception) -> None:
    """Those that nodes came with last; a node that comes with a new token holds the old one no more."""
    elsewhere = Elsewhere()
    desk = NodeDesk(reception.loop.dataplane, elsewhere, reception.authority, "east.test", reception.clock)
    identity = await desk.authenticate("good", "web", {})
    assert identity is not None
    with capture_logs() as logs:
        for _ in range(2):
            assert await desk.on_node(identity, Node("web", "east", node_metadata(SIDECAR))) is not None
    assert desk.withdrawn() == frozenset()
    assert elsewhere.held == {fingerprint("good")}
    assert [line["pod"] for line in logs] == ["web-1"]


# Whose certificate


async def test_a_node_gets_the_certificate_of_its_token(reception: Reception) -> None:
    """Two nodes with their own tokens get their own identities."""
    views = {token: await reception.come(token, "node") for token in ("demo.web", "demo.db")}
    assert {token: reception.identity_in(str(view)) for token, view in views.items()} == {
        "demo.web": WEB,
        "demo.db": DB,
    }


async def test_a_borrowed_node_id_finds_a_view_of_its_own(reception: Reception) -> None:
    """A node that says the id of another gets neither its view nor its certificate, before and after it came."""
    first = await reception.come("demo.web", "web-1")
    thief = await reception.come("demo.db", "web-1")
    assert first != thief
    assert (reception.identity_in(str(first)), reception.identity_in(str(thief))) == (WEB, DB)


@pytest.mark.parametrize("node_id", [f"{WEB} web-1", f" {WEB} web-1", "web-1\n", "../web-1", ""])
async def test_no_node_id_spells_the_view_of_another_identity(reception: Reception, node_id: str) -> None:
    """Views are named by the proved identity first, and no identity holds the space that ends it there."""
    first = await reception.come("demo.web", "web-1")
    thief = str(await reception.come("demo.db", node_id))
    assert thief != first
    assert thief.partition(" ")[0] == DB
    assert reception.identity_in(thief) == DB


async def test_metadata_of_another_workload_changes_no_identity(reception: Reception) -> None:
    """The address of another workload brings its listeners, with the node's own certificate."""
    await reception.come("demo.web", "web", SIDECAR)
    thief = await reception.come("demo.db", "db", SIDECAR)
    assert reception.identity_in(str(thief)) == DB


@pytest.mark.parametrize(("token", "spec"), [("demo.web", GATEWAY), ("gateway", SIDECAR)])
async def test_nobody_takes_the_other_role(reception: Reception, token: str, spec: Spec) -> None:
    """A sidecar's token opens no gateway's view, nor a gateway's token a sidecar's."""
    assert await reception.come(token, "node", spec) is None
    assert reception.loop.cache.nodes() == ()


async def test_a_gateway_has_a_view_without_secrets(reception: Reception) -> None:
    """The gateway's token opens a gateway's view, in which there is no key."""
    view = await reception.come("gateway", "gateway-1", GATEWAY)
    assert reception.loop.names(str(view), "SDS") == []
    assert reception.loop.names(str(view), "LDS") == ["gateway"]


async def test_a_node_without_usable_metadata_is_refused_and_logged(reception: Reception) -> None:
    """An Envoy that was not started by us has no view; the log says which field is at fault."""
    with capture_logs() as logs:
        assert await reception.desk.on_node(await reception.prove("demo.web"), Node("alien", "east", {})) is None
    assert [(line["event"], line["node"]) for line in logs] == [("node refused", "alien")]
    assert reception.loop.cache.nodes() == ()


# Renewal


async def test_certificates_are_renewed_at_half_of_their_life(reception: Reception) -> None:
    """Nothing happens before half of the hour; then the node is sent a new certificate of the same identity, and a new
    key of session tickets, as old as the certificate was."""
    view = str(await reception.come("demo.web", "web"))
    changes = Changes(reception.loop, view)
    assert reception.desk.renew(reception.clock.advance(29 * MINUTE)) == 0
    assert reception.desk.renew(reception.clock.advance(MINUTE)) == 1
    assert reception.desk.renew(reception.clock.now()) == 0
    assert changes.of(view) == [("SDS", "default"), ("SDS", "tickets")]
    assert reception.identity_in(view) == WEB


async def test_a_rotated_ca_renews_every_certificate_at_once(reception: Reception) -> None:
    """When a forced rotation puts the next CA in charge, no node keeps a certificate of the old one."""
    for token in ("demo.web", "demo.db"):
        await reception.come(token, "node")
    before = {svid.slot_id for svid in reception.loop.dataplane.svids()}
    authority, clock = reception.authority, reception.clock
    authority.mark_published(authority.bundle().sequence, clock.now())
    authority.request_rotation(clock.now())
    authority.tick(clock.now())
    assert reception.desk.renew(clock.now()) == 0
    authority.mark_published(authority.bundle().sequence, clock.now())
    authority.tick(clock.advance(MINUTE))
    assert reception.desk.renew(clock.now()) == 2
    after = {svid.slot_id for svid in reception.loop.dataplane.svids()}
    assert (len(before), len(after), before & after) == (1, 1, set())


async def test_a_node_that_reconnects_keeps_its_certificate(reception: Reception) -> None:
    """A broken stream costs no new key."""
    await reception.come("demo.web", "web")
    before = reception.loop.dataplane.svids()
    await reception.come("demo.web", "web")
    assert reception.loop.dataplane.svids() == before


# Absence


async def test_a_node_is_forgotten_after_ten_minutes_of_absence(reception: Reception) -> None:
    """A connected node is never forgotten; one that is away keeps view and certificate for ten minutes."""
    stays = await reception.come("demo.web", "stays")
    goes = await reception.come("demo.db", "goes")
    reception.desk.forget_absent(reception.clock.advance(10 * MINUTE), [str(stays)])
    assert set(reception.loop.dataplane.nodes) == {stays, goes}
    reception.desk.forget_absent(reception.clock.advance(MINUTE), [str(stays)])
    assert set(reception.loop.dataplane.nodes) == {stays}


async def test_a_forgotten_node_may_come_again(reception: Reception) -> None:
    """It gets a new view and a new certificate, as another kind of node if it likes."""
    view = await reception.come("demo.web", "web")
    reception.desk.forget_absent(reception.clock.advance(11 * MINUTE), [])
    again = await reception.come("demo.web", "web", SidecarNode("10.0.0.1", 15006, redirect_port=15001))
    assert view == again
    assert reception.loop.names(str(again), "LDS") == ["redirect"]
