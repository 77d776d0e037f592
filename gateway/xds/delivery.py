"""What one stream still owes for one type, and the one response that is under way.

Sits between `subscription` (wants and has) and `stream` (order among the types). Names that changed
are only marked; what to send is decided when there is room, from the view as it is then. At most one
response per type waits for its answer, so a slow client gets fewer and larger responses, never a queue.

A rejected response with several names is sent again in halves until the bad resource stands alone:
the good ones get through, and the bad one is not sent again until it changes. Pure.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

from gateway.xds.resources import Resource, response_bytes
from gateway.xds.subscription import Subscription, SubscriptionChange

_MAX_ERROR_CHARS = 500


class View(Protocol):
    """What one node may see, at one moment."""

    @property
    def synced(self) -> bool:
        """False until everything was read once: before that, nothing may be answered, not even "absent"."""

    def get(self, type_url: str, name: str) -> Resource | None: ...

    def names(self, type_url: str) -> Iterable[str]: ...


@dataclass(frozen=True, slots=True)
class DeltaResponse:
    """One DeltaDiscoveryResponse."""

    type_url: str
    nonce: str
    resources: tuple[Resource, ...]
    removed: tuple[str, ...]

    def wire(self) -> bytes:
        return response_bytes(self.type_url, self.nonce, self.resources, self.removed)


@dataclass(frozen=True, slots=True)
class Nack:
    """One resource that a client refuses, with the client's own words."""

    type_url: str
    name: str
    version: str
    """The refused version; empty where the removal was refused."""
    message: str
    """At most 500 characters."""


@dataclass(frozen=True, slots=True)
class Gate:
    """What has to wait for the other types of the stream."""

    holds: Callable[[Resource], bool] = lambda _: False
    holds_removals: bool = False


class Delivery:
    """The state of one type on one stream."""

    def __init__(self, type_url: str, max_bytes: int) -> None:
        """``max_bytes`` bounds the resources of one response; a larger single resource goes alone."""
        self.type_url = type_url
        self.subscription = Subscription()
        self.acked = 0
        self.nacks: dict[str, Nack] = {}
        self._max_bytes = max_bytes
        self._pending: dict[str, bool] = {}
        self._halves: deque[tuple[str, ...]] = deque()
        self._sent: dict[str, str] = {}
        self._nonce: str | None = None
        self._unproven: set[str] = set()
        self._greeting = False

    @property
    def busy(self) -> bool:
        """Whether something is to be sent or waits for its answer."""
        return bool(self._nonce is not None or self._pending or self._halves)

    @property
    def quiet(self) -> bool:
        """Whether `unsettled` holds for no name at all."""
        return not (self._unproven or self._pending)

    @property
    def taken(self) -> dict[str, str]:
        """The version that the client has accepted of each name it asks for; empty where it has none, or refused the
        last one or has not answered it yet."""
        open_names = {*self._sent, *self.nacks, *(name for half in self._halves for name in half)}
        return {
            name: "" if name in open_names else self.subscription.version_of(name) or ""
            for name in sorted(self.subscription.names)
        }

    def unsettled(self, name: str) -> bool:
        """Whether the client is about to get this name for the first time and has not answered yet."""
        return name in self._unproven or (name in self._pending and self.subscription.version_of(name) is None)

    def unproven(self, name: str) -> bool:
        """Whether the name was sent for the first time and has not been answered yet."""
        return name in self._unproven

    def request(self, change: SubscriptionChange, view: View) -> None:
        """Take in what a request says of names."""
        was_wildcard = self.subscription.wildcard
        self._mark(self.subscription.apply(change, lambda: view.names(self.type_url)))
        if self.subscription.wildcard and not was_wildcard and not change.initial_versions:
            # A client that subscribes to everything waits for an answer, even if everything is nothing.
            self._greeting = True
        if change.unsubscribe:
            wants = self.subscription.wants
            self._unproven = {name for name in self._unproven if wants(name)}
            self.nacks = {name: nack for name, nack in self.nacks.items() if wants(name)}

    def changed(self, names: Iterable[str]) -> None:
        """Names that have another resource now, or none."""
        self._mark({name: False for name in names if self.subscription.wants(name)})

    def send_again(self, names: Iterable[str]) -> None:
        """Send names that the client has once more, unchanged as they are; not those that it refused."""
        has = self.subscription.version_of
        self._mark({name: True for name in names if has(name) is not None and name not in self.nacks})

    def _mark(self, due: Mapping[str, bool]) -> None:
        for name, owed in due.items():
            self._pending[name] = owed or self._pending.get(name, False)

    def answer(self, nonce: str, error: str | None) -> bool:
        """Take in an ACK (``error`` is None) or a NACK; False where the nonce is not the one under way."""
        if nonce != self._nonce:
            return False
        sent, self._sent, self._nonce = self._sent, {}, None
        if error is None:
            self.acked += 1
            for name in sent.keys() & self.nacks.keys():
                del self.nacks[name]
        elif len(sent) > 1:
            names = tuple(sent)
            middle = len(names) // 2
            self._halves.extendleft((names[middle:], names[:middle]))
            return True
        else:
            for name, version in ((name, sent[name]) for name in sent if self.subscription.wants(name)):
                self.nacks[name] = Nack(self.type_url, name, version, error[:_MAX_ERROR_CHARS])
        self._unproven.difference_update(sent)
        return True

    def next(self, view: View, nonce: str, gate: Gate) -> DeltaResponse | None:
        """The next response, under that nonce; None if nothing need or may be sent now."""
        if self._nonce is not None:
            return None
        while self._halves:
            half = dict.fromkeys(self._halves.popleft(), True)
            for name in half:
                self._pending.pop(name, None)
            response, later = self._compose(half, view, nonce, gate)
            self._mark(later)
            if response is not None:
                return self._send(response)
        response, self._pending = self._compose(self._pending, view, nonce, gate)
        if response is None and self._greeting and not self._pending:
            response = DeltaResponse(self.type_url, nonce, (), ())
        return None if response is None else self._send(response)

    def _compose(
        self, names: Mapping[str, bool], view: View, nonce: str, gate: Gate
    ) -> tuple[DeltaResponse | None, dict[str, bool]]:
        """A response of as many names as fit, and the names that have to wait for a later one."""
        resources: list[Resource] = []
        removed: list[str] = []
        later: dict[str, bool] = {}
        room = self._max_bytes
        for name, owed in names.items():
            if not self.subscription.wants(name):
                continue
            has = self.subscription.version_of(name)
            resource = view.get(self.type_url, name)
            if not owed and has == (None if resource is None else resource.version):
                continue
            size = len(name) if resource is None else len(resource.chunk)
            # Telling of a name that the client never had takes nothing away.
            held = gate.holds_removals and has is not None if resource is None else gate.holds(resource)
            if held or (size > room and (resources or removed)):
                later[name] = owed
                continue
            room -= size
            if resource is None:
                removed.append(name)
            else:
                resources.append(resource)
        if not (resources or removed):
            return None, later
        return DeltaResponse(self.type_url, nonce, tuple(resources), tuple(removed)), later

    def _send(self, response: DeltaResponse) -> DeltaResponse:
        self._nonce = response.nonce
        self._greeting = False
        for resource in response.resources:
            if self.subscription.version_of(resource.name) is None:
                self._unproven.add(resource.name)
            self.subscription.sent(resource.name, resource.version)
            self._sent[resource.name] = resource.version
        for name in response.removed:
            self.subscription.told_absent(name)
            self.nacks.pop(name, None)
            self._sent[name] = ""
        return response
