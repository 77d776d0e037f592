"""The control loop of one cluster: when it speaks, to whom, and what a failed pass leaves behind."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from controllers.controller import Controller
from controllers.journal import Journal
from controllers.liveness import State
from controllers.revocations import Revocations
from controllers.sources.base import SourceUpdate
from federation.model.addresses import HostPort
from federation.model.configuration import GatewaySettings
from federation.model.errors import InvariantError
from federation.model.names import BUNDLE_KEY, GATEWAY_KEY, TRUST_KEY, export_key, sni
from federation.model.records import (
    BundleRecord,
    EndpointAddress,
    GatewayAddress,
    GatewayRecord,
    ImportType,
    TrustRecord,
)
from federation.model.state import ClusterState, ServiceState
from gateway.nodes import Listen, LocalPort, SidecarNode
from gateway.xds import protos as pb
from support.builders import (
    CREATED,
    EAST,
    ECHO,
    NORTH,
    WEST,
    bundle_record,
    endpoint,
    endpoint_slice,
    endpoints_record,
    export_record,
    exported_state,
    gateway_record,
    key,
    service,
    service_export,
    spiffe_id,
)
from support.certificates import MemoryKeystore, make_ca
from support.clock import START, ManualClock
from support.control import GATEWAY, SIDECAR, Changes, ControlLoop, bundle, ca_of, started_authority
from trustbundle.authority import CertificateAuthority
from trustbundle.identity import TrustDomain
from trustbundle.rotation import RotationPolicy

HTTP = sni(ECHO, 80)
EXPORTED = {ECHO: exported_state(endpoint_slice(endpoint("10.0.0.9")))}


def exported_by(loop: ControlLoop, peer: str = WEST) -> None:
    """A peer that exports the sample service states all that it takes to be called."""
    loop.say(
        peer,
        export_record(identities=[spiffe_id(peer)]),
        endpoints_record(),
        gateway_record("192.0.2.1", region="us"),
        bundle(peer),
    )


@pytest.fixture
def loop(tmp_path: Path) -> ControlLoop:
    return ControlLoop(tmp_path)


def bundles_of(loop: ControlLoop, node: str) -> list[str]:
    secret = loop.message(node, "SDS", "ALL")
    config = secret.validation_context.custom_validator_config.typed_config
    return [domain.name for domain in pb.unpack(config, pb.SPIFFECertValidatorConfig).trust_domains]


# Empty is not unknown


@pytest.mark.parametrize("missing", ["the own source", "a peer"])
def test_nothing_goes_out_before_everything_is_known(loop: ControlLoop, missing: str) -> None:
    """Before the own source and every peer are known, nothing is published and no node is answered."""
    loop.connect("web", SIDECAR)
    loop.connect("gateway", GATEWAY)
    exported_by(loop)
    if missing == "a peer":
        loop.peers.synced = False
        loop.own(EXPORTED)
    loop.step()

    assert loop.controller.ready is False
    assert loop.peers.published == []
    assert {node: loop.seen(node) for node in ("web", "gateway")} == {"web": {}, "gateway": {}}
    assert not (loop.settings.state_directory / "journal.json").exists()


def test_all_goes_out_once_everything_is_known(loop: ControlLoop) -> None:
    """The first whole pass takes in whatever was marked before, publishes it, and answers every node."""
    loop.peers.synced = False
    loop.connect("web", SIDECAR)
    exported_by(loop)
    loop.own(EXPORTED)
    loop.step()
    loop.peers.synced = True
    loop.step()

    assert loop.controller.ready is True
    assert sorted(loop.peers.published[-1]) == ["bundle", "endpoints/demo/echo", "export/demo/echo", "gateway", "trust"]
    assert loop.names("web", "CDS") == [HTTP]
    assert loop.names("web", "SDS") == ["ALL", "default", "tickets"]


def test_a_cluster_with_nothing_still_speaks(loop: ControlLoop) -> None:
    """Known to be empty is something to say: gateway and bundle are published, and a node is answered."""
    loop.connect("web", SIDECAR)
    loop.own({})
    loop.step()

    assert sorted(loop.peers.published[-1]) == ["bundle", "gateway", "trust"]
    assert loop.names("web", "RDS") == ["outbound"]


def test_a_seat_that_loses_sync_freezes_the_picture(loop: ControlLoop) -> None:
    """While a peer is unknown again, what was served and published stays, whatever is marked."""
    loop.connect("web", SIDECAR)
    exported_by(loop)
    loop.own(EXPORTED)
    loop.step()
    before = loop.seen("web")
    loop.peers.synced = False
    loop.withdraw(WEST, export_key(ECHO))
    loop.own({ECHO: None})
    loop.step()

    assert loop.seen("web") == before
    assert len(loop.peers.published) == 1


# What is published


def test_equal_results_publish_nothing(loop: ControlLoop) -> None:
    """A pass whose records are as before does not publish again."""
    loop.own(EXPORTED)
    loop.step()
    loop.own({ECHO: replace(EXPORTED[ECHO])})
    loop.say(WEST, endpoints_record())
    loop.step()
    assert len(loop.peers.published) == 1


def test_what_is_not_exported_any_more_is_withdrawn(loop: ControlLoop) -> None:
    """A service that lost its export is in no later publication."""
    loop.own(EXPORTED)
    loop.step()
    loop.own({ECHO: ServiceState(service())})
    loop.step()
    assert sorted(loop.peers.published[-1]) == ["bundle", "gateway", "trust"]


def test_what_the_envoys_verify_by_is_acknowledged(loop: ControlLoop) -> None:
    """The record names an accepted bundle only after it was handed over, and stays until the next one was."""
    loop.own({})
    loop.say(WEST, bundle(WEST, sequence=7))
    loop.step()
    waited = loop.controller.to_acknowledge
    loop.controller.on_handed_over()
    loop.step()
    loop.say(WEST, bundle(WEST, ca_of(WEST, 2), sequence=8))
    loop.step()

    told = [records[TRUST_KEY] for records in loop.peers.published]
    assert told == [TrustRecord(), TrustRecord((("west.test", 7),))]
    assert [waited, loop.controller.to_acknowledge] == [True, True]


def test_a_peers_acknowledgement_moves_no_pass(loop: ControlLoop) -> None:
    """What a peer verifies by judges no bundle anew, and publishes nothing."""
    loop.own({})
    loop.step()
    loop.say(WEST, TrustRecord((("east.test", 1),)))
    loop.peers.say(WEST, bundle(WEST))
    loop.step()
    assert (loop.controller.trusted, len(loop.peers.published)) == (frozenset(), 1)


def test_a_new_ca_is_published_by_the_next_pass(tmp_path: Path) -> None:
    """The own bundle travels and reaches the nodes as soon as the CA changed and that was marked."""
    clock = ManualClock()
    loop = ControlLoop(tmp_path, clock=clock, authority=started_authority(clock=clock))
    loop.connect("web", SIDECAR)
    loop.own({})
    loop.step()
    before = loop.seen("web")[("SDS", "ALL")]
    loop.authority.request_rotation(clock.now())
    loop.authority.tick(clock.now())
    loop.controller.on_trust()
    loop.step()

    assert loop.peers.published[-1][BUNDLE_KEY] == loop.authority.bundle().record
    assert loop.seen("web")[("SDS", "ALL")] != before


def test_an_export_without_creation_time_is_as_old_as_when_it_was_first_seen(tmp_path: Path) -> None:
    """The age that conflicts are resolved by survives later passes and a restart."""
    clock = ManualClock()
    undated = {ECHO: ServiceState(service(), service_export(created=None))}
    loop = ControlLoop(tmp_path, clock=clock)
    loop.own(undated)
    loop.step()
    clock.advance(timedelta(hours=1))
    restarted = ControlLoop(tmp_path, clock=clock)
    restarted.own(undated)
    restarted.step()

    assert loop.peers.published[-1][export_key(ECHO)].created == CREATED
    assert restarted.peers.published[-1][export_key(ECHO)].created == CREATED


def test_an_export_that_went_while_nobody_looked_is_dated_anew(tmp_path: Path) -> None:
    """The first pass after a restart forgets when exports were seen that are gone."""
    clock = ManualClock()
    undated = {ECHO: ServiceState(service(), service_export(created=None))}
    loop = ControlLoop(tmp_path, clock=clock)
    loop.own(undated)
    loop.step()
    restarted = ControlLoop(tmp_path, clock=clock)
    restarted.own({})
    restarted.step()
    later = clock.advance(timedelta(hours=1))
    restarted.own(undated)
    restarted.step()

    assert restarted.peers.published[-1][export_key(ECHO)].created == later


# Trust precedes traffic


def test_a_peer_without_accepted_bundle_gets_no_traffic(loop: ControlLoop) -> None:
    """What only an untrusted peer exports is imported, yet has no cluster: nothing would be verified."""
    loop.connect("web", SIDECAR)
    loop.own({})
    exported_by(loop)
    loop.withdraw(WEST, BUNDLE_KEY)
    loop.step()

    assert loop.controller.projection.results[ECHO].merged is not None
    assert loop.names("web", "CDS") == []
    assert bundles_of(loop, "web") == ["east.test"]


def test_a_bundle_that_breaks_a_rule_is_a_problem_and_no_trust(loop: ControlLoop) -> None:
    """A refused bundle is reported, its peer gets no traffic, and the other peers are unaffected."""
    loop.connect("web", SIDECAR)
    loop.own({})
    exported_by(loop, WEST)
    exported_by(loop, NORTH)
    loop.say(NORTH, bundle_record(NORTH, b"no certificate"))
    loop.step()

    assert loop.controller.trusted == {WEST}
    assert [problem.subject for problem in loop.controller.trust_problems] == ["bundle of north"]
    assert [each.locality.sub_zone for each in loop.message("web", "EDS", HTTP).endpoints] == ["west"]


def test_a_restart_gives_a_ca_key_to_nobody_else(tmp_path: Path) -> None:
    """North, which comes first by name, is refused with West's root by who saw it first and by who starts anew."""
    root = make_ca(START, name="a mesh's own root")
    loop = ControlLoop(tmp_path, authority=started_authority())
    loop.own({})
    loop.say(WEST, bundle(WEST, root))
    loop.step()
    loop.say(NORTH, bundle(NORTH, root))
    loop.step()
    again = ControlLoop(tmp_path, peers=loop.peers, authority=started_authority())
    again.own({})
    again.step()
    assert (loop.controller.trusted, again.controller.trusted) == ({WEST}, {WEST})


