"""The barest client of an API server: what is sent is what a test says, what comes back is all of it."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Self

import aiohttp
from multidict import CIMultiDictProxy

from support.kube.objects import Json

DEADLINE_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer: its status, its JSON and its headers."""

    code: int
    body: Json
    headers: CIMultiDictProxy[str]

    @property
    def reason(self) -> tuple[int, str]:
        """Status and reason of a refusal."""
        return self.code, self.body.get("reason", "")


class Events:
    """The events of one watch, as they come."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response

    async def next(self) -> Json | None:
        """The next event, None at the end; raises TimeoutError where none comes."""
        async with asyncio.timeout(DEADLINE_SECONDS):
            line = await self._response.content.readline()
        return json.loads(line) if line else None

    async def told(self, count: int) -> list[tuple[str, str]]:
        """So many events: type and name."""
        found: list[tuple[str, str]] = []
        for _ in range(count):
            event = await self.next()
            assert event is not None, f"the watch ended after {found}"
            found.append((event["type"], event["object"].get("metadata", {}).get("name", "")))
        return found


class Caller:
    """Requests of one user to one server."""

    def __init__(self, url: str, ca_pem: str, token: str | None, headers: Mapping[str, str] | None = None) -> None:
        self._url = url
        self._ssl = ssl.create_default_context(cadata=ca_pem)
        self._headers = {**({"Authorization": f"Bearer {token}"} if token else {}), **(headers or {})}
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        connector = aiohttp.TCPConnector(ssl=self._ssl)
        self._session = aiohttp.ClientSession(self._url, headers=self._headers, connector=connector)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._session is not None
        await self._session.close()

    async def ask(
        self, method: str, path: str, body: Any = None, *, media: str = "application/json", **query: str
    ) -> Reply:
        """One request; a body that is no text is sent as JSON."""
        assert self._session is not None
        content = body if body is None or isinstance(body, str) else json.dumps(body)
        headers = {"Content-Type": media} if content is not None else {}
        async with asyncio.timeout(DEADLINE_SECONDS):
            async with self._session.request(method, path, data=content, params=query, headers=headers) as response:
                text = await response.text()
                plain = not response.content_type.endswith("json")
                return Reply(response.status, {"text": text} if plain else json.loads(text), response.headers)

    async def get(self, path: str, **query: str) -> Reply:
        return await self.ask("GET", path, **query)

    async def post(self, path: str, body: Any, **query: str) -> Reply:
        return await self.ask("POST", path, body, **query)

    async def put(self, path: str, body: Any, **query: str) -> Reply:
        return await self.ask("PUT", path, body, **query)

    async def delete(self, path: str, body: Any = None, **query: str) -> Reply:
        return await self.ask("DELETE", path, body, **query)

    async def apply(self, path: str, body: Any, manager: str, **query: str) -> Reply:
        """Server-side apply."""
        media = "application/apply-patch+yaml"
        return await self.ask("PATCH", path, body, media=media, fieldManager=manager, **query)

    @asynccontextmanager
    async def watch(self, path: str, **query: str) -> AsyncIterator[Events]:
        """A watch under way."""
        assert self._session is not None
        async with self._session.get(path, params={"watch": "1", **query}) as response:
            yield Events(response)
