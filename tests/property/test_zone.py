"""Properties of the zone: any history of changes ends where building everything ends, and a change costs its own."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network

from hypothesis import given, settings
from hypothesis import strategies as st

from controllers.dns.zone import Zone, ZoneView
from controllers.projection import ServiceResult
from federation.model.export import Exported
from federation.model.merge import merge_service
from federation.model.names import ClusterId, ServiceKey
from federation.model.records import EndpointAddress, ImportType
from federation.model.vips import assign_vips
from support.builders import EAST, NORTH, WEST, after, endpoints_record, export_record, key, port

KEYS = [key("demo/echo"), key("demo/web"), key("shop/echo"), key("shop/db"), key("svc/svc")]
CLUSTERS = [EAST, WEST, NORTH]
# Fewer than there are services: some wait for an address to come free.
NETWORK = IPv4Network("240.96.0.0/29")

addresses = st.sampled_from(["10.0.0.1", "10.0.0.2", "fd00::1", "fd00::", "no address"])
endpoints = st.builds(
    EndpointAddress,
    st.lists(addresses, min_size=1, max_size=2).map(tuple),
    st.sampled_from(["", "", "db-0", "db-1", "Not.A.Label"]),
)
ports = st.lists(st.sampled_from([port(), port(80, "http", "UDP"), port(53, "dns", "UDP"), port(1, "")]), max_size=3)


@st.composite
def results(draw: st.DrawFn, of: ServiceKey) -> ServiceResult:
    exports = {}
    for cluster in draw(st.lists(st.sampled_from(CLUSTERS), unique=True, max_size=3)):
        export = export_record(
            of,
            created=after(draw(st.integers(0, 2))),
            type=draw(st.sampled_from(ImportType)),
            ports=draw(ports),
        )
        exports[cluster] = export, endpoints_record(of, addresses=draw(st.lists(endpoints, max_size=3)))
    nearest: tuple[tuple[ClusterId, ...], ...] = draw(st.sampled_from([(), ((EAST,), (NORTH, WEST)), ((WEST,),)]))
    return ServiceResult(Exported(), merge_service(of, exports), (), (), nearest)


passes = st.dictionaries(st.sampled_from(KEYS), st.none(), max_size=3).flatmap(
    lambda keys: st.fixed_dictionaries({of: st.none() | results(of) for of in keys})
)


def whole(held: dict[ServiceKey, ServiceResult], vips: dict[ServiceKey, IPv4Address]) -> ZoneView | None:
    zone = Zone()
    zone.update(held, held, vips, 0)
    return zone.view


@settings(max_examples=60, deadline=None)
@given(st.lists(passes, max_size=8))
def test_any_history_of_changes_ends_where_building_everything_ends(
    history: list[dict[ServiceKey, ServiceResult | None]],
) -> None:
    """After each pass the zone is the one that a fresh start builds, and names no other service's are replaced."""
    zone = Zone()
    held: dict[ServiceKey, ServiceResult] = {}
    vips: dict[ServiceKey, IPv4Address] = {}
    for number, changes in enumerate(history):
        before = {} if zone.view is None else dict(zone.view.services)
        moved = dict(vips)
        held |= {of: result for of, result in changes.items() if result is not None}
        held = {of: result for of, result in held.items() if changes.get(of, result) is not None}
        vips = assign_vips(vips, [of for of, result in held.items() if result.merged is not None], NETWORK)
        zone.update(changes, held, vips, number)

        assert zone.view == whole(held, vips)
        assert zone.view is not None
        untouched = before.keys() - changes.keys() - {of for of, _ in moved.items() ^ vips.items()}
        assert all(zone.view.services[of] is before[of] for of in untouched)


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(KEYS).flatmap(results))
def test_every_name_has_all_the_names_above_it(result: ServiceResult) -> None:
    """No name exists below one that does not, so that NXDOMAIN is true of everything below (RFC 8020)."""
    if result.merged is None:
        return
    of = result.merged.key
    view = whole({of: result}, {})
    assert view is not None
    for labels in view.names_of(of):
        name = (*labels, of.name, of.namespace, "svc")
        assert all(view.find(name[start:]) is not None for start in range(len(name) + 1))


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(KEYS).flatmap(results))
def test_nothing_is_said_at_a_cluster_of_a_service(result: ServiceResult) -> None:
    """``<cluster>.<service>`` holds no record, for either type: the specification keeps the name for itself."""
    if result.merged is None:
        return
    of = result.merged.key
    view = whole({of: result}, {of: IPv4Address("240.96.0.1")})
    assert view is not None
    found = [view.find((cluster, of.name, of.namespace, "svc")) for cluster in CLUSTERS]
    assert all(node is None or node.empty for node in found)