def test_bundles_reach_every_node_before_the_endpoints_of_their_peer(loop: ControlLoop) -> None:
    """A newly trusted peer's bundle is in the cache before any of its endpoints is."""
    loop.connect("web", SIDECAR)
    loop.connect("other", replace_address(SIDECAR, "10.0.0.2"))
    loop.own({})
    loop.step()
    events: list[str] = []
    for node in ("web", "other"):
        loop.cache.subscribe(node, lambda _, changed: events.extend(sorted(changed)))
    exported_by(loop)
    loop.step()

    assert events[:2] == [pb.SECRET, pb.SECRET]
    assert pb.ENDPOINT in events[2:]
    assert pb.SECRET not in events[2:]


def replace_address(node: SidecarNode, address: str) -> SidecarNode:
    return SidecarNode(address=address, inbound_port=node.inbound_port, http_proxy=node.http_proxy)


def test_a_peer_whose_authorities_ran_out_loses_its_traffic(tmp_path: Path) -> None:
    """Once the last CA certificate of a peer has expired, a look at the trust takes it out of clusters and bundles."""
    clock = ManualClock()
    loop = ControlLoop(tmp_path, clock=clock)
    loop.connect("web", SIDECAR)
    loop.own({})
    exported_by(loop)
    loop.say(WEST, bundle(WEST, ca_of(WEST, 2, hours=1)))
    loop.step()
    assert loop.names("web", "CDS") == [HTTP]
    clock.advance(timedelta(hours=2))
    loop.controller.on_trust()
    loop.step()

    assert loop.names("web", "CDS") == []
    assert bundles_of(loop, "web") == ["east.test"]


