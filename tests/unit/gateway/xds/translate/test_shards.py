"""What a gateway finds of shards, though the cache holds the service ports alone."""

from __future__ import annotations

from federation.model.names import shard_sni, sni
from gateway.ir.model import ExportedPort, Upstream
from gateway.ir.shards import SHARDS
from gateway.xds import protos as pb
from gateway.xds.references import Reference
from gateway.xds.resources import ResourceSet, message_of
from gateway.xds.translate.access_log import service_metadata
from gateway.xds.translate.services import export_resources
from gateway.xds.translate.shards import ShardDerivation
from support.builders import ECHO

NAME = sni(ECHO, 80)


def exported(count: int) -> ResourceSet:
    """The service port with so many endpoints, 10.0.0.0 in slot 0 and so on."""
    upstreams = tuple(Upstream(f"10.0.0.{slot}", 15006) for slot in range(count))
    return ResourceSet(export_resources(ExportedPort(ECHO, 80, upstreams)))


def levels(count: int, shard: int) -> list[list[int]]:
    """The slots that a shard leads to, by priority."""
    found = ShardDerivation().derive(exported(count), Reference(pb.ENDPOINT, shard_sni(NAME, shard)))
    assert found is not None
    localities = sorted(message_of(found).endpoints, key=lambda locality: locality.priority)
    assert [locality.priority for locality in localities] == list(range(len(localities)))
    return [
        [int(host.endpoint.address.socket_address.address.rpartition(".")[2]) for host in locality.lb_endpoints]
        for locality in localities
    ]


def test_a_shard_leads_to_the_endpoints_of_its_slots_first() -> None:
    """Slots are dealt out in turn; the others are there for when those are not."""
    assert levels(5, 2) == [[2], [0, 1, 3, 4]]
    assert levels(SHARDS + 2, 1) == [[1, SHARDS + 1], [0, *range(2, SHARDS + 1)]]


def test_a_shard_without_an_endpoint_leads_to_all() -> None:
    """A caller that has not heard yet that endpoints became fewer is served nevertheless."""
    assert levels(2, 5) == [[0, 1]]
    assert levels(0, 0) == []


def test_the_cluster_of_a_shard_finds_its_endpoints_under_its_own_name() -> None:
    """On-demand discovery and endpoints share one name."""
    key = Reference(pb.CLUSTER, shard_sni(NAME, 3))
    found = ShardDerivation().derive(exported(5), key)
    assert found is not None
    assert (found.key, found.references) == (key, (Reference(pb.ENDPOINT, key.name),))


def test_the_cluster_of_a_shard_says_which_service_is_behind_it() -> None:
    """What a gateway counts and logs of a shard counts for the service port."""
    found = ShardDerivation().derive(exported(5), Reference(pb.CLUSTER, shard_sni(NAME, 3)))
    assert found is not None
    assert message_of(found).metadata == service_metadata(ExportedPort(ECHO, 80, ()))


def test_nothing_is_derived_from_what_is_not_there() -> None:
    """Neither shards of unknown services, nor more of them than there are, nor other types."""
    derive, there = ShardDerivation().derive, exported(3)
    assert derive(there, Reference(pb.CLUSTER, shard_sni(sni(ECHO, 81), 0))) is None
    assert derive(there, Reference(pb.CLUSTER, shard_sni(NAME, SHARDS))) is None
    assert derive(there, Reference(pb.LISTENER, shard_sni(NAME, 0))) is None
    assert derive(there, Reference(pb.CLUSTER, "federation")) is None


def test_whoever_asked_for_a_shard_hears_when_its_service_changes() -> None:
    """Every name that can be derived follows from the name that it is derived from."""
    derivation, there = ShardDerivation(), exported(3)
    for source in there:
        names = list(derivation.derived_from(source.key))
        assert names == [Reference(source.type_url, shard_sni(NAME, shard)) for shard in range(SHARDS)]
        assert all(derivation.derive(there, key) is not None for key in names)
    assert list(derivation.derived_from(Reference(pb.LISTENER, "gateway"))) == []
    assert list(derivation.derived_from(Reference(pb.ENDPOINT, shard_sni(NAME, 0)))) == []
