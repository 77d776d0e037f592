"""What one stream wants and has for one type, by the rules of the incremental xDS protocol.

Sits under `delivery`, which decides when to send. Rules (xds_protocol.rst, "How the client specifies
what resources to return" and "Wildcard Subscriptions"):

- `*` and explicit names are kept apart; both may be active. A first request without any name means
  `*` (legacy), and only the first can mean that.
- A name that is subscribed is answered, even if the client is believed to have it; if it does not
  exist, the answer is its name in ``removed_resources``, and it is sent once it exists.
- Unsubscribing a name while `*` is active is answered too; of a name never subscribed, ignored.
- A reconnecting client says which versions it has; what is equal is not sent again.

Pure: knows names and versions, no resources, nonces or bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

WILDCARD = "*"


@dataclass(frozen=True, slots=True)
class SubscriptionChange:
    """The part of a DeltaDiscoveryRequest that speaks of names."""

    subscribe: tuple[str, ...] = ()
    unsubscribe: tuple[str, ...] = ()
    initial_versions: Mapping[str, str] = field(default_factory=dict)
    """What a reconnecting client has; counts in the first request of a type only."""


class Subscription:
    """The wishes of one stream for one type, and what it was sent."""

    __slots__ = ("_has", "_names", "_started", "wildcard")

    def __init__(self) -> None:
        self.wildcard = False
        self._names: set[str] = set()
        self._has: dict[str, str] = {}
        self._started = False

    def apply(self, change: SubscriptionChange, known: Callable[[], Iterable[str]]) -> dict[str, bool]:
        """Take in one request; returns the names to look at, True where an answer is owed in any case.

        ``known`` gives all names of the type; it is asked only when `*` begins. A name both subscribed
        and unsubscribed in one request ends subscribed.
        """
        first, self._started = not self._started, True
        due: dict[str, bool] = {}
        for name in change.unsubscribe:
            if self._unsubscribe(name):
                due[name] = True
        initial = change.initial_versions if first else {}
        legacy = first and not change.subscribe and not change.unsubscribe
        if not self.wildcard and (legacy or WILDCARD in change.subscribe):
            self.wildcard = True
            due.update((name, False) for name in known() if name not in due)
        for name in change.subscribe:
            if name != WILDCARD:
                self._names.add(name)
                due[name] = name not in initial
        for name, version in initial.items():
            if self.wants(name):
                self._has[name] = version
                due.setdefault(name, False)
        return due

    def _unsubscribe(self, name: str) -> bool:
        """Forget a name (or `*`); returns whether that has to be answered."""
        if name == WILDCARD:
            if self.wildcard:
                self.wildcard = False
                self._has = {name: version for name, version in self._has.items() if name in self._names}
            return False
        if name not in self._names:
            return False
        self._names.remove(name)
        if self.wildcard:
            return True
        self._has.pop(name, None)
        return False

    def wants(self, name: str) -> bool:
        return self.wildcard or name in self._names

    def version_of(self, name: str) -> str | None:
        """The version last sent, or told by the reconnecting client; None for what it does not have."""
        return self._has.get(name)

    def sent(self, name: str, version: str) -> None:
        self._has[name] = version

    def told_absent(self, name: str) -> None:
        self._has.pop(name, None)

    @property
    def names(self) -> frozenset[str]:
        """The names subscribed one by one."""
        return frozenset(self._names)

    @property
    def explicit(self) -> int:
        """How many names are subscribed one by one."""
        return len(self._names)

    @property
    def held(self) -> int:
        """How many resources the client has, or has on the way."""
        return len(self._has)
