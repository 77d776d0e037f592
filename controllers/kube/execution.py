"""Running a program in a pod, as `kubectl exec` does (subresource exec, WebSocket protocol v4.channel.k8s.io).

Edge, and beside ``client`` the only importer of the official package. What the program is given comes by its standard
input, never by its arguments: an API server writes those to its audit log.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final
from urllib.parse import quote

import aiohttp
import msgspec
from kubernetes.aio.stream import WsApiClient

from controllers.kube.client import KubeAccess, KubeError, failures_told, load_configuration
from controllers.mcs.objects import mapping, section, sequence, text

_STDIN, _STDOUT, _STDERR, _OUTCOME = range(4)
_PROTOCOL: Final = "v4.channel.k8s.io"
_CHUNK: Final = 32 * 1024
_HEARTBEAT_SECONDS: Final = 20.0


async def execute(
    access: KubeAccess,
    namespace: str,
    pod: str,
    container: str,
    command: Sequence[str],
    given: bytes,
    *,
    out: Callable[[bytes], None],
    err: Callable[[bytes], None],
) -> int:
    """Run the command with ``given`` on its standard input, which stays open after that; returns its exit code, having
    handed on what it prints as it comes. Raises KubeError, also where the connection ends before the program does."""
    path = f"/api/v1/namespaces/{quote(namespace, safe='')}/pods/{quote(pod, safe='')}/exec"
    query = [("container", container), *((stream, "true") for stream in ("stdin", "stdout", "stderr"))]
    query += [("command", word) for word in command]
    api = WsApiClient(await load_configuration(access), heartbeat=_HEARTBEAT_SECONDS)  # type: ignore[no-untyped-call]
    try:
        with failures_told():
            request = await api.param_serialize("GET", path, query_params=query, auth_settings=["BearerToken"])
            headers = {**request[2], "sec-websocket-protocol": _PROTOCOL}
            answer = await api.call_api(request[0], request[1], headers, _preload_content=False)  # type: ignore[no-untyped-call]
            try:
                async with answer.response as socket:
                    return await _carried_on(socket, given, out, err)
            except aiohttp.WSServerHandshakeError as error:
                raise _refusal(error, pod) from error
    finally:
        await api.close()  # type: ignore[no-untyped-call]


async def _carried_on(
    socket: aiohttp.ClientWebSocketResponse, given: bytes, out: Callable[[bytes], None], err: Callable[[bytes], None]
) -> int:
    for start in range(0, len(given), _CHUNK):
        await socket.send_bytes(bytes([_STDIN]) + given[start : start + _CHUNK])
    async for message in socket:
        if message.type is not aiohttp.WSMsgType.BINARY or not message.data:
            continue
        channel, content = message.data[0], message.data[1:]
        if channel == _STDOUT:
            out(content)
        elif channel == _STDERR:
            err(content)
        elif channel == _OUTCOME:
            return _exit_code(content)
    raise KubeError("the connection to the pod ended before the program did")


def _exit_code(content: bytes) -> int:
    """What became of the program, by the Status that ends it."""
    status = msgspec.json.decode(content, type=dict[str, object])
    if status.get("status") == "Success":
        return 0
    for cause in map(mapping, sequence(section(status, "details").get("causes"))):
        code = text(cause.get("message"))
        if cause.get("reason") == "ExitCode" and code.isdigit():
            return int(code)
    raise KubeError(f"the program could not be run in the pod: {text(status.get('message'))[:300]}")


def _refusal(error: aiohttp.WSServerHandshakeError, pod: str) -> KubeError:
    match error.status:
        case 403:
            hint = "give the user the rights to get and create pods/exec in the namespace"
        case 404:
            hint = "has the pod been replaced? try again"
        case _:
            hint = ""
    return KubeError(f"nothing can be run in pod {pod}: HTTP {error.status}", status=error.status, hint=hint)
