"""HTTP/2 in the clear with prior knowledge, as little of it as an echo needs: one client call, one server.

Written on frames (RFC 9113), since no HTTP/2 library is among the dependencies: header blocks are written without
compression, and read only for the status. Bodies stay below the initial flow-control window.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator, Callable

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY = 0x0, 0x1, 0x3, 0x4, 0x6, 0x7
ACK = END_STREAM = 0x1
END_HEADERS = 0x4
# Indexed header fields of HPACK's static table (RFC 7541, appendix A).
STATUS_200, METHOD_POST, SCHEME_HTTP = 0x88, 0x83, 0x86


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def literal(name: str, value: str) -> bytes:
    """A header field that is neither indexed nor compressed."""
    return b"\x00" + bytes([len(name)]) + name.encode() + bytes([len(value)]) + value.encode()


async def read_frame(reader: asyncio.StreamReader) -> tuple[int, int, int, bytes]:
    """Kind, flags, stream and payload."""
    head = await reader.readexactly(9)
    length = int.from_bytes(head[:3], "big")
    stream = int.from_bytes(head[5:], "big") & 0x7FFFFFFF
    return head[3], head[4], stream, await reader.readexactly(length)


async def frames(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> AsyncIterator[tuple[int, int, int, bytes]]:
    """The frames that concern a stream; the connection's own are answered."""
    while True:
        kind, flags, stream, payload = await read_frame(reader)
        if kind == SETTINGS and not flags & ACK:
            writer.write(frame(SETTINGS, ACK, 0))
        elif kind == PING and not flags & ACK:
            writer.write(frame(PING, ACK, 0, payload))
        elif kind == GOAWAY:
            raise ConnectionResetError("the peer goes away")
        elif stream:
            yield kind, flags, stream, payload


async def call(host: str, port: int, authority: str, body: bytes) -> tuple[bool, bytes]:
    """One POST with prior knowledge: whether the status is 200, and the body of the answer."""
    reader, writer = await asyncio.open_connection(host, port)
    try:
        block = bytes([METHOD_POST, SCHEME_HTTP]) + literal(":path", "/") + literal(":authority", authority)
        writer.write(PREFACE + frame(SETTINGS, 0, 0))
        writer.write(frame(HEADERS, END_HEADERS, 1, block) + frame(DATA, END_STREAM, 1, body))
        good, answer = False, b""
        async for kind, flags, _, payload in frames(reader, writer):
            if kind == HEADERS and not answer:
                # A change of the table's size may stand before the first field.
                good = payload.lstrip(bytes(range(0x20, 0x40)))[:1] == bytes([STATUS_200])
            elif kind == DATA:
                answer += payload
            elif kind == RST_STREAM:
                return False, answer
            if kind in {HEADERS, DATA} and flags & END_STREAM:
                return good, answer
        return False, answer
    finally:
        writer.close()


def server(answer: Callable[[bytes], bytes]) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], object]:
    """A connection handler for asyncio.start_server that answers each request with what ``answer`` makes of it."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            # Whoever speaks anything else than HTTP/2 with prior knowledge gets nothing.
            if await reader.readexactly(len(PREFACE)) != PREFACE:
                return
            writer.write(frame(SETTINGS, 0, 0))
            bodies: dict[int, bytes] = {}
            async for kind, flags, stream, payload in frames(reader, writer):
                if kind == DATA:
                    bodies[stream] = bodies.get(stream, b"") + payload
                if kind in {HEADERS, DATA} and flags & END_STREAM:
                    reply = answer(bodies.pop(stream, b""))
                    writer.write(frame(HEADERS, END_HEADERS, stream, bytes([STATUS_200])))
                    writer.write(frame(DATA, END_STREAM, stream, reply))
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    return serve
