"""Properties of clusterset IPs over any coming and going of services."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network

from hypothesis import given
from hypothesis import strategies as st

from federation.model.names import ServiceKey
from federation.model.vips import assign_vips
from support.builders import key

NETWORK = IPv4Network("240.96.0.0/28")
KEYS = [key(f"demo/s{number}") for number in range(20)]
Wanted = list[ServiceKey]
wanted = st.lists(st.sampled_from(KEYS), unique=True)


@given(st.lists(wanted, max_size=12))
def test_an_address_stays_for_the_life_of_its_service(history: list[Wanted]) -> None:
    """A service that is wanted time after time keeps its address; no two ever share one."""
    table: dict[ServiceKey, IPv4Address] = {}
    for names in history:
        before, table = table, assign_vips(table, names, NETWORK)
        assert {of: table[of] for of in before if of in names} == {of: before[of] for of in before if of in names}
        assert len(set(table.values())) == len(table) == min(len(names), NETWORK.num_addresses - 2)
        assert set(table) <= set(names)
        assert set(table.values()) <= set(NETWORK.hosts())


@given(wanted, st.randoms(use_true_random=False))
def test_the_order_of_services_does_not_matter(names: Wanted, random: st.Random) -> None:
    """Addresses depend on who is wanted, not on the order in which they were named."""
    shuffled = names.copy()
    random.shuffle(shuffled)
    assert assign_vips({}, names, NETWORK) == assign_vips({}, shuffled, NETWORK)
