"""Structural schemas of the built-in kinds: what lists are keyed by, what is defaulted, what must be there. Pure.

They say what this project's objects need. Where a kind is OPEN its fields are kept as they come, lists whole.
"""

from __future__ import annotations

from typing import Any, Final

from support.kube.objects import Json
from support.kube.schema import INT_OR_STRING, LIST_KEYS, LIST_TYPE, MICROSECONDS, PRESERVE

MERGE_KEY: Final = "x-kubernetes-patch-merge-key"
"""The key that a strategic merge patch joins a list's items by, which may differ from those of server-side apply."""

STRING: Final[Json] = {"type": "string"}
BOOLEAN: Final[Json] = {"type": "boolean"}
INTEGER: Final[Json] = {"type": "integer", "format": "int32"}
TIME: Final[Json] = {"type": "string", "format": "date-time"}
MICRO_TIME: Final[Json] = {"type": "string", "format": MICROSECONDS}
ANYTHING: Final[Json] = {"type": "object", PRESERVE: True}
TEXTS: Final[Json] = {"type": "object", "additionalProperties": STRING}
PROTOCOL: Final[Json] = {"type": "string", "enum": ["TCP", "UDP", "SCTP"], "default": "TCP"}


def record(*required: str, **properties: Json) -> Json:
    """An object with these fields and no others."""
    return {"type": "object", "properties": properties, **({"required": list(required)} if required else {})}


def listing(items: Json) -> Json:
    return {"type": "array", "items": items, LIST_TYPE: "atomic"}


def unique(items: Json) -> Json:
    return {"type": "array", "items": items, LIST_TYPE: "set"}


def keyed(items: Json, *keys: str) -> Json:
    """A list whose items are found by these fields, in apply as in strategic merge."""
    return {"type": "array", "items": items, LIST_TYPE: "map", LIST_KEYS: list(keys), MERGE_KEY: keys[0]}


OWNER: Final = record(
    "apiVersion",
    "kind",
    "name",
    "uid",
    apiVersion=STRING,
    kind=STRING,
    name=STRING,
    uid=STRING,
    controller=BOOLEAN,
    blockOwnerDeletion=BOOLEAN,
)

METADATA: Final = record(
    name=STRING,
    namespace=STRING,
    generateName=STRING,
    uid=STRING,
    resourceVersion=STRING,
    generation={"type": "integer"},
    creationTimestamp=TIME,
    deletionTimestamp=TIME,
    deletionGracePeriodSeconds={"type": "integer"},
    selfLink=STRING,
    labels=TEXTS,
    annotations=TEXTS,
    finalizers=unique(STRING),
    ownerReferences=keyed(OWNER, "uid"),
    managedFields=listing(ANYTHING),
)

CONDITIONS: Final = keyed(
    {"type": "object", "properties": {"type": STRING}, "required": ["type"], PRESERVE: True}, "type"
)


def kind(**properties: Json) -> Json:
    """The whole of an object with these fields beside what every object has."""
    return record(apiVersion=STRING, kind=STRING, metadata=METADATA, **properties)


def _open(**properties: Any) -> Json:
    return {**kind(**properties), PRESERVE: True}


OPEN: Final = _open(data={"type": "object", "additionalProperties": STRING}, status=ANYTHING)

BINDING: Final = {
    **_open(
        roleRef=record("kind", "name", apiGroup=STRING, kind=STRING, name=STRING),
        subjects=listing(record("kind", "name", apiGroup=STRING, kind=STRING, name=STRING, namespace=STRING)),
    ),
    "required": ["roleRef"],
}

STATUS_CONDITIONS: Final = _open(
    status={"type": "object", "properties": {"conditions": CONDITIONS}, PRESERVE: True},
)

WEBHOOKS: Final = _open(
    webhooks=keyed({"type": "object", "properties": {"name": STRING}, "required": ["name"], PRESERVE: True}, "name"),
)

CRD: Final = {
    **kind(
        spec={"type": "object", PRESERVE: True, "required": ["group", "names", "scope", "versions"]},
        status={"type": "object", "properties": {"conditions": CONDITIONS}, PRESERVE: True},
    ),
    "required": ["spec"],
}

NAMESPACE: Final = kind(
    spec=record(finalizers=listing(STRING)),
    status=record(phase=STRING, conditions=CONDITIONS),
)

_SERVICE_PORT: Final = record(
    "port",
    name=STRING,
    protocol=PROTOCOL,
    appProtocol=STRING,
    port={**INTEGER, "minimum": 1, "maximum": 65535},
    targetPort={INT_OR_STRING: True},
    nodePort=INTEGER,
)

SERVICE: Final = kind(
    spec=record(
        type={
            "type": "string",
            "enum": ["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"],
            "default": "ClusterIP",
        },
        ports={**keyed(_SERVICE_PORT, "port", "protocol")},
        selector={**TEXTS, "x-kubernetes-map-type": "atomic"},
        clusterIP=STRING,
        clusterIPs=listing(STRING),
        externalIPs=listing(STRING),
        externalName=STRING,
        externalTrafficPolicy=STRING,
        internalTrafficPolicy={"type": "string", "enum": ["Cluster", "Local"]},
        trafficDistribution=STRING,
        ipFamilies=listing(STRING),
        ipFamilyPolicy=STRING,
        sessionAffinity={"type": "string", "enum": ["ClientIP", "None"], "default": "None"},
        sessionAffinityConfig=record(
            clientIP=record(timeoutSeconds={**INTEGER, "minimum": 1, "maximum": 86400}),
        ),
        allocateLoadBalancerNodePorts=BOOLEAN,
        healthCheckNodePort=INTEGER,
        loadBalancerClass=STRING,
        loadBalancerIP=STRING,
        loadBalancerSourceRanges=listing(STRING),
        publishNotReadyAddresses=BOOLEAN,
    ),
    status=record(loadBalancer=ANYTHING, conditions=CONDITIONS),
)

_ENDPOINT: Final = record(
    "addresses",
    addresses={**unique(STRING), "minItems": 1, "maxItems": 100},
    conditions=record(ready=BOOLEAN, serving=BOOLEAN, terminating=BOOLEAN),
    hostname=STRING,
    nodeName=STRING,
    zone=STRING,
    hints=ANYTHING,
    targetRef=ANYTHING,
    deprecatedTopology=TEXTS,
)

ENDPOINT_SLICE: Final = {
    **kind(
        addressType={"type": "string", "enum": ["FQDN", "IPv4", "IPv6"]},
        endpoints={**listing(_ENDPOINT), "nullable": True},
        ports={
            **listing(
                record(
                    name={**STRING, "default": ""},
                    protocol=PROTOCOL,
                    port={**INTEGER, "minimum": 1, "maximum": 65535},
                    appProtocol=STRING,
                )
            ),
            "nullable": True,
        },
    ),
    "required": ["addressType"],
}

LEASE: Final = kind(
    spec=record(
        holderIdentity=STRING,
        leaseDurationSeconds={**INTEGER, "minimum": 1},
        acquireTime=MICRO_TIME,
        renewTime=MICRO_TIME,
        leaseTransitions={**INTEGER, "minimum": 0},
        preferredHolder=STRING,
        strategy=STRING,
    ),
)
