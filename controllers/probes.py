"""Probes: whether the peers' gateways answer us, each address asked on its own, again and again.

A probe connects and opens a TLS handshake for a name outside the clusterset: a living gateway closes that connection at
once and asks nobody (gateway.xds.translate.listeners), a frozen one only accepts it, in its kernel. Three failures in a
row take an address down, one answer brings it up (Linkerd's numbers). What follows from that is decided elsewhere.
"""

from __future__ import annotations

import asyncio
import random
import ssl
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

from federation.model.names import ClusterId
from federation.model.records import GatewayAddress

INTERVAL_SECONDS = 1.0
TIMEOUT_SECONDS = 1.0
FAILURES_TO_DOWN = 3
_JITTER = 0.1
# What all probes together, and those of one peer, may cost. A peer with many addresses slows down its own probes only.
_MOST_PER_SECOND = 200.0
_MOST_OF_A_PEER = 4.0

Probe = Callable[[GatewayAddress], Awaitable[bool]]


@dataclass(frozen=True, slots=True)
class Health:
    """What the last probes of one address came to."""

    up: bool | None = None
    """None: not known yet."""
    failures: int = 0
    """In a row, up to now."""
    seconds: float | None = None
    """That the last answer took; None while the address is down."""

    def after(self, *, answered: bool, seconds: float | None = None) -> Health:
        """What one more probe makes of it, which was answered within ``seconds``."""
        if answered:
            return Health(up=True, seconds=seconds)
        failures = min(self.failures + 1, FAILURES_TO_DOWN)
        if failures == FAILURES_TO_DOWN:
            return Health(up=False, failures=failures)
        return Health(self.up, failures, self.seconds)


def _client_hello() -> bytes:
    outgoing = ssl.MemoryBIO()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    handshake = context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="probe.invalid")
    try:
        handshake.do_handshake()
    except ssl.SSLWantReadError:
        return outgoing.read()
    raise AssertionError("a handshake waits for the server")


_HELLO = _client_hello()


async def answers(address: GatewayAddress) -> bool:
    """Whether whoever listens there does anything about a TLS handshake within TIMEOUT_SECONDS."""
    try:
        async with asyncio.timeout(TIMEOUT_SECONDS):
            reader, writer = await asyncio.open_connection(address.host, address.port)
            try:
                writer.write(_HELLO)
                await reader.read(1)
            except ConnectionError:
                # Closed with our bytes unread, which the kernel tells by a reset: the process did that.
                return True
            finally:
                writer.transport.abort()
            return True
    except (OSError, TimeoutError):
        return False


def probe_interval(of_peer: int, of_all: Sequence[int]) -> float:
    """Seconds between probes of one address of a peer that has ``of_peer``; ``of_all``: the addresses of each peer."""
    rate = sum(min(count / INTERVAL_SECONDS, _MOST_OF_A_PEER) for count in of_all)
    stretch = max(1.0, rate / _MOST_PER_SECOND)
    return stretch * max(INTERVAL_SECONDS, of_peer / _MOST_OF_A_PEER)


class GatewayProbes:
    """Probes the gateways of the peers that are followed."""

    def __init__(
        self,
        *,
        rng: random.Random,
        probe: Probe = answers,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self._rng = rng
        self._probe = probe
        self._sleep = sleep
        self._gateways: dict[ClusterId, tuple[GatewayAddress, ...]] = {}
        self._health: dict[tuple[ClusterId, GatewayAddress], Health] = {}
        self._followed = asyncio.Event()
        self.failed: Counter[ClusterId] = Counter()
        """Probes without an answer since the start, by peer."""

    def follow(self, gateways: Mapping[ClusterId, Sequence[GatewayAddress]]) -> None:
        """Probe exactly these from now on; what is known of an address that stays is kept."""
        wanted = {cluster: tuple(dict.fromkeys(addresses)) for cluster, addresses in gateways.items()}
        if wanted == self._gateways:
            return
        self._gateways = wanted
        self._health = {
            (cluster, address): self._health.get((cluster, address), Health())
            for cluster, addresses in wanted.items()
            for address in addresses
        }
        self._followed.set()

    def reach(self, cluster: ClusterId) -> bool | None:
        """Whether the peer's gateways answer: True where one does, False where none does, None where that is not known
        of all, or where it is not followed."""
        found = [self._health[cluster, address].up for address in self._gateways.get(cluster, ())]
        if True in found:
            return True
        return False if found and None not in found else None

    def answer_seconds(self, cluster: ClusterId) -> float | None:
        """How long the quickest of the peer's gateways took for its last answer: connecting, and what follows on the
        first bytes, so two round trips. None where none answers."""
        found = [self._health[cluster, address].seconds for address in self._gateways.get(cluster, ())]
        return min((seconds for seconds in found if seconds is not None), default=None)

    async def run(self) -> None:
        """Probe until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            running: dict[tuple[ClusterId, GatewayAddress], asyncio.Task[None]] = {}
            while True:
                self._followed.clear()
                for gone in running.keys() - self._health.keys():
                    running.pop(gone).cancel()
                for cluster, address in self._health.keys() - running.keys():
                    running[cluster, address] = tasks.create_task(self._keep_probing(cluster, address))
                await self._followed.wait()

    async def _keep_probing(self, cluster: ClusterId, address: GatewayAddress) -> None:
        # Those that come together are spread over the interval.
        await self._sleep(self._interval(cluster) * self._rng.random())
        while True:
            began = asyncio.get_running_loop().time()
            answered = await self._probe(address)
            took = asyncio.get_running_loop().time() - began
            # It may have been given up meanwhile: then this task is about to be cancelled.
            if (health := self._health.get((cluster, address))) is not None:
                self._health[cluster, address] = health.after(answered=answered, seconds=took)
                self.failed[cluster] += not answered
            await self._sleep(self._interval(cluster) * (1 + self._rng.uniform(-_JITTER, _JITTER)))

    def _interval(self, cluster: ClusterId) -> float:
        own = len(self._gateways.get(cluster, ()))
        return probe_interval(own, [len(each) for each in self._gateways.values()])
