"""The steps that make a clusterset on kind, and what each waits for. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from federation.app.kind.topology import Topology


class Deed(StrEnum):
    """What a step makes true. Each is looked at before it is done, so that a run goes on where another one stopped."""

    HOST = "host"
    """Docker, kind and kubectl are there and have room."""
    IMAGE = "image"
    """The product's image is built, or there."""
    CLUSTER = "cluster"
    """The cluster runs, and its nodes are ready."""
    LOAD = "load"
    """The image is on each of its nodes."""
    EXCHANGE_IMAGE = "exchange image"
    """That of the exchange is on its nodes."""
    INSTALL = "install"
    """What `federation install` makes is there, with the values of this run."""
    EXCHANGE = "exchange"
    """Redis answers."""
    FOUND = "found"
    """The clusterset exists, this cluster is its first member."""
    AUTHORITY = "authority"
    """Its controller runs, which admits the others."""
    JOIN = "join"
    """The cluster is a member."""
    READY = "ready"
    """Its controllers and gateways are ready."""
    DNS = "dns"
    """Its CoreDNS forwards clusterset.local."""
    SAMPLE = "sample"
    """The sample runs in it."""
    CALL = "call"
    """A cluster has called the others."""


TITLES: Final = {
    Deed.HOST: "look at this host",
    Deed.IMAGE: "build the image",
    Deed.CLUSTER: "create the cluster",
    Deed.LOAD: "load the image",
    Deed.EXCHANGE_IMAGE: "load the image of the exchange",
    Deed.INSTALL: "install the federation",
    Deed.EXCHANGE: "start the exchange",
    Deed.FOUND: "found the clusterset",
    Deed.AUTHORITY: "start the authority's controller",
    Deed.JOIN: "join by a token",
    Deed.READY: "start controllers and gateways",
    Deed.DNS: "forward clusterset.local",
    Deed.SAMPLE: "deploy the sample",
    Deed.CALL: "call across clusters",
}
"""What is said while a step is done."""


@dataclass(frozen=True, slots=True, order=True)
class StepId:
    deed: Deed
    cluster: str = ""
    """Empty for what is done once."""

    def __str__(self) -> str:
        return f"{self.cluster}: {self.deed}" if self.cluster else str(self.deed)


@dataclass(frozen=True, slots=True)
class Step:
    """One thing to be made true."""

    id: StepId
    after: frozenset[StepId]
    """What must be true before."""


def plan_steps(topology: Topology) -> tuple[Step, ...]:
    """All steps, each behind those that it waits for."""
    return tuple(_steps(topology))


def _steps(topology: Topology) -> Iterator[Step]:
    seat = topology.seat.name
    host, image = StepId(Deed.HOST), StepId(Deed.IMAGE)
    yield Step(host, frozenset())
    yield Step(image, frozenset({host}))
    authority = StepId(Deed.AUTHORITY, seat)
    for cluster in topology.clusters:
        name = cluster.name
        made, loaded, installed = (StepId(deed, name) for deed in (Deed.CLUSTER, Deed.LOAD, Deed.INSTALL))
        ready, dns = StepId(Deed.READY, name), StepId(Deed.DNS, name)
        yield Step(made, frozenset({host}))
        yield Step(loaded, frozenset({made, image}))
        if name == seat:
            server, exchange, founded = (
                StepId(deed, name) for deed in (Deed.EXCHANGE_IMAGE, Deed.EXCHANGE, Deed.FOUND)
            )
            yield Step(server, frozenset({made}))
            yield Step(installed, frozenset({loaded, server}))
            yield Step(exchange, frozenset({installed}))
            yield Step(founded, frozenset({exchange}))
            yield Step(authority, frozenset({founded}))
            member = authority
        else:
            member = StepId(Deed.JOIN, name)
            yield Step(installed, frozenset({loaded}))
            yield Step(member, frozenset({installed, authority}))
        yield Step(ready, frozenset({member}))
        yield Step(dns, frozenset({installed}))
        yield Step(StepId(Deed.SAMPLE, name), frozenset({ready, dns}))
    samples = {StepId(Deed.SAMPLE, cluster.name) for cluster in topology.clusters}
    if topology.callers and topology.servers:
        yield Step(StepId(Deed.CALL), frozenset(samples))
