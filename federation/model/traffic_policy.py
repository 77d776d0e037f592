"""TrafficPolicy: what a cluster wants of its calls to a service, and what its own endpoints can take of others' calls.

Values only. A field that is None was left out, and means what it means without any policy (docs/decisions/003); what
then counts for a service is ``traffic_resolution``'s. Knows no manifest and no Envoy.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

from federation.model.names import ClusterId, ServiceKey

API_GROUP: Final = "federation-gateway.dev"
API_VERSION: Final = f"{API_GROUP}/v1alpha1"
KIND: Final = "TrafficPolicy"

MAX_WEIGHT: Final = 1000
"""Of one cluster in its tier: a share of a thousandth is the least that can be asked for."""


class Scope(StrEnum):
    """Clusters named by how near they are."""

    OWN_CLUSTER = "OwnCluster"
    OWN_REGION = "OwnRegion"
    """Those of the own region, the own cluster among them where no tier before has it."""
    OTHERS = "Others"
    """All that no tier has, here or further down."""


@dataclass(frozen=True, slots=True)
class ClusterShare:
    """One cluster of a tier."""

    cluster: ClusterId
    weight: int | None = None
    """0 to ``MAX_WEIGHT``, relative to the others of the tier; 0 is called as one that no tier has. None in a tier
    whose clusters are used by what they have ready."""


@dataclass(frozen=True, slots=True)
class Tier:
    """Clusters that are used together; exactly one of the three is set."""

    clusters: tuple[ClusterShare, ...] = ()
    region: str = ""
    scope: Scope | None = None


class Unlisted(StrEnum):
    """What becomes of clusters that no tier has."""

    LAST = "Last"
    """They are called behind all tiers, in the order that holds without a policy."""
    NEVER = "Never"


@dataclass(frozen=True, slots=True)
class Failover:
    """Where calls go, and when they begin to go further."""

    order: tuple[Tier, ...] = ()
    """The first that has something healthy is called. Empty: own cluster, own region, the others."""
    unlisted: Unlisted = Unlisted.LAST
    threshold_percent: int | None = None
    """1 to 100: where less of a tier is healthy than this, the rest of its calls goes to the next one."""


class Algorithm(StrEnum):
    ROUND_ROBIN = "RoundRobin"
    LEAST_REQUEST = "LeastRequest"
    RING_HASH = "RingHash"


class HashSource(StrEnum):
    """What calls that belong together have in common."""

    HEADER = "Header"
    COOKIE = "Cookie"
    SOURCE_ADDRESS = "SourceAddress"


@dataclass(frozen=True, slots=True)
class HashKey:
    source: HashSource
    name: str = ""
    """Of the header or the cookie."""


@dataclass(frozen=True, slots=True)
class LoadBalancing:
    """Which endpoint of a tier a call goes to."""

    algorithm: Algorithm = Algorithm.LEAST_REQUEST
    hash_key: HashKey | None = None
    """Set exactly where the algorithm is a ring hash."""
    service_affinity: bool = False
    """Whether ``sessionAffinity: ClientIP`` of the Service is kept: by source address, over a ring hash."""
    ramp_ms: int = 0
    """How long an endpoint that comes, or comes back, gets less than its part of calls; 0: not at all."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one caller's proxy may have open at a time, to all clusters together; None: no limit."""

    connections: int | None = None
    pending_requests: int | None = None
    requests: int | None = None


@dataclass(frozen=True, slots=True)
class Retries:
    """How often a call is tried, and how much that may add to what is in flight."""

    attempts: int = 2
    """Tries after the first; 0: none."""
    budget_percent: int = 20
    min_concurrent: int = 200
    """Retries that are always allowed at a time, however little is in flight."""
    hedge_after_ms: int = 500
    """After how long without an answer a call that may be repeated also goes elsewhere; 0: never."""


@dataclass(frozen=True, slots=True)
class Timeouts:
    """0: none."""

    connect_ms: int = 1000
    request_ms: int = 0
    """Of a call as a whole, with its tries."""
    backend_request_ms: int = 0
    """Of one try; takes the place of hedging."""
    idle_ms: int = 0
    """Without a byte either way."""


@dataclass(frozen=True, slots=True)
class OutlierDetection:
    """When an endpoint is left alone for a while."""

    consecutive_failures: int | None = None
    """0: never. None: 3 for HTTP, 1 for TCP."""
    interval_ms: int = 1000
    base_ejection_ms: int = 5000
    max_ejection_ms: int = 30_000
    max_ejected_percent: int = 100


@dataclass(frozen=True, slots=True)
class Capacity:
    """What the own endpoints can take of the calls of other clusters."""

    requests_per_endpoint: int
    """Calls at a time that one ready endpoint can serve."""
    others_percent: int = 100
    """How much of it other clusters may use."""

    @property
    def others_per_endpoint(self) -> int:
        """Calls of other clusters that one endpoint takes at a time; never 0, which would be no service at all."""
        return max(1, self.requests_per_endpoint * self.others_percent // 100)


@dataclass(frozen=True, slots=True)
class TrafficSettings:
    """What counts for one service: every section, those that nobody stated with what holds without a policy."""

    failover: Failover = Failover()
    load_balancing: LoadBalancing = LoadBalancing()
    limits: Limits = Limits()
    retries: Retries = Retries()
    timeouts: Timeouts = Timeouts()
    outlier_detection: OutlierDetection = OutlierDetection()
    capacity: Capacity | None = None


DEFAULTS: Final = TrafficSettings()
"""What counts without a policy."""


@dataclass(frozen=True, slots=True)
class PolicySpec:
    """The sections that a policy states; None: it says nothing of that."""

    failover: Failover | None = None
    load_balancing: LoadBalancing | None = None
    limits: Limits | None = None
    retries: Retries | None = None
    timeouts: Timeouts | None = None
    outlier_detection: OutlierDetection | None = None
    capacity: Capacity | None = None


class TargetKind(StrEnum):
    SERVICE = "Service"
    SERVICE_IMPORT = "ServiceImport"


@dataclass(frozen=True, slots=True, order=True)
class Target:
    """A service of the policy's namespace. Either kind means the service as the clusterset calls it."""

    name: str
    kind: TargetKind = TargetKind.SERVICE


@dataclass(frozen=True, slots=True)
class TrafficPolicy:
    namespace: str
    name: str
    spec: PolicySpec
    targets: tuple[Target, ...] = ()
    """Sorted, each service once; none: every service of the namespace."""
    created: datetime | None = None
    """UTC, whole seconds. One without a time, in a file, is younger than all that have one."""
    generation: int | None = None
    """``metadata.generation``, where the source has one: what a condition of the object speaks of."""

    @property
    def services(self) -> tuple[ServiceKey, ...]:
        return tuple(ServiceKey(self.namespace, target.name) for target in self.targets)

    def __str__(self) -> str:
        return f"{KIND} {self.namespace}/{self.name}"
