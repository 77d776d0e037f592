"""Attribution: which service an observed object belongs to, and for whom there was news."""

from __future__ import annotations

from typing import Final

from controllers.kube.attribution import Attribution
from controllers.sources.manifests import ObjectId
from federation.model.names import ServiceKey

API: Final = ServiceKey("shop", "api")
WEB: Final = ServiceKey("shop", "web")
ONE: Final = ObjectId("Service", "shop", "one")
TWO: Final = ObjectId("Service", "shop", "two")


def test_an_object_belongs_to_the_service_that_it_was_last_assigned_to() -> None:
    services = Attribution()
    services.assign(ONE, API)
    services.assign(TWO, API)
    services.assign(ONE, WEB)
    assert (services.of(API), services.of(WEB)) == ({TWO}, {ONE})
    assert services.keys == {API, WEB}


def test_a_move_is_news_for_both_services_and_told_once() -> None:
    services = Attribution()
    services.assign(ONE, API)
    assert services.take_changed() == {API}
    services.assign(ONE, WEB)
    assert services.take_changed() == {API, WEB}
    assert services.take_changed() == set()


def test_another_content_of_an_object_is_news_for_its_service() -> None:
    services = Attribution()
    services.assign(ONE, API)
    services.take_changed()
    services.assign(ONE, API)
    assert services.take_changed() == {API}


def test_a_service_without_objects_is_not_known_and_the_last_to_go_is_news() -> None:
    services = Attribution()
    services.assign(ONE, API)
    services.take_changed()
    services.assign(ONE, None)
    assert (services.keys, services.of(API), services.take_changed()) == (frozenset(), frozenset(), {API})


def test_an_object_that_never_belonged_to_a_service_is_news_for_none() -> None:
    services = Attribution()
    services.assign(ONE, None)
    assert services.take_changed() == set()


def test_news_from_elsewhere_is_told_with_the_rest() -> None:
    services = Attribution()
    services.assign(ONE, API)
    services.mark([WEB])
    assert services.take_changed() == {API, WEB}
