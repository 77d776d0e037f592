"""ClusterProperty: who this cluster is, and which clusterset it is in, for everybody in it (KEP-2149). Pure.

``cluster.clusterset.k8s.io`` must not change while the cluster is a member, ``clusterset.k8s.io`` exists exactly as
long as it is one. What somebody else wrote is read and never overwritten: where it says something else than our
settings, one of the two is wrong, a human must say which, and until then the cluster is not marked as a member.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from controllers.mcs.objects import MANAGED_BY, MANAGER, Apply, Observed, section, text
from controllers.mcs.owned_fields import is_ours_to_write
from controllers.sources.manifests import ObjectId
from federation.model.names import ClusterId, is_dns_label
from federation.model.problems import Problem

GROUP: Final = "about.k8s.io"
API_VERSION: Final = f"{GROUP}/v1beta1"
CLUSTER_PROPERTY: Final = ObjectId("ClusterProperty", "", "cluster.clusterset.k8s.io")
CLUSTERSET_PROPERTY: Final = ObjectId("ClusterProperty", "", "clusterset.k8s.io")


@dataclass(frozen=True, slots=True)
class ClusterIdentity:
    """What the cluster's properties say, whoever wrote them."""

    cluster: str = ""
    """Its id; empty where there is none."""
    clusterset: str = ""
    """The clusterset that it is a member of; empty where it is in none."""


def read_identity(observed: Observed) -> ClusterIdentity:
    """Who the cluster is by its properties."""
    return ClusterIdentity(_value(observed, CLUSTER_PROPERTY), _value(observed, CLUSTERSET_PROPERTY))


def check_identity(observed: Observed, cluster: ClusterId, clusterset: str) -> tuple[Problem, ...]:
    """Why this cluster must not be, or become, the member ``cluster`` of ``clusterset``; nothing where it may.

    Only what others wrote counts: what we wrote follows the settings. A cluster without an id is no problem, since
    joining gives it one.
    """
    identity = read_identity({id_: found for id_, found in observed.items() if not is_ours_to_write(id_, found)})
    problems: list[Problem] = []
    if identity.cluster and not is_dns_label(identity.cluster):
        problems.append(
            _problem(
                CLUSTER_PROPERTY,
                "InvalidClusterId",
                f"{identity.cluster!r} is no DNS label of at most 63 characters; give the cluster another id",
            )
        )
    elif identity.cluster and identity.cluster != cluster:
        problems.append(
            _problem(
                CLUSTER_PROPERTY,
                "ClusterIdDiffers",
                f"the cluster's id is {identity.cluster!r} and its settings say {cluster!r};"
                f" set cluster: {identity.cluster} before it joins, or leave and join under the other id",
            )
        )
    if identity.clusterset and identity.clusterset != clusterset:
        problems.append(
            _problem(
                CLUSTERSET_PROPERTY,
                "OtherClusterset",
                f"the cluster is a member of clusterset {identity.clusterset!r}, and can be in one only;"
                f" leave that one before it joins {clusterset!r}",
            )
        )
    return tuple(problems)


def desired_properties(
    observed: Observed, cluster: ClusterId, clusterset: str, *, member: bool, api_version: str = API_VERSION
) -> tuple[Apply, ...]:
    """The properties that are ours to state, in a version that is served.

    The id outlives the membership, since the cluster is who it was; the clusterset does not, and is not stated while
    anything contradicts it.
    """
    wanted: list[Apply] = []
    if _own(observed, CLUSTER_PROPERTY) or (member and CLUSTER_PROPERTY not in observed):
        wanted.append(_stated(CLUSTER_PROPERTY, cluster, api_version))
    if member and (_own(observed, CLUSTERSET_PROPERTY) or CLUSTERSET_PROPERTY not in observed):
        contradicted = check_identity(observed, cluster, clusterset)
        wanted += () if contradicted else (_stated(CLUSTERSET_PROPERTY, clusterset, api_version),)
    return tuple(wanted)


def _value(observed: Observed, id_: ObjectId) -> str:
    return text(section(observed.get(id_), "spec").get("value"))


def _own(observed: Observed, id_: ObjectId) -> bool:
    return id_ in observed and is_ours_to_write(id_, observed[id_])


def _stated(id_: ObjectId, value: str, api_version: str) -> Apply:
    document = {
        "apiVersion": api_version,
        "kind": id_.kind,
        "metadata": {"name": id_.name, "labels": {MANAGED_BY[id_.kind]: MANAGER}},
        "spec": {"value": value},
    }
    return Apply(id_, "", document)


def _problem(id_: ObjectId, reason: str, message: str) -> Problem:
    return Problem(str(id_), reason, message, "spec.value")
