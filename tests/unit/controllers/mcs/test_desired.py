"""The objects of a service beyond the cases of tests/golden/mcs: what is known of nothing."""

from __future__ import annotations

from controllers.mcs.desired import DesiredObjects, KubernetesCluster, desired_objects
from controllers.mcs.export_status import Delivery, Publication
from controllers.mcs.objects import export_id
from controllers.mcs.served_api import ServedApi
from controllers.projection import Surroundings
from federation.model.locality import Site
from federation.model.state import ServiceState
from support.builders import CREATED, EAST, ECHO

AROUND = Surroundings(Site(EAST, "eu", ""), "east.test", 15006)
PENDING = Publication(Delivery.PENDING)


def desired(*namespaces: str, export: bool = True) -> DesiredObjects:
    """The objects of a service of which nothing is known but that its export may be there."""
    return desired_objects(
        ECHO,
        None,
        ServiceState(),
        {export_id(ECHO): {"metadata": {"name": "echo"}}} if export else {},
        around=AROUND,
        cluster=KubernetesCluster(frozenset(namespaces), ServedApi()),
        publication=PENDING,
        now=CREATED,
    )


def test_an_export_that_nothing_is_known_of_gets_its_status_and_no_import() -> None:
    """Whoever made it is told what is wrong with it."""
    (status,) = desired("demo").applied

    assert (status.id, status.subresource) == (export_id(ECHO), "status")


def test_nothing_is_desired_of_what_is_not_there() -> None:
    """Without an export, and without its namespace."""
    assert desired("demo", export=False) == DesiredObjects(())
    assert desired("other") == DesiredObjects(())