CALLER = SidecarNode(
    address=SIDECAR.address,
    inbound_port=SIDECAR.inbound_port,
    http_proxy=SIDECAR.http_proxy,
    outbound=(
        LocalPort("demo", "echo", 80, Listen("127.0.0.1", 8001)),
        LocalPort("demo", "web", 80, Listen("127.0.0.1", 8002)),
    ),
)


def generations(loop: ControlLoop, node: str) -> dict[str, str]:
    """The generation of trust of each listener's first chain."""
    return {
        name: loop.message(node, "LDS", name)
        .filter_chains[0]
        .metadata.filter_metadata["federation"]["trust_generation"]
        if loop.message(node, "LDS", name).filter_chains[0].HasField("metadata")
        else "0"
        for name in loop.names(node, "LDS")
    }


def between_two_peers(loop: ControlLoop) -> None:
    """West and north both serve echo; web is north's alone."""
    loop.connect("caller", CALLER)
    loop.own({})
    exported_by(loop)
    exported_by(loop, NORTH)
    web = key("demo/web")
    loop.say(NORTH, export_record(web, identities=[spiffe_id(NORTH)]), endpoints_record(web))
    loop.step()


ECHO_PORT, WEB_PORT, PROXY_PORT = "local|127.0.0.1|8001", "local|127.0.0.1|8002", "http-proxy"
UNTOUCHED = {PROXY_PORT: "0", ECHO_PORT: "0", WEB_PORT: "0"}


