"""One type's state; its behaviour as a protocol is in tests/stream."""

from __future__ import annotations

from gateway.xds import protos as pb
from gateway.xds.cache import NodeView
from gateway.xds.delivery import Delivery, DeltaResponse, Gate
from gateway.xds.resources import ResourceSet
from gateway.xds.subscription import SubscriptionChange
from support.xds import endpoints


def view(*names: str) -> NodeView:
    return NodeView(ResourceSet(endpoints(name) for name in names), ResourceSet())


def wildcard(seen: NodeView) -> Delivery:
    delivery = Delivery(pb.ENDPOINT, 1 << 20)
    delivery.request(SubscriptionChange(), seen)
    return delivery


def test_a_response_goes_on_the_wire() -> None:
    """With its nonce, its resources and what is gone."""
    response = DeltaResponse(pb.ENDPOINT, "7", (endpoints("a"),), ("b",))

    read = pb.DeltaDiscoveryResponse.FromString(response.wire())

    assert (read.nonce, read.resources[0].name, list(read.removed_resources)) == ("7", "a", ["b"])


def test_what_a_gate_holds_stays_due() -> None:
    """The rest goes; the held goes when the gate opens."""
    seen = view("a", "b")
    delivery = wildcard(seen)

    first = delivery.next(seen, "1", Gate(holds=lambda resource: resource.name == "a"))
    delivery.answer("1", None)
    assert delivery.busy
    second = delivery.next(seen, "2", Gate())

    assert [first and first.resources, second and second.resources] == [(endpoints("b"),), (endpoints("a"),)]


def test_a_name_is_unsettled_until_its_first_answer() -> None:
    """Due, under way, answered; an update does not unsettle it again."""
    seen = view("a")
    delivery = wildcard(seen)
    assert delivery.unsettled("a")

    delivery.next(seen, "1", Gate())
    assert delivery.unsettled("a")
    assert delivery.unproven("a")

    delivery.answer("1", None)
    assert not delivery.unsettled("a")
    assert delivery.quiet

    delivery.changed(["a"])
    assert not delivery.unsettled("a")


def test_acknowledgements_are_counted() -> None:
    """Only of the response under way."""
    seen = view("a")
    delivery = wildcard(seen)
    delivery.next(seen, "1", Gate())

    assert not delivery.answer("0", None)
    assert delivery.answer("1", None)
    assert not delivery.answer("1", None)
    assert delivery.acked == 1


def test_what_the_client_has_taken_is_what_it_accepted() -> None:
    """A version counts from its ACK on: not while it is under way, not once it is refused."""
    seen = view("a", "b")
    delivery = Delivery(pb.ENDPOINT, 1 << 20)
    delivery.request(SubscriptionChange(("a", "missing")), seen)
    found = [delivery.taken]

    delivery.next(seen, "1", Gate())
    found.append(delivery.taken)
    delivery.answer("1", None)
    found.append(delivery.taken)
    newer = NodeView(ResourceSet([endpoints("a", 81)]), ResourceSet())
    delivery.changed(["a"])
    delivery.next(newer, "2", Gate())
    delivery.answer("2", "no")
    found.append(delivery.taken)

    nothing = {"a": "", "missing": ""}
    assert found == [nothing, nothing, {"a": endpoints("a").version, "missing": ""}, nothing]
