"""A cluster's API server for tests: start it, use it as any other, and break it.

Every instance is a cluster of its own, with its own port, CA, objects and users. Everything is in memory and in the
event loop that started it; only kubeconfigs are written to disk.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import yaml

from federation.install.definitions import definitions
from support.kube.admission import Admission
from support.kube.api import Api, Audited
from support.kube.authorization import BOOTSTRAP_BINDINGS, BOOTSTRAP_ROLES, GROUP, Authorizer
from support.kube.crds import resource_of
from support.kube.exec import ProgramOf
from support.kube.faults import Failure, Faults
from support.kube.housekeeping import ACCOUNTS, CRDS, NAMESPACES, Housekeeping
from support.kube.http import Front
from support.kube.identity import ADMIN, Tokens, User, service_account, user_named
from support.kube.kinds import Catalog
from support.kube.kubeconfig import kubeconfig, write_private
from support.kube.listing import Listings
from support.kube.objects import GroupResource, Json, Key, duplicate, finalizers
from support.kube.pki import server_tls
from support.kube.registry import Registry
from support.kube.services import CLUSTER_IPS, ServiceAddresses
from support.kube.store import Store
from support.kube.watching import Watches

FIRST_NAMESPACES = ("default", "kube-system", "kube-public", "kube-node-lease")


def multicluster_definitions() -> list[Json]:
    """The CRDs of the MCS API and of ClusterProperty, as the product installs them."""
    return [duplicate(one) for one in definitions()]


class StandIn:
    """One API server. ``clock`` is what it stamps objects and expires tokens by."""

    def __init__(
        self,
        name: str = "stand-in",
        *,
        address: str = "127.0.0.1",
        port: int = 0,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        service_ranges: Sequence[str] = CLUSTER_IPS[:1],
        definitions: Iterable[Json] | None = None,
    ) -> None:
        self.name = name
        self.faults = Faults()
        self.faults.answers.set()
        self.store = Store()
        catalog = Catalog()
        admission = Admission(ServiceAddresses(tuple(service_ranges)))
        self.registry = Registry(self.store, catalog, admission, clock)
        self.tokens = Tokens(self.store, clock)
        self.watches = Watches(self.store, self.faults)
        self._definitions = list(multicluster_definitions() if definitions is None else definitions)
        self._listings = Listings(self.store)
        self._api = Api(self.registry, self.tokens, Authorizer(self.store), self._listings, self.faults, clock)
        self._tls = server_tls(address)
        self._front = Front(self._api, self.watches, self._tls, address, port)
        self.admin_token = self.tokens.grant(ADMIN)

    @property
    def url(self) -> str:
        return f"https://{self._front.address}:{self._front.port}"

    @property
    def ca_pem(self) -> str:
        return self._tls.ca_pem

    def run_in_pods(self, program_of: ProgramOf) -> None:
        """Say what runs where a program is to be run in a pod."""
        self._api.program_of = program_of

    @property
    def audit(self) -> list[Audited]:
        """Every request for a resource so far, in order: who, what, and how it was answered."""
        return self._api.audit

    async def start(self) -> None:
        """Serve, with the first namespaces, the bootstrap roles and the given CRDs established."""
        loop = asyncio.get_running_loop()
        Housekeeping(self.registry, loop.call_soon, self.watches.end)
        for namespace in FIRST_NAMESPACES:
            self.put(NAMESPACES, {"metadata": {"name": namespace}})
        for role, rules in BOOTSTRAP_ROLES.items():
            self.put((GROUP, "clusterroles"), {"metadata": {"name": role}, "rules": rules})
        for role, groups in BOOTSTRAP_BINDINGS.items():
            subjects = [{"kind": "Group", "apiGroup": GROUP, "name": group} for group in groups]
            reference = {"kind": "ClusterRole", "apiGroup": GROUP, "name": role}
            body = {"metadata": {"name": role}, "roleRef": reference, "subjects": subjects}
            self.put((GROUP, "clusterrolebindings"), body)
        for definition in self._definitions:
            self.put(CRDS, definition)
            await self._served(definition)
        await self._front.open()

    async def stop(self) -> None:
        self.faults.answers.set()
        await self._front.close()

    def put(self, resource: GroupResource, body: Json) -> Json:
        """An object from behind the API, as if somebody had created it; one that is there stays as it is."""
        return self.registry.create_system(resource, body["metadata"].get("namespace", ""), body)

    def objects(self, resource: GroupResource) -> dict[Key, Json]:
        """What is stored of a resource, for a look from behind the API."""
        return dict(self.store.objects(resource))

    # Access

    def token_for(self, user: str, groups: Sequence[str] = (), *, lifetime: timedelta | None = None) -> str:
        """A token for any user, of any groups; what it may do is up to RBAC."""
        return self.tokens.grant(user_named(user, groups), lifetime=lifetime)

    def account_token(self, namespace: str, name: str, *, lifetime: timedelta | None = None) -> str:
        """A token of a service account, which is created where it is missing."""
        account = self.registry.create_system(ACCOUNTS, namespace, {"metadata": {"name": name}})
        user: User = service_account(namespace, name, account["metadata"]["uid"])
        return self.tokens.grant(user, lifetime=lifetime, account=Key(namespace, name))

    def kubeconfig(self, token: str | None = None, *, namespace: str = "default") -> Json:
        """A kubeconfig for the holder of a token, the administrator if none is given."""
        return kubeconfig(self.name, self.url, self.ca_pem, token=token or self.admin_token, namespace=namespace)

    def write_kubeconfig(
        self, path: Path, token: str | None = None, *, user: str = "", groups: Sequence[str] = ()
    ) -> Path:
        """The kubeconfig as a file that only its owner reads: of a token, of a user, or of the administrator."""
        token = token or (self.token_for(user, groups) if user else None)
        return write_private(path, yaml.safe_dump(self.kubeconfig(token)).encode())

    # Faults

    async def vanish(self, *, hang: bool = False) -> None:
        """Be gone: connections are cut and refused; or, with ``hang``, all is taken and nothing is answered."""
        if hang:
            self.faults.answers.clear()
        else:
            await self._front.close()

    async def come_back(self) -> None:
        """Be there again, on the same port, with all that was stored."""
        self.faults.answers.set()
        if not self._front.is_open:
            await self._front.open()

    def slow_watches(self, seconds: float) -> None:
        """Let every event of a watch come late; 0 ends it."""
        self.faults.watch_delay_seconds = seconds

    def duplicate_events(self, *, on: bool = True) -> None:
        """Let every event of a watch come twice."""
        self.faults.duplicate_events = on

    def drop_watches(self, resource: GroupResource | None = None) -> None:
        """Cut the connections of watches; ``watches.end`` closes them properly."""
        self.watches.drop(resource)

    def bookmark_now(self) -> None:
        """Send the bookmark that else comes once a minute."""
        self.watches.bookmark()

    def expire_token(self, token: str) -> None:
        """Answer 401 to this token from now on; watches under way go on, as in Kubernetes."""
        self.tokens.expire(token)

    def compact(self, *, as_status: bool = False) -> None:
        """Forget the past: older watches and lists under way get 410, watches as HTTP status with ``as_status``."""
        self.faults.gone_as_status = as_status
        self.store.compact()
        self._listings.forget()

    def fail(
        self,
        code: int = 500,
        *,
        times: int = 1,
        retry_after_seconds: int | None = None,
        verbs: Sequence[str] = (),
        plural: str = "",
    ) -> None:
        """Let the next requests fail: those of these verbs, of this resource, or all."""
        self.faults.fail(Failure(code, times, retry_after_seconds, tuple(verbs), plural))

    def heal(self) -> None:
        """End all faults but a vanished server."""
        self.faults.clear_failures()
        self.slow_watches(0.0)
        self.duplicate_events(on=False)

    async def delete_definition(self, name: str) -> Json:
        """Delete a CRD with all its objects; returns it, for ``restore_definition``. Finalizers may keep it waiting."""
        kind = self.registry.catalog.stored(CRDS)
        assert kind is not None
        definition = self.registry.get(kind, Key("", name))
        self.registry.delete(kind, Key("", name), {})
        while Key("", name) in self.store.objects(CRDS) and self._is_emptying(definition):
            await asyncio.sleep(0)
        return definition

    async def restore_definition(self, definition: Json) -> None:
        """The CRD again, established and new: other uid, no objects."""
        metadata = {
            name: definition["metadata"][name]
            for name in ("name", "annotations", "labels")
            if name in definition["metadata"]
        }
        self.put(CRDS, {"metadata": metadata, "spec": definition["spec"]})
        await self._served(definition)

    async def _served(self, definition: Json) -> None:
        """Return once the API has the resource."""
        while not self.registry.catalog.defined(resource_of(definition)):
            await asyncio.sleep(0)

    def _is_emptying(self, definition: Json) -> bool:
        bodies = self.store.objects(resource_of(definition)).values()
        return not any(finalizers(body) for body in bodies)


@asynccontextmanager
async def running(name: str = "stand-in", **options: Any) -> AsyncIterator[StandIn]:
    """A server for the time of a block."""
    server = StandIn(name, **options)
    await server.start()
    try:
        yield server
    finally:
        await server.stop()