def test_trust_that_is_withdrawn_ends_what_rests_on_it(loop: ControlLoop) -> None:
    """All that leads to services of a peer whose bundle is empty; a service that others alone serve is left alone, and
    so is everything when a peer is trusted anew.
    """
    between_two_peers(loop)
    assert generations(loop, "caller") == UNTOUCHED
    loop.say(WEST, BundleRecord("west.test", 2, ()))
    with capture_logs() as logs:
        loop.step()
    assert [each["trust_domains"] for each in logs if "trust_domains" in each] == [["west.test"]]
    assert generations(loop, "caller") == {PROXY_PORT: "1", ECHO_PORT: "1", WEB_PORT: "0"}
    loop.say(WEST, bundle(WEST, sequence=3))
    loop.step()
    assert generations(loop, "caller") == {PROXY_PORT: "1", ECHO_PORT: "1", WEB_PORT: "0"}


def test_a_member_that_swaps_its_ca_all_the_time_is_held_back_and_named(loop: ControlLoop) -> None:
    """Its bundle counts at once; connections end for it twice and then by the minute, which time alone brings about."""
    between_two_peers(loop)
    for turn in range(4):
        loop.say(WEST, bundle(WEST, ca_of(WEST, turn % 2 + 2), sequence=turn + 2))
        loop.step()
    assert generations(loop, "caller") == {PROXY_PORT: "2", ECHO_PORT: "2", WEB_PORT: "0"}
    assert [(each.subject, each.reason) for each in loop.controller.held_back] == [
        ("bundle of west", "WithdrawnTooOften")
    ]
    assert loop.controller.trust.bundles[TrustDomain("west.test")].authorities == (ca_of(WEST, 3).der,)
    assert loop.controller.on_time() is False
    loop.clock.advance(timedelta(minutes=1))
    assert loop.controller.on_time() is True
    loop.step()
    assert generations(loop, "caller") == {PROXY_PORT: "3", ECHO_PORT: "3", WEB_PORT: "0"}
    assert loop.controller.held_back == ()


def test_a_restart_ends_nothing_unless_trust_was_withdrawn_meanwhile(tmp_path: Path) -> None:
    """The journal tells what was trusted; then whose connections are open is not known, and all of them end."""
    authority = started_authority()
    before = ControlLoop(tmp_path, authority=authority)
    between_two_peers(before)
    again = ControlLoop(tmp_path, authority=authority)
    between_two_peers(again)
    assert generations(again, "caller") == UNTOUCHED
    without = ControlLoop(tmp_path, authority=authority)
    without.say(WEST, BundleRecord("west.test", 2, ()))
    without.connect("caller", CALLER)
    without.own({})
    exported_by(without, NORTH)
    without.say(NORTH, export_record(key("demo/web"), identities=[spiffe_id(NORTH)]))
    without.step()
    assert generations(without, "caller") == dict.fromkeys(UNTOUCHED, str(int(START.timestamp())))


def test_a_moved_gateway_concerns_every_service_of_its_peer(loop: ControlLoop) -> None:
    """A peer's new gateway address changes the endpoints of all its services, and nothing else."""
    loop.connect("web", SIDECAR)
    loop.own({})
    exported_by(loop)
    loop.say(WEST, export_record(key("demo/web"), identities=[spiffe_id(WEST)]), endpoints_record(key("demo/web")))
    loop.step()
    changes = Changes(loop, "web")
    loop.say(WEST, gateway_record("192.0.2.2", region="us"))
    loop.step()

    assert changes.of("web") == [("EDS", HTTP), ("EDS", sni(key("demo/web"), 80))]


# Who lives


def called(loop: ControlLoop) -> list[str]:
    """The clusters that the sidecar has endpoints of, in the order in which it calls them."""
    return [each.locality.sub_zone for each in loop.message("web", "EDS", HTTP).endpoints]


@pytest.fixture
def served(loop: ControlLoop) -> ControlLoop:
    """West, of our region, and North export the sample service, and a sidecar calls it."""
    loop.connect("web", SIDECAR)
    loop.own({})
    exported_by(loop)
    exported_by(loop, NORTH)
    loop.say(WEST, gateway_record("192.0.2.2", region="eu"))
    loop.step()
    assert called(loop) == [WEST, NORTH]
    return loop


def test_the_gateways_of_trusted_peers_are_probed(served: ControlLoop) -> None:
    """A peer is probed from the moment that it may be called, at all its addresses, dead or alive."""
    served.judge(WEST, leased=False, gateway=False)
    served.step()
    assert served.gateways.followed == {
        WEST: (GatewayAddress("192.0.2.2", 15443),),
        NORTH: (GatewayAddress("192.0.2.1", 15443),),
    }
    served.withdraw(NORTH, BUNDLE_KEY)
    served.step()
    assert list(served.gateways.followed) == [WEST]


