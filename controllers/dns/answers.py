"""From a query's bytes to the answer's, out of a zone view. Pure: every packet has one fate, whatever it holds.

dnspython reads the query, since reading is what strangers can attack. The answer is packed here, from values of our own
and in one pass: its records fit in few shapes, and an answer of a hundred must not cost a millisecond of the loop that
the controller lives in. Knows no socket and no clock.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import dns.exception
import dns.flags
import dns.message
import dns.name
from dns.opcode import Opcode
from dns.rcode import Rcode
from dns.rdataclass import RdataClass
from dns.rdatatype import RdataType

from controllers.dns.zone import APEX, IpAddress, Labels, Node, ZoneView

MAX_QUERY = 4096
"""Octets of the longest query that is read; real ones stay below 600."""

MAX_UDP = 1232
"""Octets of the longest answer over UDP: with its headers it fits the least MTU of IPv6, so that nobody fragments."""

AMPLIFICATION = 16
"""No answer over UDP is longer than so many times its query; whoever wants more asks by TCP."""

_MAX_TCP = 65_535
_LEAST_UDP = 512
_VERSION_TTL = 28_800
# RFC 1035 §3.3.13: refresh, retry and expire, which concern secondaries only, of which there are none.
_SOA_TIMES = (7200, 1800, 86_400)
_HEADER = struct.Struct("!HHHHHH")
_RECORD = struct.Struct("!HHIH")
_SRV = struct.Struct("!HHH")
# Of a name at the beginning of the question section (RFC 1035 §4.1.4).
_QUESTION = 12
_POINTER = 0xC000
_KEPT = dns.flags.RD
_TRANSFERS = range(249, 255)
"""TKEY, TSIG, IXFR, AXFR, MAILB and MAILA: no data of any name."""

_APEX_WIRE = tuple(label.encode() for label in APEX)
_NAMED_TYPES = {RdataType(number).name: number for number in (1, 2, 5, 6, 12, 15, 16, 28, 33, 64, 65, 255)}
_TYPE_NAMES = {number: name for name, number in _NAMED_TYPES.items()}

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer, and what is counted of it."""

    wire: bytes
    kind: str
    """The type that was asked for, ``other`` for a rare one, ``none`` where the query could not be read."""
    rcode: str
    truncated: bool = False


def answer(query: bytes, view: ZoneView | None, ttl_seconds: int, *, turn: int, udp: bool) -> Reply | None:
    """The one answer to ``query``; None where there must be none (it is no query, or cannot be one).

    ``turn`` spreads callers: records of one distance begin at another one each turn. Without a ``view`` the zone is
    unknown, which is SERVFAIL.
    """
    if not _QUESTION <= len(query) <= MAX_QUERY:
        return None
    number, flags, questions, *others = _HEADER.unpack_from(query)
    if flags & dns.flags.QR:
        return None
    if dns.opcode.from_flags(flags) is not Opcode.QUERY:
        return _bare(number, flags, Rcode.NOTIMP)
    # The bounds keep what it costs to read a hostile query below that of the answer to a good one.
    if questions != 1 or others[0] or others[1] > 1 or others[2] > 2:
        return _bare(number, flags, Rcode.FORMERR)
    try:
        message = dns.message.from_wire(query, keyring=False)
    except (dns.exception.DNSException, ValueError):
        return _bare(number, flags, Rcode.FORMERR)
    limit = _MAX_TCP
    if udp:
        advertised = max(message.payload, _LEAST_UDP) if message.edns >= 0 else _LEAST_UDP
        limit = min(advertised, MAX_UDP, AMPLIFICATION * len(query))
    return _Answering(message, view, ttl_seconds, turn).reply(limit, udp=udp)


def _bare(number: int, flags: int, rcode: Rcode) -> Reply:
    """A header alone: all that can be said to a query that was not read."""
    kept = flags & (_KEPT | 0x7800)
    return Reply(_HEADER.pack(number, dns.flags.QR | kept | rcode, 0, 0, 0, 0), "none", rcode.name)


