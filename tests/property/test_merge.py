"""Properties of the merge over any set of exports."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from itertools import chain

from hypothesis import given
from hypothesis import strategies as st

from federation.model.merge import conflict_condition, merge_all, merge_service
from federation.model.names import ClusterId, ServiceKey
from federation.model.records import EndpointsRecord, ExportRecord, ImportType
from federation.model.state import Protocol, ServicePort
from federation.model.view import MergedService
from support.builders import after, endpoints_record, export_record, key

Export = tuple[ExportRecord, EndpointsRecord | None]
Exports = dict[ClusterId, dict[ServiceKey, Export]]

KEYS = [key("demo/echo"), key("demo/web"), key("shop/echo")]
CLUSTERS = [ClusterId(name) for name in ("c0", "c1", "c2", "c3")]

# Few values each, so that clashes are the rule.
ports = st.builds(
    ServicePort,
    name=st.sampled_from(["", "a", "b", "c"]),
    protocol=st.sampled_from([Protocol.TCP, Protocol.UDP]),
    port=st.integers(80, 83),
    app_protocol=st.sampled_from([None, "http"]),
)
pairs = st.dictionaries(st.sampled_from(["x", "y"]), st.sampled_from(["1", "2"]), max_size=2)


@st.composite
def exports_of(draw: st.DrawFn, of: ServiceKey) -> Export:
    record = export_record(
        of,
        created=after(draw(st.integers(0, 2))),
        type=draw(st.sampled_from([*ImportType, ImportType.CLUSTER_SET_IP])),
        ports=draw(st.lists(ports, max_size=4)),
        session_affinity=draw(st.sampled_from(["None", "ClientIP"])),
        session_affinity_timeout_seconds=draw(st.sampled_from([None, 10, 10800])),
        internal_traffic_policy=draw(st.sampled_from([None, "Cluster", "Local"])),
        traffic_distribution=draw(st.sampled_from([None, "PreferClose", "PreferSameZone"])),
        ip_families=draw(st.sampled_from([("IPv4",), ("IPv6",), ("IPv4", "IPv6"), ("IPv6", "IPv4")])),
        labels=draw(pairs),
        annotations=draw(pairs),
    )
    return record, draw(st.sampled_from([None, endpoints_record(of), endpoints_record(of, zones={"a": 2})]))


def one_service(*, min_size: int = 0) -> st.SearchStrategy[dict[ClusterId, Export]]:
    return st.dictionaries(st.sampled_from(CLUSTERS), exports_of(KEYS[0]), min_size=min_size)


many_services = st.fixed_dictionaries(
    {cluster: st.fixed_dictionaries({}, optional={of: exports_of(of) for of in KEYS}) for cluster in CLUSTERS}
)


def alone(exports: Mapping[ClusterId, Mapping[ServiceKey, Export]], of: ServiceKey) -> dict[ClusterId, Export]:
    return {cluster: services[of] for cluster, services in exports.items() if of in services}


@given(one_service(), st.randoms(use_true_random=False))
def test_input_order_does_not_matter(exports: dict[ClusterId, Export], random: st.Random) -> None:
    """Records merge to the same in whatever order they came."""
    shuffled = list(exports.items())
    random.shuffle(shuffled)
    assert merge_service(KEYS[0], exports) == merge_service(KEYS[0], dict(shuffled))


@given(one_service(min_size=1))
def test_merging_the_result_again_changes_nothing(exports: dict[ClusterId, Export]) -> None:
    """The import, exported as such by one cluster, is its own merge: no rule is applied twice."""
    first = merge_service(KEYS[0], exports)
    assert first is not None
    again = merge_service(
        KEYS[0],
        {
            CLUSTERS[0]: (
                export_record(
                    KEYS[0],
                    type=first.type,
                    ports=[ServicePort(p.name, p.protocol, p.port, p.app_protocol) for p in first.ports],
                    session_affinity=first.session_affinity,
                    session_affinity_timeout_seconds=first.session_affinity_timeout_seconds,
                    internal_traffic_policy=first.internal_traffic_policy,
                    traffic_distribution=first.traffic_distribution,
                    ip_families=first.ip_families,
                    labels=dict(first.labels),
                    annotations=dict(first.annotations),
                ),
                None,
            )
        },
    )
    assert again is not None

    def properties(service: MergedService) -> MergedService:
        """All but what names clusters."""
        ports = tuple(replace(port, clusters=()) for port in service.ports)
        return replace(service, ports=ports, backends=(), conflicts=())

    assert properties(first) == properties(again)
    assert again.conflicts == ()


@given(one_service(min_size=1))
def test_ports_are_unique(exports: dict[ClusterId, Export]) -> None:
    """An import never has two ports of one name, nor two of one protocol and number."""
    merged = merge_service(KEYS[0], exports)
    assert merged is not None
    names = [port.name for port in merged.ports]
    numbers = [(port.protocol, port.port) for port in merged.ports]
    assert (len(names), len(numbers)) == (len(set(names)), len(set(numbers)))


@given(one_service(min_size=1))
def test_ports_are_backed_by_those_who_have_them(exports: dict[ClusterId, Export]) -> None:
    """Every port of an import is backed by exactly the backends that export it, and by at least one."""
    merged = merge_service(KEYS[0], exports)
    assert merged is not None
    for port in merged.ports:
        expected = sorted(
            backend.cluster
            for backend in merged.backends
            if any(
                (port.name, port.protocol, port.port) == (own.name, own.protocol, own.port)
                for own in exports[backend.cluster][0].ports
            )
        )
        assert expected == list(port.clusters) != []


@given(one_service(min_size=1))
def test_every_port_left_out_clashes(exports: dict[ClusterId, Export]) -> None:
    """A port of a backend is missing from the import only where its name or its number is taken there."""
    merged = merge_service(KEYS[0], exports)
    assert merged is not None
    names = {port.name for port in merged.ports}
    numbers = {(port.protocol, port.port) for port in merged.ports}
    for port in chain.from_iterable(exports[backend.cluster][0].ports for backend in merged.backends):
        assert port.name in names or (port.protocol, port.port) in numbers


@given(one_service(min_size=1))
def test_the_oldest_export_always_backs_the_service(exports: dict[ClusterId, Export]) -> None:
    """The first backend is the oldest export, and nobody of the other type stands beside it."""
    merged = merge_service(KEYS[0], exports)
    assert merged is not None
    oldest = min(exports, key=lambda cluster: (exports[cluster][0].created, cluster))
    assert oldest == merged.backends[0].cluster
    assert {merged.type} == {exports[backend.cluster][0].type for backend in merged.backends}
    assert merged.ip_families != ()


@given(one_service(min_size=1))
def test_one_cluster_alone_agrees_with_itself(exports: dict[ClusterId, Export]) -> None:
    """Conflicts need two: each export merged alone reports none."""
    for cluster, export in exports.items():
        merged = merge_service(KEYS[0], {cluster: export})
        assert merged is not None
        assert conflict_condition(merged).reason == "NoConflicts"


@given(many_services, many_services, st.sampled_from(KEYS))
def test_merging_only_the_changed_key_equals_merging_all(before: Exports, after_: Exports, changed: ServiceKey) -> None:
    """When one key changed, folding its own merge into the old result gives the full new one."""
    now = {cluster: dict(services) for cluster, services in before.items()}
    for cluster, services in now.items():
        services.pop(changed, None)
        if changed in after_[cluster]:
            services[changed] = after_[cluster][changed]
    incremental = merge_all(before)
    merged = merge_service(changed, alone(now, changed))
    if merged is None:
        incremental.pop(changed, None)
    else:
        incremental[changed] = merged
    assert merge_all(now) == incremental