@pytest.mark.parametrize(
    ("leased", "gateway", "expected"),
    [
        (True, True, [WEST, NORTH]),
        (False, True, [WEST, NORTH]),
        (True, False, [NORTH, WEST]),
        (False, False, [NORTH]),
    ],
    ids=["live", "blind", "unreachable", "dead"],
)
def test_two_signals_decide_who_is_called(
    served: ControlLoop, leased: bool, gateway: bool, expected: list[str]
) -> None:
    """Either signal keeps a peer; a silent gateway puts it last; with both lost its endpoints go, and nothing else."""
    vips, cds = dict(served.journal.vips), served.names("web", "CDS")
    served.judge(WEST, leased=leased, gateway=gateway)
    served.step()
    assert (called(served), served.names("web", "CDS"), served.journal.vips) == (expected, cds, vips)


def test_only_endpoints_of_the_peer_in_question_change(served: ControlLoop) -> None:
    """What is judged of one peer sends the endpoints of its services, and no more; a judgement as before nothing."""
    served.say(NORTH, export_record(key("demo/web"), identities=[spiffe_id(NORTH)]), endpoints_record(key("demo/web")))
    served.step()
    changes = Changes(served, "web")
    served.judge(WEST, leased=False, gateway=False)
    served.step()
    assert changes.of("web") == [("EDS", HTTP)]
    assert served.controller.on_time() is False


@pytest.mark.parametrize(
    ("leased", "gateway", "expected"), [(True, False, [NORTH, WEST]), (False, True, [WEST, NORTH])]
)
def test_a_withdrawn_peer_returns_with_either_signal(
    served: ControlLoop, leased: bool, gateway: bool, expected: list[str]
) -> None:
    """A lease or an answer brings its endpoints back, with the next pass."""
    served.judge(WEST, leased=False, gateway=False)
    served.step()
    served.peers.renew(WEST, fresh=leased)
    served.gateways.up[WEST] = gateway
    assert served.controller.on_time() is True
    served.step()
    assert called(served) == expected


def test_contact_that_we_lost_withdraws_nobody(served: ControlLoop) -> None:
    """No exchange, no lease, no gateway that answers: everything is called as before."""
    served.peers.connected = False
    served.judge(NORTH, leased=False, gateway=False)
    served.judge(WEST, leased=False, gateway=False)
    served.step()
    assert called(served) == [WEST, NORTH]
    assert {verdict.state for verdict in served.controller.verdicts.values()} == {State.UNHEARD}


def test_a_judgement_in_a_failed_pass_is_carried_out_by_the_next(served: ControlLoop) -> None:
    """A peer is judged dead once; where that pass fails, the withdrawal is not forgotten."""
    served.judge(WEST, leased=False, gateway=False)
    served.own({key("demo/web"): exported_state(of=key("demo/web"))})
    served.peers.broken = True
    with pytest.raises(RuntimeError):
        served.step()
    served.peers.broken = False
    served.step()
    assert called(served) == [NORTH]


def test_the_verdicts_are_those_of_the_moment(served: ControlLoop) -> None:
    """Status asks whenever it likes; what passes go by is judged on time."""
    assert {peer: verdict.state for peer, verdict in served.controller.verdicts.items()} == {
        WEST: State.LIVE,
        NORTH: State.LIVE,
    }
    served.gateways.up[WEST] = False
    assert served.controller.verdicts[WEST].state is State.UNREACHABLE
    served.step()
    assert called(served) == [WEST, NORTH]


# A pass that fails forgets nothing


def test_a_failed_pass_is_made_good_by_the_next(loop: ControlLoop) -> None:
    """What was marked for a pass that raised is done by the next one: own state, peers, trust, publication."""
    loop.connect("web", SIDECAR)
    loop.connect("gateway", GATEWAY)
    loop.own({})
    loop.step()
    exported_by(loop)
    loop.own(EXPORTED)
    loop.peers.broken = True
    with pytest.raises(RuntimeError):
        loop.step()
    loop.peers.broken = False
    loop.step()

    assert export_key(ECHO) in loop.peers.published[-1]
    assert ECHO in loop.journal.vips
    assert loop.names("gateway", "CDS") == [HTTP]
    assert [each.locality.sub_zone for each in loop.message("web", "EDS", HTTP).endpoints] == [EAST, WEST]


