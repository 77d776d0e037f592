"""The sockets: HTTPS on one loopback port, answers and streams of events, vanishing and coming back."""

from __future__ import annotations

import asyncio
import json

from aiohttp import web
from aiohttp.client_exceptions import ClientConnectionResetError

from support.kube.api import Answer, Api, Call, Watching
from support.kube.exec import serve_exec
from support.kube.objects import Json
from support.kube.pki import ServerTls
from support.kube.refusals import Refusal
from support.kube.tables import table
from support.kube.watching import Watches


class Front:
    """What clients connect to. The state behind it outlives it: it may go, and come back on the same port."""

    def __init__(self, api: Api, watches: Watches, tls: ServerTls, address: str, port: int) -> None:
        self._api = api
        self._watches = watches
        self._tls = tls
        self.address = address
        self.port = port
        self._server: asyncio.Server | None = None
        self._connections: web.Server | None = None

    @property
    def is_open(self) -> bool:
        return self._server is not None

    async def open(self) -> None:
        """Listen; the port is chosen once and then stays."""
        self._connections = web.Server(self._handle, handler_cancellation=True, access_log=None)
        self._server = await asyncio.get_running_loop().create_server(
            self._connections, self.address, self.port, ssl=self._tls.context
        )
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """Refuse connections and cut those there are."""
        server, connections = self._server, self._connections
        if server is None or connections is None:
            return
        self._server = self._connections = None
        server.close()
        for connection in connections.connections:
            if connection.transport is not None:
                connection.transport.abort()
        await connections.shutdown(0)
        await server.wait_closed()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        answers = self._api.faults.answers
        content = await request.content.read()
        await answers.wait()
        call = Call(request.method, request.path, request.query, request.headers, content)
        if request.path.endswith("/exec"):
            return await self._executed(request, call)
        answer = self._api.answer(call)
        if isinstance(answer, Watching):
            try:
                self._watches.check(answer.request)
            except Refusal as refusal:
                answer = Answer(refusal.code, refusal.body, tuple(refusal.headers.items()))
        if isinstance(answer, Watching):
            return await self._stream(request, answer)
        return _response(answer)

    async def _executed(self, request: web.BaseRequest, call: Call) -> web.StreamResponse:
        try:
            program = self._api.program(call, request.query.getall("command", []))
        except Refusal as refusal:
            return _response(Answer(refusal.code, refusal.body, tuple(refusal.headers.items())))
        return await serve_exec(request, program)

    async def _stream(self, request: web.BaseRequest, watching: Watching) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        response.enable_chunked_encoding()
        await response.prepare(request)
        transport = request.transport

        async def send(event: Json) -> None:
            await self._api.faults.answers.wait()
            await response.write(json.dumps(self._shown(watching, event), separators=(",", ":")).encode() + b"\n")

        def abort() -> None:
            if transport is not None:
                transport.abort()

        try:
            await self._watches.run(watching.request, watching.user, abort, send)
            await response.write_eof()
        except (ConnectionResetError, ClientConnectionResetError):
            pass  # whoever watched has gone: nobody is left to tell
        return response

    def _shown(self, watching: Watching, event: Json) -> Json:
        if not watching.as_table or event["type"] not in {"ADDED", "MODIFIED", "DELETED"}:
            return event
        version = {"resourceVersion": event["object"]["metadata"]["resourceVersion"]}
        shown = table(watching.request.kind, [event["object"]], version, self._api.clock())
        return {"type": event["type"], "object": shown}


def _response(answer: Answer) -> web.Response:
    plain = isinstance(answer.body, str)
    content = answer.body.encode() if isinstance(answer.body, str) else json.dumps(answer.body).encode()
    response = web.Response(
        status=answer.code, body=content, content_type="text/plain" if plain else "application/json"
    )
    for name, value in answer.headers:
        response.headers.add(name, value)
    return response