class _Answering:
    """The answer to one question, while it is put together."""

    def __init__(self, message: dns.message.Message, view: ZoneView | None, ttl_seconds: int, turn: int) -> None:
        self._message = message
        self._view = view
        self._ttl = ttl_seconds
        self._turn = turn
        asked = message.question[0]
        self._name: dns.name.Name = asked.name
        self._kind = int(asked.rdtype)
        self._class = int(asked.rdclass)
        self._labels = tuple(label.lower() for label in self._name.labels[:-1])
        self._relative: Labels = tuple(
            label.decode("latin-1") for label in self._labels[: len(self._labels) - len(APEX)]
        )

    def reply(self, limit: int, *, udp: bool) -> Reply:
        rcode, answers, additional = self._resolve()
        question = b"".join(map(_sized, self._name.labels)) + struct.pack("!HH", self._kind, self._class)
        edns = self._edns(rcode)
        room = limit - _QUESTION - len(question) - len(edns)
        # What is nearest comes first, so that it is what a client gets that does not ask again by TCP.
        answered, whole = _fill(answers, room)
        truncated = udp and not whole
        authoritative = rcode in {Rcode.NOERROR, Rcode.NXDOMAIN} and self._view is not None
        said = [self._soa(self._view)] if authoritative and self._view and not answered and whole else []
        room -= sum(map(len, (*answered, *said)))
        added = _fill(additional, room)[0] if whole else []
        flags = dns.flags.QR | (self._message.flags & _KEPT) | (rcode & 0xF)
        flags |= dns.flags.AA if authoritative else 0
        flags |= dns.flags.TC if truncated else 0
        counts = 1, len(answered), len(said), len(added) + bool(edns)
        header = _HEADER.pack(self._message.id, flags, *counts)
        wire = b"".join((header, question, *answered, *said, *added, edns))
        return Reply(wire, _TYPE_NAMES.get(self._kind, "other"), rcode.name, truncated)

    def _resolve(self) -> tuple[Rcode, Iterable[bytes], Iterable[bytes]]:
        """Response code, the answers, and what may be added to them."""
        if self._message.edns > 0:
            return Rcode.BADVERS, (), ()
        if self._kind == RdataType.OPT:
            return Rcode.FORMERR, (), ()
        if self._class != RdataClass.IN or self._kind in _TRANSFERS or self._labels[-len(APEX) :] != _APEX_WIRE:
            return Rcode.REFUSED, (), ()
        if self._view is None:
            return Rcode.SERVFAIL, (), ()
        node = self._view.find(self._relative)
        return (Rcode.NXDOMAIN, (), ()) if node is None else (Rcode.NOERROR, *self._records(node, self._view))

    def _records(self, node: Node, view: ZoneView) -> tuple[Iterable[bytes], Iterable[bytes]]:
        match self._kind:
            case RdataType.A:
                return self._addresses(_QUESTION, node.ipv4, RdataType.A), ()
            case RdataType.AAAA:
                return self._addresses(_QUESTION, node.ipv6, RdataType.AAAA), ()
            case RdataType.SRV:
                return self._targets(node), self._target_addresses(node, view)
            case RdataType.TXT:
                return (self._record(_QUESTION, RdataType.TXT, _text(text), _VERSION_TTL) for text in node.texts), ()
            case RdataType.SOA | RdataType.ANY if not self._relative:
                return (self._soa(view),), ()
            case RdataType.ANY if not node.empty:
                # RFC 8482 §4.2: something, and little of it.
                return (self._record(_QUESTION, RdataType.HINFO, _text("RFC8482") + _text("")),), ()
            case _:
                # No NS at the apex on purpose: the zone is forwarded to, never delegated, and the name of a server
                # that no resolver can look up would end what worked.
                return (), ()

    def _addresses(self, owner: int, groups: Iterable[Sequence[IpAddress]], kind: int) -> Iterator[bytes]:
        return (self._record(owner, kind, each.packed) for group in groups for each in _turned(group, self._turn))

    def _targets(self, node: Node) -> Iterator[bytes]:
        """RFC 2782: the target's name is not compressed, and clients try the lowest priority first."""
        service = b"".join(map(_text, (*self._relative[-3:], *APEX))) + b"\0"
        for priority, group in enumerate(node.targets):
            for target in _turned(group, self._turn):
                name = b"".join(map(_text, target.name)) + service
                yield self._record(_QUESTION, RdataType.SRV, _SRV.pack(priority, 1, target.port) + name)

    def _target_addresses(self, node: Node, view: ZoneView) -> Iterator[bytes]:
        """The targets' addresses, in the additional section: one question instead of several (RFC 2782)."""
        service = self._relative[-3:]
        start = _QUESTION + sum(len(label) + 1 for label in self._labels[: len(self._relative) - 3])
        in_order = (target.name for group in node.targets for target in _turned(group, self._turn))
        for name in dict.fromkeys(in_order):
            host = view.find((*name, *service)) or Node()
            inner = b"".join(map(_text, name))
            for record in self._addresses(start, host.ipv4, RdataType.A):
                yield inner + record
            for record in self._addresses(start, host.ipv6, RdataType.AAAA):
                yield inner + record

    def _soa(self, view: ZoneView) -> bytes:
        """Its TTL and its last field are those of what does not exist (RFC 2308)."""
        apex = _QUESTION + sum(len(label) + 1 for label in self._labels[: -len(APEX)])
        here = struct.pack("!H", _POINTER | apex)
        data = here + _text("hostmaster") + here + struct.pack("!IIIII", view.serial, *_SOA_TIMES, self._ttl)
        return self._record(apex, RdataType.SOA, data)

    def _record(self, owner: int, kind: int, data: bytes, ttl_seconds: int | None = None) -> bytes:
        """One record whose owner's name begins at octet ``owner`` of the message."""
        ttl = self._ttl if ttl_seconds is None else ttl_seconds
        return struct.pack("!H", _POINTER | owner) + _RECORD.pack(kind, RdataClass.IN, ttl, len(data)) + data

    def _edns(self, rcode: Rcode) -> bytes:
        if self._message.edns < 0:
            return b""
        # RFC 3225 §3: the DO bit comes back as it was, though nothing here is signed.
        ttl = (rcode >> 4) << 24 | (self._message.ednsflags & dns.flags.DO)
        return b"\0" + _RECORD.pack(RdataType.OPT, MAX_UDP, ttl, 0)


def _turned(records: Sequence[T], turn: int) -> Sequence[T]:
    start = turn % len(records) if records else 0
    return (*records[start:], *records[:start])


def _fill(records: Iterable[bytes], room: int) -> tuple[list[bytes], bool]:
    """The first records that fit into ``room`` octets, and whether these are all."""
    taken: list[bytes] = []
    for record in records:
        room -= len(record)
        if room < 0:
            return taken, False
        taken.append(record)
    return taken, True


def _text(text: str) -> bytes:
    return _sized(text.encode("ascii"))


def _sized(data: bytes) -> bytes:
    """A label or a character string: its length, then itself."""
    return bytes((len(data),)) + data