def test_a_peer_that_moved_in_a_failed_pass_is_met_by_the_next(loop: ControlLoop) -> None:
    """A gateway that moved is noticed once; where that pass fails, the services behind it are not forgotten."""
    loop.connect("web", SIDECAR)
    loop.own({})
    exported_by(loop)
    loop.step()
    loop.say(WEST, gateway_record("192.0.2.2", region="us"))
    loop.own({key("demo/web"): exported_state(of=key("demo/web"))})
    loop.peers.broken = True
    with pytest.raises(RuntimeError):
        loop.step()
    loop.peers.broken = False
    loop.step()

    hosts = [
        host.endpoint.address.socket_address.address
        for locality in loop.message("web", "EDS", HTTP).endpoints
        for host in locality.lb_endpoints
    ]
    assert hosts == ["192.0.2.2"]


def test_a_workload_that_moved_in_a_failed_pass_is_found_by_the_next(loop: ControlLoop) -> None:
    """A workload that is not ready changes no result, only its sidecar's inbound side: that is not forgotten either."""
    loop.connect("web", SIDECAR)
    loop.own(EXPORTED)
    loop.step()
    unready = endpoint_slice(endpoint("10.0.0.9"), endpoint(SIDECAR.address, ready=False))
    loop.own({ECHO: exported_state(unready), key("demo/web"): exported_state(of=key("demo/web"))})
    loop.peers.broken = True
    with pytest.raises(RuntimeError):
        loop.step()
    loop.peers.broken = False
    loop.step()

    assert loop.names("web", "LDS") == ["http-proxy", "inbound"]


def test_trust_that_could_not_be_judged_is_judged_by_the_next_pass(tmp_path: Path) -> None:
    """Where the own CA can't be read, the pass fails; the next one meets the peers all the same."""
    policy = RotationPolicy(timedelta(hours=1), timedelta(hours=24), timedelta(0))
    authority = CertificateAuthority(TrustDomain("east.test"), policy, MemoryKeystore())
    loop = ControlLoop(tmp_path, authority=authority)
    loop.connect("web", SIDECAR)
    loop.own({})
    exported_by(loop)
    with pytest.raises(InvariantError):
        loop.step()
    authority.tick(loop.clock.now())
    loop.step()

    assert loop.names("web", "CDS") == [HTTP]


def test_a_failed_first_pass_leaves_the_controller_unready(loop: ControlLoop) -> None:
    """Until a pass got through, the controller is not ready and has published nothing."""
    loop.own(EXPORTED)
    loop.peers.broken = True
    with pytest.raises(RuntimeError):
        loop.step()
    assert (loop.controller.ready, loop.peers.published) == (False, [])


# A disk that is full


def test_a_full_disk_keeps_no_trust_from_being_withdrawn(loop: ControlLoop) -> None:
    """Whoever is evicted loses bundle, endpoints and connections while nothing can be written, and status tells why."""
    between_two_peers(loop)
    loop.journal.broken = True
    loop.controller.on_members([one for one in loop.controller.members if one.cluster != WEST])
    loop.step()

    assert bundles_of(loop, "caller") == ["east.test", "north.test"]
    assert [each.locality.sub_zone for each in loop.message("caller", "EDS", HTTP).endpoints] == [NORTH]
    assert generations(loop, "caller") == {PROXY_PORT: "1", ECHO_PORT: "1", WEB_PORT: "0"}
    assert [(each.subject, each.reason) for each in loop.controller.unsaved] == [("journal", "NotSaved")]


def test_a_full_disk_keeps_nothing_from_being_served(loop: ControlLoop) -> None:
    """A new import gets its address, and what is exported is published; a restart may date and number them anew."""
    loop.connect("web", SIDECAR)
    loop.journal.broken = True
    exported_by(loop)
    loop.own(EXPORTED)
    loop.step()
    assert (loop.controller.ready, list(loop.journal.vips)) == (True, [ECHO])
    assert export_key(ECHO) in loop.peers.published[-1]


def test_what_could_not_be_written_is_written_once_it_can_be(tmp_path: Path) -> None:
    """Nothing else has to happen for it; until then time asks for a pass again and again, with a pause between."""
    authority = started_authority()
    loop = ControlLoop(tmp_path, authority=authority)
    between_two_peers(loop)
    loop.journal.broken = True
    loop.say(WEST, BundleRecord("west.test", 2, ()))
    loop.step()
    assert loop.controller.on_time() is False
    loop.journal.broken = False
    loop.clock.advance(timedelta(seconds=5))
    assert loop.controller.on_time() is True
    loop.step()

    assert (loop.controller.unsaved, loop.controller.on_time()) == ((), False)
    assert Journal(tmp_path).revocations == loop.journal.revocations != Revocations()


