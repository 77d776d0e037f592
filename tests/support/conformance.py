"""The driver of the mirror of the MCS API's conformance suite: what each spec does, sees and waits for.

It asks the API servers as any client does, by HTTPS, and each cluster's own DNS server by UDP. Windows of time are
those of the suite. Every spec has a namespace of its own, as in the suite, so that all of them run at once, on what one
watcher for each cluster lists ten times a second, as often as the suite looks.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from ipaddress import ip_address
from itertools import count
from random import getrandbits
from typing import Any, TypeVar

import dns.asyncquery
import dns.message
import dns.rcode
import dns.rdatatype
from dns.exception import DNSException

from support.conformance_objects import NAME, Json, Pod, hello_export, hello_service, native_slices
from support.kube.caller import Caller

WAIT_SECONDS = 20.0
STAYS_SECONDS = 5.0
SLICE_SECONDS = 60.0
LOOK_SECONDS = 0.1
GAP_SECONDS = 1.1
"""Between the exports of two clusters: times of creation are whole seconds."""
DOMAIN = "svc.clusterset.local."
SOURCE_CLUSTER = "multicluster.kubernetes.io/source-cluster"
SERVICE_NAME = "multicluster.kubernetes.io/service-name"

_MCS = "/apis/multicluster.x-k8s.io/v1beta1"
_LISTED = {
    "exports": f"{_MCS}/serviceexports",
    "imports": f"{_MCS}/serviceimports",
    "slices": "/apis/discovery.k8s.io/v1/endpointslices",
}

T = TypeVar("T")


class NotConformantError(AssertionError):
    """What a spec asks for does not hold, or not within its window."""


@dataclass(frozen=True, slots=True)
class Look:
    """What was there at one moment, by namespace."""

    began: float = 0.0
    exports: Mapping[str, Json] = field(default_factory=dict)
    imports: Mapping[str, Json] = field(default_factory=dict)
    slices: Mapping[str, Sequence[Json]] = field(default_factory=dict)


class Site:
    """One cluster, seen from outside; ``run`` keeps looking."""

    def __init__(self, name: str, caller: Caller, resolver: tuple[str, int], number: int) -> None:
        self.name = name
        self.caller = caller
        self._resolver = resolver
        self._number = number
        self._pods = count(2)
        self._look = Look()
        self._news = asyncio.Condition()

    def pod(self, hostname: str = "") -> Pod:
        """One more pod, with addresses of its own."""
        number = next(self._pods)
        ipv4 = f"10.{244 + self._number}.{number // 250}.{number % 250 + 1}"
        return Pod((("IPv4", ipv4), ("IPv6", f"fd00:{244 + self._number}::{number:x}")), hostname)

    async def run(self) -> None:
        """Look until cancelled; raises AssertionError where the API server refuses to list."""
        clock = asyncio.get_running_loop().time
        while True:
            began = clock()
            listed = {name: await self._list(path) for name, path in _LISTED.items()}
            slices: dict[str, list[Json]] = {}
            for item in listed["slices"]:
                slices.setdefault(item["metadata"]["namespace"], []).append(item)
            self._look = Look(began, _hello(listed["exports"]), _hello(listed["imports"]), slices)
            async with self._news:
                self._news.notify_all()
            await asyncio.sleep(max(0.0, LOOK_SECONDS - (clock() - began)))

    async def _list(self, path: str) -> list[Json]:
        reply = await self.caller.get(path)
        assert reply.code == HTTPStatus.OK, (self.name, path, reply.body)
        return list(reply.body["items"])

    async def look(self) -> Look:
        """One that begins from now on."""
        asked = asyncio.get_running_loop().time()
        async with self._news:
            await self._news.wait_for(lambda: self._look.began >= asked)
        return self._look

    async def until(self, wanted: str, found: Callable[[Look], T | None], seconds: float = WAIT_SECONDS) -> T:
        """What is found first; NotConformantError after ``seconds`` without."""
        ends = asyncio.get_running_loop().time() + seconds
        while (result := found(await self.look())) is None:
            if asyncio.get_running_loop().time() > ends:
                raise NotConformantError(f"cluster {self.name}: not within {seconds:g} s: {wanted}")
        return result

    async def stays(self, wanted: str, holds: Callable[[Look], bool]) -> None:
        """Return after five seconds; NotConformantError where it does not hold in one of them."""
        ends = asyncio.get_running_loop().time() + STAYS_SECONDS
        while asyncio.get_running_loop().time() < ends:
            if not holds(await self.look()):
                raise NotConformantError(f"cluster {self.name}: not for {STAYS_SECONDS:g} s: {wanted}")

    async def ask(self, name: str, kind: str) -> tuple[str, list[Any]]:
        """Response code and records of a name, as the cluster's own DNS server says."""
        query = dns.message.make_query(name, kind)
        host, port = self._resolver
        answer, _ = await dns.asyncquery.udp_with_fallback(query, host, 5, port)
        wanted = dns.rdatatype.from_text(kind)
        return dns.rcode.to_text(answer.rcode()), [
            one for found in answer.answer if found.rdtype == wanted for one in found
        ]


