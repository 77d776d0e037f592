"""ClusterSide: what a controller does besides, where its cluster is backed by Kubernetes. An edge that wires.

It reads the cluster once for all who look at it, and has the leading controller keep the cluster's objects as they were
computed. A membership that is over leaves nothing behind: then nothing is what was computed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from ipaddress import IPv4Address, IPv6Address
from typing import Final

from controllers.controller import Controller
from controllers.kube.derived_addresses import DerivedAddresses
from controllers.kube.gateway_address_watch import GatewayAddressWatch
from controllers.kube.token_review import TokenReviewer
from controllers.kube.writer import Computed
from controllers.mcs.export_status import Delivery, Publication
from controllers.mesh.base import Whole
from controllers.mesh.detect import DetectedMesh, MeshKind
from controllers.mesh.istio_mesh_config import mesh_config_fragment
from controllers.sources.kubernetes import KubernetesSource
from controllers.status import KubernetesStatus, MeshStatus
from federation.app.clock import monotonic, utc_now
from federation.app.kube.cluster_objects import ClusterObjects
from federation.app.kube.pod_sidecars import PodSidecars
from federation.app.kube.post import Post, access_of
from federation.exchange.session import ExchangeSession
from federation.model.addresses import HostPort
from federation.model.configuration import ClusterSettings, KubernetesSettings
from federation.model.names import ServiceKey, parse_service_key
from federation.model.problems import Problem
from trustbundle.authority import CertificateAuthority
from trustbundle.bundle import TrustView

_EXPORTED: Final = Publication(Delivery.EXPORTED)
_UNSETTLED_SECONDS: Final = 2.0
"""An export that the exchange has not taken for so long is told to be pending; before, nothing is told, for most are
taken within milliseconds and would be written twice."""
_FIRST_SECONDS: Final = 120.0
"""Until an exchange that is connected has taken everything once, which of thousands of records takes a while: after a
restart it mostly has them already, and what stands in the objects is true."""
_LOOK_SECONDS: Final = 0.1

_NOTED_KINDS: Final = ("Service ", "ServiceExport ")


class ClusterSide:
    """Of the cluster that ``settings`` name, beside ``controller``; ``mark`` asks for a pass."""

    def __init__(
        self,
        settings: ClusterSettings,
        kubernetes: KubernetesSettings,
        post: Post,
        *,
        session: ExchangeSession,
        built_in: CertificateAuthority,
        is_member: Callable[[], bool],
        in_doubt: Callable[[], bool],
        mark: Callable[[], None],
    ) -> None:
        self._settings = settings
        self._post = post
        self._session = session
        self._is_member = is_member
        self._in_doubt = in_doubt
        self._over = False
        """Whether the membership is, whatever the roster said when it was last read."""
        self._mark = mark
        objects = self._objects = ClusterObjects(settings, kubernetes, post)
        self._controller: Controller | None = None
        self._unsettled: dict[ServiceKey, float] = {}
        """Own exports that changed, and since when the exchange is not known to have them."""
        self._pending: frozenset[ServiceKey] = frozenset()
        self._settled_once = False
        self._noted: Mapping[ServiceKey, tuple[Problem, ...]] = {}
        self.source = KubernetesSource(access_of(kubernetes), watch=objects.watch, pods=True)
        self.tokens = TokenReviewer(
            objects.opened,
            f"federation.{settings.clusterset}",
            own_namespace=kubernetes.namespace,
            monotonic=monotonic,
            clock=utc_now,
        )
        self.sidecars = PodSidecars(settings, kubernetes, post, built_in, objects.opened, objects.watch)
        self._addresses = DerivedAddresses(objects.watch, self._on_vips)
        self._gateways: GatewayAddressWatch | None = None
        if not settings.gateway.addresses:
            self._gateways = GatewayAddressWatch(
                objects.opened,
                kubernetes.namespace,
                kubernetes.gateway_service,
                self._on_gateways,
                watch=objects.watch,
            )

    @property
    def problems(self) -> tuple[Problem, ...]:
        """What of the cluster can't be read or written, or is left alone."""
        parts = (
            self._post,
            self.tokens,
            self._objects,
            self.sidecars,
            self._gateways,
        )
        return tuple(problem for part in parts if part is not None for problem in part.problems)

    def status(self) -> KubernetesStatus:
        """For the owner."""
        in_order = self._objects.settled and not self._unsettled and not self._pending
        return KubernetesStatus(self._post.leader, self._post.leads, in_order, self._mesh_status())

    def _mesh_status(self) -> MeshStatus | None:
        detected, controller = self._objects.detected_mesh, self._controller
        if detected is None or controller is None:
            return None
        own = self._settings.trust_domain
        return mesh_status(detected, own, anchors_of(controller.trust, own))

    def attach(self, controller: Controller) -> None:
        """Work beside ``controller``, from before its first pass on."""
        self._controller = controller
        controller.on_vips({})

    def after_pass(self) -> None:
        """The controller has done a pass, or could not yet."""
        controller = self._controller
        if controller is None or not controller.ready:
            return
        self.sidecars.after_pass()
        before, self._noted = self._noted, noted_by_service(controller.source_problems)
        told = {key for key in {*before, *self._noted} if before.get(key) != self._noted.get(key)}
        told |= controller.touched
        if self._post.leads and not self._session.settled:
            now = monotonic()
            own = {key for key in told if key in controller.state.services}
            for key in own:
                self._unsettled.setdefault(key, now)
            told -= own
        self._tell(told)

    async def run(self) -> None:
        """Read and write until cancelled."""
        forget = self._post.listen(lambda _: self.sidecars.hurry())
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._objects.run(), name="objects of the cluster")
                tasks.create_task(self.sidecars.run(), name="sidecars of pods")
                tasks.create_task(self.tokens.run(), name="token reviews")
                tasks.create_task(self._addresses.run(), name="clusterset IPs")
                if self._gateways is not None:
                    tasks.create_task(self._gateways.run(), name="gateway addresses")
                tasks.create_task(self._settle(), name="publication")
        finally:
            forget()

    async def clear_away(self, *, patience_seconds: float) -> None:
        """The membership is over: return once nothing of it is left in the cluster, or after so long."""
        self._over = True
        if self._controller is None:
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(patience_seconds):
                controller = self._controller
                await self._objects.clear_away(controller.surroundings, controller.projection.results.keys())

    async def _settle(self) -> None:
        """Tell of exports once the exchange has them, or has not had them for long."""
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            if self._session.settled:
                due = {*self._unsettled, *self._pending}
                self._unsettled, self._pending = {}, frozenset()
                self._settled_once = True
            else:
                now = monotonic()
                patience = untold_seconds(settled_once=self._settled_once, connected=self._session.connected)
                due = {key for key, since in self._unsettled.items() if now - since >= patience}
                self._unsettled = {key: since for key, since in self._unsettled.items() if key not in due}
                self._pending |= due
            if due:
                self._tell(due)

    def _tell(self, changed: set[ServiceKey]) -> None:
        controller = self._controller
        if controller is None:
            return
        member = self._is_member() and not self._over
        if self._in_doubt() and not self._over:
            # Whose key it is has to be settled first: until then all stays as it is.
            return
        if not member:
            self._objects.tell_nothing(controller.surroundings, controller.projection.results.keys())
            return
        why = "" if self._session.connected else "the exchange can't be reached"
        pending = Publication(Delivery.PENDING, why or "the exchange has not taken it yet")
        self._objects.tell(
            Computed(
                controller.projection.results,
                controller.state.services,
                controller.surroundings,
                _EXPORTED,
                self._noted,
                dict.fromkeys(self._pending, pending),
                controller.unread,
            ),
            Whole(
                controller.projection.results,
                controller.state.services,
                controller.surroundings,
                anchors_of(controller.trust, self._settings.trust_domain),
            ),
            changed,
        )

    def _on_vips(self, vips: Mapping[ServiceKey, IPv4Address], ipv6_vips: Mapping[ServiceKey, IPv6Address]) -> None:
        if self._controller is not None:
            self._controller.on_vips(vips, ipv6_vips)
            self._mark()

    def _on_gateways(self, addresses: tuple[HostPort, ...]) -> None:
        if self._controller is not None:
            self._controller.own_gateways.place(addresses)
            self._mark()