# Clusterset IPs


def test_an_import_has_one_clusterset_ip_for_life(tmp_path: Path) -> None:
    """Other services come and go, the controller restarts: the address stays, and goes with the import."""
    loop = ControlLoop(tmp_path)
    loop.own({})
    exported_by(loop)
    loop.step()
    vip = loop.journal.vips[ECHO]
    loop.own({key("demo/web"): exported_state(of=key("demo/web"))})
    loop.step()
    restarted = ControlLoop(tmp_path, peers=loop.peers)
    restarted.own({})
    restarted.step()
    assert (loop.journal.vips[ECHO], restarted.journal.vips) == (vip, {ECHO: vip})

    restarted.withdraw(WEST, export_key(ECHO))
    restarted.step()
    assert restarted.journal.vips == {}


def test_an_export_that_becomes_valid_gets_its_clusterset_ip(loop: ControlLoop) -> None:
    """A ServiceExport without Service has no import and no address; with the Service come both."""
    loop.own({ECHO: ServiceState(export=service_export())})
    loop.step()
    assert loop.journal.vips == {}
    loop.own(EXPORTED)
    loop.step()
    assert list(loop.journal.vips) == [ECHO]
    loop.own({ECHO: ServiceState(export=service_export())})
    loop.step()
    assert loop.journal.vips == {}


# What a record concerns


def test_a_record_of_no_service_marks_the_members(loop: ControlLoop) -> None:
    """A gateway record that comes later than its peer's exports brings the peer's endpoints in."""
    loop.connect("web", SIDECAR)
    loop.own({})
    exported_by(loop)
    loop.withdraw(WEST, GATEWAY_KEY)
    loop.step()
    assert loop.names("web", "CDS") == []
    loop.say(WEST, gateway_record("192.0.2.1"))
    loop.step()
    assert loop.names("web", "CDS") == [HTTP]


def test_news_without_records_changes_nothing(loop: ControlLoop) -> None:
    """That a peer is silent or alive again concerns no service."""
    loop.own({})
    loop.step()
    loop.controller.on_peer(WEST, frozenset())
    loop.step()
    assert len(loop.peers.published) == 1


def test_a_local_port_opens_when_its_service_comes(loop: ControlLoop) -> None:
    """A configured local port has a listener as long as its service is imported."""
    local = LocalPort("demo", "echo", 80, Listen("127.0.0.1", 8001))
    loop.connect("web", SidecarNode(address="10.0.0.1", inbound_port=15006, outbound=(local,)))
    loop.own({})
    loop.step()
    assert loop.names("web", "LDS") == []
    exported_by(loop)
    loop.step()
    assert loop.names("web", "LDS") == ["local|127.0.0.1|8001"]
    loop.withdraw(WEST, export_key(ECHO))
    loop.step()
    assert loop.names("web", "LDS") == []


# Names


def test_names_are_known_after_the_first_whole_pass(loop: ControlLoop) -> None:
    """Before it nothing is known, which is not the same as nothing being there; then a name has its clusterset IP."""
    loop.peers.synced = False
    loop.own(EXPORTED)
    loop.controller.step()
    before = loop.controller.zone
    loop.peers.synced = True
    loop.step()
    zone = loop.controller.zone

    assert before is None
    assert zone is not None
    found = zone.find(("echo", "demo", "svc"))
    assert found is not None
    assert found.ipv4 == ((loop.journal.vips[ECHO],),)


def test_endpoints_of_a_peer_are_found_while_it_is_called(loop: ControlLoop) -> None:
    """A headless service has its peers' endpoints by trust and life, our own before them and theirs without us too."""

    def found() -> list[list[str]] | None:
        assert loop.controller.zone is not None
        node = loop.controller.zone.find(("echo", "demo", "svc"))
        return None if node is None else [[str(each) for each in group] for group in node.ipv4]

    loop.say(WEST, export_record(type=ImportType.HEADLESS), gateway_record("192.0.2.1", region="us"))
    loop.say(WEST, endpoints_record(addresses=[EndpointAddress(("10.1.0.1",))]))
    loop.own({})
    loop.step()
    seen = [found()]
    loop.say(WEST, bundle(WEST))
    loop.step()
    seen.append(found())
    here = endpoint_slice(endpoint("10.0.0.9"), endpoint("10.0.0.8", ready=False))
    loop.own({ECHO: ServiceState(service(headless=True), service_export(), (here,))})
    loop.step()
    seen.append(found())
    loop.judge(WEST, leased=False, gateway=False)
    loop.step()
    seen.append(found())
    loop.own({ECHO: None})
    loop.step()
    seen.append(found())

    assert seen == [None, [["10.1.0.1"]], [["10.0.0.9"], ["10.1.0.1"]], [["10.0.0.9"]], None]


