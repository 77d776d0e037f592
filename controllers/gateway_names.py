"""GatewayNames: what the names of the peers' gateways resolve to, asked again and again.

A cloud's load balancer may have a name alone, whose addresses change at any time. DNS is trusted for nothing: whoever
answers at an address must prove by TLS who it is. But it decides where we connect to, so that an address which is none
of one host, or is our own host's, is refused. A failure keeps the last answer. An address is forgotten when three
answers in a row lack it: many a server tells some of its addresses, others each time, and one that nobody has any more
costs no call (docs/decisions/030-gateway-names.md).
"""

from __future__ import annotations

import asyncio
import random
import socket
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from threading import Thread

import structlog

from federation.model.addresses import is_localhost
from federation.model.names import ClusterId
from federation.model.problems import Problem

_log = structlog.get_logger(__name__)

INTERVAL_SECONDS = 10.0
ANSWERS_TO_FORGET = 3
MAX_ADDRESSES = 16
"""Of one name; more are of no use, and each is probed."""
_JITTER = 0.1
_PEERS_PER_SECOND = 20.0
_AT_ONCE = 16
"""Questions that are open at a time, each in a thread of its own; a peer has one of them at most."""

Resolve = Callable[[str], Awaitable[tuple[str, ...]]]
"""The IP addresses of a name, at least one; raises OSError where it has none."""


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of one name."""

    missed: Mapping[str, int] = field(default_factory=dict)
    """By IP address: in how many answers in a row it was missing, up to now."""
    trouble: str = field(default="", compare=False)
    """Why the last question had no good answer; empty where it had one."""

    @property
    def addresses(self) -> tuple[str, ...]:
        return tuple(sorted(self.missed))

    def after(self, answer: Iterable[str]) -> Known:
        """What one more answer makes of it, which has an address at least."""
        now = sorted(set(answer))[:MAX_ADDRESSES]
        old = {ip: missed + 1 for ip, missed in self.missed.items() if missed + 1 < ANSWERS_TO_FORGET and ip not in now}
        kept = sorted(old, key=lambda ip: (old[ip], ip))[: MAX_ADDRESSES - len(now)]
        return Known({**dict.fromkeys(now, 0), **{ip: old[ip] for ip in kept}})


def usable(name: str, addresses: Iterable[str]) -> tuple[str, ...]:
    """Those of ``addresses`` that a gateway of this name may be at, sorted, in canonical spelling."""
    found = set()
    for text in addresses:
        try:
            address = ip_address(text)
        except ValueError:
            continue
        address = getattr(address, "ipv4_mapped", None) or address
        nowhere = address.is_unspecified or address.is_multicast or address.is_link_local or "%" in text
        if not nowhere and (not address.is_loopback or is_localhost(name)):
            found.add(str(address))
    return tuple(sorted(found))


async def resolve(name: str) -> tuple[str, ...]:
    """Ask the system's resolver, as long as that takes; raises OSError where nothing usable is found.

    Asked for as a whole name first, without the system's search list: in Kubernetes that would come first, and take a
    question for each of its domains. As it is afterwards, for a name that a hosts file or that list knows.
    """
    found: asyncio.Future[tuple[str, ...]] = asyncio.get_running_loop().create_future()
    # A thread that is waited for at exit would keep the process as long as a resolver's patience.
    Thread(target=_ask, args=(name, found, found.get_loop()), name=f"resolve {name}", daemon=True).start()
    addresses = await found
    if not (kept := usable(name, addresses)):
        raise OSError(f"none of {', '.join(addresses[:4])} is an address of another host")
    return kept


def _ask(name: str, found: asyncio.Future[tuple[str, ...]], loop: asyncio.AbstractEventLoop) -> None:
    told: tuple[str, ...] | OSError = OSError("no answer")
    for asked in (f"{name}.", name) if "." in name else (name,):
        try:
            # Families that this host has no address of are left out.
            answer = socket.getaddrinfo(asked, None, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG)
        except (OSError, UnicodeError) as error:
            told = OSError(getattr(error, "strerror", None) or str(error))
        else:
            told = tuple(sorted({str(address[0]) for *_, address in answer}))
            break

    def settle() -> None:
        if found.done():
            return
        if isinstance(told, OSError):
            found.set_exception(told)
        else:
            found.set_result(told)

    try:
        loop.call_soon_threadsafe(settle)
    except RuntimeError:
        # The loop has ended meanwhile, and nobody waits.
        return


class GatewayNames:
    """Resolves the names that are followed; ``on_change`` gets the addresses of all of them whenever one has others.

    ``known``: the addresses that names had before, which count until there is an answer.
    """

    def __init__(
        self,
        known: Mapping[str, tuple[str, ...]],
        on_change: Callable[[Mapping[str, tuple[str, ...]]], None],
        *,
        rng: random.Random,
        resolve: Resolve = resolve,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self._known = {name: Known(dict.fromkeys(ips, 0)) for name, ips in known.items()}
        self._on_change = on_change
        self._rng = rng
        self._resolve = resolve
        self._sleep = sleep
        self._names: dict[ClusterId, tuple[str, ...]] = {}
        self._at_once = asyncio.Semaphore(_AT_ONCE)
        self._followed = asyncio.Event()

    @property
    def problems(self) -> tuple[Problem, ...]:
        """Which names have no good answer, and what follows from it."""
        return tuple(
            Problem(f"gateway of {cluster}", "NameUnresolved", f"{name} does not resolve: {known.trouble}; {so}")
            for cluster, names in sorted(self._names.items())
            for name in names
            if (known := self._known.get(name, Known())).trouble
            for so in ["its last addresses are used" if known.missed else f"{cluster} is not called by this name"]
        )

    def follow(self, names: Mapping[ClusterId, tuple[str, ...]]) -> None:
        """Resolve exactly these from now on; what is known of a name that stays is kept."""
        if names == self._names:
            return
        self._names = dict(names)
        self._followed.set()

    async def run(self) -> None:
        """Resolve until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            running: dict[tuple[ClusterId, tuple[str, ...]], asyncio.Task[None]] = {}
            while True:
                self._followed.clear()
                for gone in running.keys() - self._names.items():
                    running.pop(gone).cancel()
                for cluster, names in self._names.items() - running.keys():
                    running[cluster, names] = tasks.create_task(self._keep_resolving(names))
                self._forget()
                await self._followed.wait()

    def _forget(self) -> None:
        """Before the first names are followed, what was known at the start is not given up."""
        wanted = {name for names in self._names.values() for name in names}
        if wanted and (gone := self._known.keys() - wanted):
            self._known = {name: known for name, known in self._known.items() if name not in gone}
            self._tell()

    async def _keep_resolving(self, names: tuple[str, ...]) -> None:
        while True:
            for name in names:
                async with self._at_once:
                    await self._renew(name)
            await self._sleep(self._interval() * (1 + self._rng.uniform(-_JITTER, _JITTER)))

    def _interval(self) -> float:
        return max(INTERVAL_SECONDS, len(self._names) / _PEERS_PER_SECOND)

    async def _renew(self, name: str) -> None:
        try:
            answer: tuple[str, ...] = await self._resolve(name)
            trouble = ""
        except OSError as error:
            answer, trouble = (), error.strerror or str(error)
        before = self._known.get(name, Known())
        after = before.after(answer) if answer else Known(before.missed, trouble)
        if trouble and trouble != before.trouble:
            _log.warning("name of a gateway does not resolve", name=name, reason=trouble)
        if not any(name in names for names in self._names.values()):
            return
        self._known[name] = after
        if after.addresses != before.addresses:
            _log.info("name of a gateway leads to other addresses", name=name, addresses=list(after.addresses))
            self._tell()

    def _tell(self) -> None:
        self._on_change({name: known.addresses for name, known in self._known.items() if known.missed})