def _hello(items: Sequence[Json]) -> dict[str, Json]:
    return {one["metadata"]["namespace"]: one for one in items if one["metadata"]["name"] == NAME}


class Trial:
    """One spec under way, in its own namespace. The first cluster is the one that exports."""

    def __init__(self, clusters: Sequence[Site]) -> None:
        self.clusters = clusters
        self.first, self.second = clusters[:2]
        self.namespace = f"mcs-conformance-{getrandbits(32)}"
        self.pods: dict[str, list[Pod]] = {}
        """Those of each cluster, by its name."""

    @property
    def host(self) -> str:
        """The name of the service in the clusterset."""
        return f"{NAME}.{self.namespace}.{DOMAIN}"

    # What a user does

    async def begin(self) -> None:
        for site in self.clusters:
            await self._post(site, "/api/v1/namespaces", {"metadata": {"name": self.namespace}})

    async def end(self) -> None:
        """Delete the namespaces; nobody waits for them to be gone."""
        for site in self.clusters:
            await site.caller.delete(f"/api/v1/namespaces/{self.namespace}")

    async def deploy(
        self, site: Site, service: Json | None = None, *, replicas: int = 1, stateful: bool = False
    ) -> Json:
        """The Service with its pods; returns it as stored."""
        stored = await self._post(site, f"{self._core}/services", service or hello_service())
        pods = [site.pod(f"{NAME}-ss-{number}" if stateful else "") for number in range(replicas)]
        self.pods[site.name] = pods
        for native in native_slices(stored, pods):
            await self._post(site, f"{self._slices}", native)
        return stored

    async def export(self, site: Site, **spec: Any) -> None:
        await self._post(site, f"{self._mcs}/serviceexports", hello_export(**spec))

    async def unexport(self, site: Site) -> None:
        reply = await site.caller.delete(f"{self._mcs}/serviceexports/{NAME}")
        assert reply.code == HTTPStatus.OK, reply.body

    async def export_both(
        self,
        second: Json,
        *,
        first_export: Mapping[str, Any] | None = None,
        second_export: Mapping[str, Any] | None = None,
    ) -> Json:
        """The suite's two-cluster driver; returns the first cluster's Service. That one is older, and known first."""
        service = await self.deploy(self.first)
        await self.export(self.first, **(first_export or {}))
        await self.imported(self.first)
        await asyncio.sleep(GAP_SECONDS)
        await self.deploy(self.second, second)
        await self.export(self.second, **(second_export or {}))
        return service

    # What is seen

    async def imported(self, site: Site, holds: Callable[[Json], bool] = bool, wanted: str = "there") -> Json:
        """The import, once ``holds``."""
        last: Json = {}

        def found(look: Look) -> Json | None:
            one = look.imports.get(self.namespace)
            last.clear()
            last.update(one or {})
            return one if one is not None and holds(one) else None

        try:
            return await site.until(f"ServiceImport {wanted}", found)
        except NotConformantError as error:
            raise NotConformantError(f"{error}; it is {last}") from None

    async def families(self, site: Site) -> list[str]:
        """Those of the import, once it has any."""
        found = await self.imported(site, lambda one: bool(one["spec"].get("ipFamilies")), "with IP families")
        return list(found["spec"]["ipFamilies"])

    async def not_imported(self, *sites: Site) -> None:
        for site in sites:
            await site.until("no ServiceImport", lambda look: self.namespace not in look.imports or None)

    async def stays_imported(self, site: Site) -> None:
        await site.stays("a ServiceImport", lambda look: self.namespace in look.imports)

    async def stays_not_imported(self, site: Site) -> None:
        await site.stays("no ServiceImport", lambda look: self.namespace not in look.imports)

    async def condition(self, site: Site, kind: str, status: str) -> Json:
        """That condition of the cluster's ServiceExport, once it has this status."""

        def found(look: Look) -> Json | None:
            conditions = look.exports[self.namespace].get("status", {}).get("conditions") or []
            return next((one for one in conditions if (one["type"], one["status"]) == (kind, status)), None)

        return await site.until(f"{kind}={status} of the ServiceExport", found)

    async def conflict(self) -> None:
        """Both exporters are told that they disagree."""
        for site in self.clusters[:2]:
            await self.condition(site, "Conflict", "True")

    async def slice_of(self, site: Site, family: str, holds: Callable[[Json], bool] = bool) -> Json:
        """A slice of the federation's with endpoints of this family, once ``holds``."""

        def found(look: Look) -> Json | None:
            usable = (one for one in self.federated(look) if one["addressType"] == family and one.get("endpoints"))
            return next((one for one in usable if holds(one)), None)

        return await site.until(f"an EndpointSlice of the clusterset with {family} endpoints", found, SLICE_SECONDS)

    def federated(self, look: Look) -> list[Json]:
        """The slices that have both labels of the MCS API."""
        return [
            one
            for one in look.slices.get(self.namespace, ())
            if {SERVICE_NAME, SOURCE_CLUSTER} <= set(one["metadata"].get("labels") or {})
        ]

    async def answers(self, site: Site, name: str, kind: str, holds: Callable[[list[Any]], bool]) -> list[Any]:
        """The records of a name, once ``holds``."""
        ends = asyncio.get_running_loop().time() + WAIT_SECONDS
        while True:
            try:
                code, records = await site.ask(name, kind)
            except (OSError, DNSException) as error:
                code, records = repr(error), []
            if records and holds(records):
                return records
            if asyncio.get_running_loop().time() > ends:
                told = f"{code} {[one.to_text() for one in records]}"
                raise NotConformantError(f"cluster {site.name}: {name} {kind} is {told}")
            await asyncio.sleep(LOOK_SECONDS)

    async def resolves(self, site: Site, name: str, addresses: Sequence[str]) -> None:
        """The name has exactly these addresses, all of one family."""
        kind = record_type(addresses[0])
        await self.answers(site, name, kind, lambda found: sorted(one.address for one in found) == sorted(addresses))

    @property
    def _core(self) -> str:
        return f"/api/v1/namespaces/{self.namespace}"

    @property
    def _mcs(self) -> str:
        return f"{_MCS}/namespaces/{self.namespace}"

    @property
    def _slices(self) -> str:
        return f"/apis/discovery.k8s.io/v1/namespaces/{self.namespace}/endpointslices"

    async def _post(self, site: Site, path: str, body: Json) -> Json:
        reply = await site.caller.post(path, body)
        assert reply.code == HTTPStatus.CREATED, (site.name, path, reply.body)
        return reply.body


def record_type(address: str) -> str:
    """Of the records that hold such an address."""
    return "A" if ip_address(address).version == 4 else "AAAA"


Body = Callable[[Trial], Awaitable[None]]


async def conducted(bodies: Mapping[str, Body], clusters: Sequence[Site]) -> dict[str, BaseException | None]:
    """Carry out all specs at once; what went wrong with each, None where nothing did."""
    outcomes: dict[str, BaseException | None] = {}

    async def carried_out(name: str, body: Body) -> None:
        trial = Trial(clusters)
        try:
            await trial.begin()
            await body(trial)
            outcomes[name] = None
        except Exception as error:
            outcomes[name] = error
        finally:
            await trial.end()

    async with asyncio.TaskGroup() as tasks:
        watching = [tasks.create_task(site.run()) for site in clusters]
        async with asyncio.TaskGroup() as specs:
            for name, body in bodies.items():
                specs.create_task(carried_out(name, body))
        for one in watching:
            one.cancel()
    return outcomes