# A cluster that is backed by Kubernetes


def test_clusterset_ips_that_others_allocate_are_taken_as_they_come(loop: ControlLoop) -> None:
    """A redirecting sidecar listens at the address once there is one, and no longer when it is gone."""
    loop.controller.on_vips({})
    loop.own({})
    exported_by(loop)
    loop.connect("web", SidecarNode(address="10.0.0.1", inbound_port=15006, redirect_port=15001))
    loop.step()
    seen = [loop.names("web", "LDS")]
    for vips in ({ECHO: IPv4Address("10.96.0.7")}, {}):
        loop.controller.on_vips(vips)
        loop.step()
        seen.append(loop.names("web", "LDS"))

    assert seen == [["redirect"], ["redirect", f"vip|{HTTP}"], ["redirect"]]


def test_names_follow_clusterset_ips_of_either_family(loop: ControlLoop) -> None:
    """One of IPv6 that comes or goes alone is reason enough for a pass."""
    ipv4, ipv6 = IPv4Address("10.96.0.7"), IPv6Address("fd00::7")
    loop.controller.on_vips({})
    loop.own({})
    exported_by(loop)
    seen = []
    for vips, ipv6_vips in (({ECHO: ipv4}, {}), ({ECHO: ipv4}, {ECHO: ipv6}), ({}, {ECHO: ipv6}), ({}, {})):
        loop.controller.on_vips(vips, ipv6_vips)
        loop.step()
        node = loop.controller.zone.find(("echo", "demo", "svc"))  # type: ignore[union-attr]
        assert node is not None
        seen.append((node.ipv4, node.ipv6))

    assert seen == [(((ipv4,),), ()), (((ipv4,),), ((ipv6,),)), ((), ((ipv6,),)), ((), ())]


def test_the_others_are_told_where_the_gateways_are_now(loop: ControlLoop) -> None:
    """A load balancer may get its address late, and another one later."""
    loop.own({})
    loop.step()
    told = []
    for addresses in ((), (HostPort("192.0.2.1", 15443), HostPort("192.0.2.2", 15443))):
        loop.controller.own_gateways.place(addresses)
        loop.step()
        record = loop.peers.published[-1][GATEWAY_KEY]
        assert isinstance(record, GatewayRecord)
        told.append(record.addresses)

    assert told == [(), (GatewayAddress("192.0.2.1", 15443), GatewayAddress("192.0.2.2", 15443))]


def test_a_restart_without_a_gateway_address_tells_the_last_ones(tmp_path: Path) -> None:
    """The Service may be without one just then; what peers were told stays until there is another."""
    loop = ControlLoop(tmp_path)
    loop.own({})
    loop.controller.own_gateways.place((HostPort("192.0.2.1", 15443),))
    loop.step()
    settings = replace(loop.settings, gateway=GatewaySettings(()))
    told = []
    empty = tmp_path / "empty"
    empty.mkdir()
    for journal in (Journal(tmp_path), Journal(empty)):
        again = Controller(
            settings,
            members=(),
            peers=loop.peers,
            gateways=loop.gateways,
            authority=loop.authority,
            dataplane=loop.dataplane,
            journal=journal,
            clock=loop.clock.now,
            monotonic=lambda: 0.0,
        )
        again.on_source(SourceUpdate(ClusterState(), frozenset(), ()))
        again.step()
        record = loop.peers.published[-1][GATEWAY_KEY]
        assert isinstance(record, GatewayRecord)
        told.append(record.addresses)

    assert told == [(GatewayAddress("192.0.2.1", 15443),), ()]


def test_gateways_known_by_a_name_are_called_where_it_leads_to(served: ControlLoop) -> None:
    """Nobody is probed or called before the name has an address; an answer marks a pass, and is in the journal."""
    served.say(WEST, gateway_record("west.example", region="eu"))
    served.step()
    assert (served.gateways.followed[WEST], called(served)) == ((), [NORTH])
    assert served.controller.surroundings.names == {WEST: ("west.example",)}
    served.controller.on_gateway_names({"west.example": ("192.0.2.7",)})
    served.step()

    assert (served.gateways.followed[WEST], called(served)) == ((GatewayAddress("192.0.2.7", 15443),), [WEST, NORTH])
    assert served.journal.gateway_names == {"west.example": ("192.0.2.7",)}