def untold_seconds(*, settled_once: bool, connected: bool) -> float:
    """How long an export may wait for the exchange before it is told to be pending."""
    return _UNSETTLED_SECONDS if settled_once or not connected else _FIRST_SECONDS


def anchors_of(trust: TrustView, own: str) -> dict[str, tuple[bytes, ...]]:
    """The CA certificates of the peers by trust domain; ``own`` is this cluster's."""
    return {domain: bundle.authorities for domain, bundle in trust.bundles.items() if domain != own}


def mesh_status(
    detected: DetectedMesh, trust_domain: str, anchors: Mapping[str, tuple[bytes, ...]]
) -> MeshStatus | None:
    """For the owner; None where there is no mesh."""
    if detected.kind is MeshKind.NONE:
        return None
    fragment = mesh_config_fragment(trust_domain, anchors) if detected.kind is MeshKind.ISTIO else ""
    return MeshStatus(detected.kind, detected.version, detected.namespace, detected.trust_domain, fragment)


def noted_by_service(problems: Iterable[Problem]) -> dict[ServiceKey, tuple[Problem, ...]]:
    """What is wrong with Services and ServiceExports, by the service that they are of."""
    found: dict[ServiceKey, tuple[Problem, ...]] = {}
    for problem in problems:
        kind = next((kind for kind in _NOTED_KINDS if problem.subject.startswith(kind)), None)
        if kind is None:
            continue
        try:
            key = parse_service_key(problem.subject.removeprefix(kind))
        except ValueError:
            continue
        found[key] = (*found.get(key, ()), problem)
    return found
