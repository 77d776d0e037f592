"""KubeClient: requests to one Kubernetes API server. With ``execution``, the only importer of the official package.

Edge: it carries requests and answers, and decides nothing. Of the package it takes what is
tedious to get right: kubeconfigs, service accounts, TLS, proxies. Its models are left aside: building one for each of
thousands of objects takes seconds, and what comes is judged by ``controllers.sources`` anyway.

Credentials are read from their files when a client is opened, and a client is short-lived: whoever is refused opens
another, with the token that is there by then.
"""

from __future__ import annotations

import math
import os
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp
import msgspec
import yaml
from kubernetes.aio.client import ApiClient, Configuration
from kubernetes.aio.config import ConfigException
from kubernetes.aio.config.incluster_config import InClusterConfigLoader
from kubernetes.aio.config.kube_config import KubeConfigLoader, KubeConfigMerger

from controllers.kube.locations import collection, location
from controllers.mcs.objects import FIELD_MANAGER, Document, id_of, mapping, section, sequence, text
from controllers.sources.manifests import ObjectId
from federation.model.errors import FederationError

SERVICE_ACCOUNT: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount")
"""Where Kubernetes mounts a pod's token and the API server's CA."""

WRITE_SECONDS: Final = 30.0
"""For one write and its answer: an API server gives its webhooks as much."""

_MAX_MESSAGE: Final = 300
_AWAY: Final = "does the cluster run, is its address right, is a proxy in the way? `kubectl cluster-info` tells"
_UNTYPED: Final = "failed to create typed patch object"
_ACCEPTED: Final = frozenset({HTTPStatus.OK, HTTPStatus.CREATED, HTTPStatus.ACCEPTED})
_MANAGED: Final[Mapping[str, str]] = {"fieldManager": FIELD_MANAGER, "fieldValidation": "Strict"}
_RIGHTS: Final[Mapping[str, str]] = {
    "GET": "list and watch",
    "POST": "create",
    "PUT": "update",
    "PATCH": "create and patch",
    "DELETE": "delete",
}
"""What a method needs, in the words of RBAC; a patch that is applied may create."""


class KubeError(FederationError):
    """The API server can't be reached, or refuses: retry, and keep what was last read."""

    def __init__(
        self,
        message: str,
        *,
        status: int = 0,
        hint: str = "",
        causes: tuple[tuple[str, str], ...] = (),
        retry_after_seconds: float = 0.0,
    ) -> None:
        super().__init__(message, hint=hint)
        self.status = status
        """Of HTTP; 0 where no answer came."""
        self.causes = causes
        """Reason and field of each cause that the API server names."""
        self.retry_after_seconds = retry_after_seconds
        """How long the API server asks to wait."""

    @property
    def expired(self) -> bool:
        """Whether what was asked for is older than the API server remembers: list anew."""
        return self.status == HTTPStatus.GONE

    @property
    def not_served(self) -> bool:
        """Whether the API server has no such resource, as before a CRD is installed."""
        return self.status == HTTPStatus.NOT_FOUND

    @property
    def untyped(self) -> bool:
        """Whether what was applied is not of the resource's type, as where its schema lacks a field: an API server
        says so with 500, as if it were in trouble itself."""
        return self.status == HTTPStatus.INTERNAL_SERVER_ERROR and _UNTYPED in str(self)


@dataclass(frozen=True, slots=True)
class KubeAccess:
    """How the API server is found, and in whose name it is asked."""

    kubeconfig: Path | None = None
    """None: as the pod that this runs in."""
    context: str | None = None
    """Of the kubeconfig; None: its current one."""
    more_kubeconfigs: tuple[Path, ...] = ()
    """Files that are merged with ``kubeconfig`` as kubectl merges those of KUBECONFIG: what comes first counts."""
    service_account: Path = SERVICE_ACCOUNT
    """Where the pod's token is, if there is no kubeconfig."""


class KubeClient:
    """Requests with the credentials of when it was opened; made by ``open_client``."""

    def __init__(self, api: ApiClient) -> None:
        self._api = api

    async def get(self, path: str, query: Mapping[str, str], *, timeout_seconds: float) -> Mapping[str, object]:
        """One whole JSON answer; raises KubeError."""
        with failures_told():
            return await self._whole("GET", path, query, timeout_seconds)

    async def apply(
        self,
        document: Document,
        subresource: str | None = None,
        *,
        manager: str = FIELD_MANAGER,
        dry_run: bool = False,
        timeout_seconds: float = WRITE_SECONDS,
    ) -> Document:
        """State the fields of an object as ``manager``'s (server-side apply, forced); returns the object as it is then,
        or would be with ``dry_run``.

        Raises KubeError, also where the API server would drop a field.
        """
        path = _location(document, subresource or "")
        query = {**_MANAGED, "fieldManager": manager, "force": "true", **({"dryRun": "All"} if dry_run else {})}
        with failures_told():
            return await self._whole("PATCH", path, query, timeout_seconds, document, "application/apply-patch+yaml")

    async def create(
        self, document: Document, *, dry_run: bool = False, timeout_seconds: float = WRITE_SECONDS
    ) -> Document:
        """Make an object that is not there; returns it as it is then. Raises KubeError, with 409 where it is there.

        With ``dry_run`` it is only told how it would be.
        """
        kind, version = text(document.get("kind")), text(document.get("apiVersion"))
        path = collection(kind, version, text(section(document, "metadata").get("namespace")))
        with failures_told():
            query = {**_MANAGED, **({"dryRun": "All"} if dry_run else {})}
            return await self._whole("POST", path, query, timeout_seconds, document, "application/json")

    async def replace(self, document: Document, *, timeout_seconds: float = WRITE_SECONDS) -> Document:
        """Put an object in the place of the version that it names; returns it as it is then. Raises KubeError, with 409
        where another version is there by now."""
        with failures_told():
            return await self._whole(
                "PUT", _location(document), _MANAGED, timeout_seconds, document, "application/json"
            )

    async def delete(
        self,
        id_: ObjectId,
        uid: str,
        resource_version: str,
        *,
        api_version: str,
        timeout_seconds: float = WRITE_SECONDS,
    ) -> None:
        """Delete exactly this version of this object; raises KubeError, with 409 where it is another by now."""
        options = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "preconditions": {"uid": uid, "resourceVersion": resource_version},
        }
        with failures_told():
            await self._whole("DELETE", location(id_, api_version), {}, timeout_seconds, options, "application/json")

    @asynccontextmanager
    async def watch(
        self, path: str, query: Mapping[str, str], *, silence_seconds: float
    ) -> AsyncIterator[AsyncIterator[Mapping[str, object]]]:
        """The events of a watch, once it is accepted and until the server ends it; raises KubeError, also where nothing
        came for so long."""
        limits = aiohttp.ClientTimeout(total=None, sock_connect=silence_seconds, sock_read=silence_seconds)
        with failures_told():
            response = await self._request("GET", path, {**query, "watch": "true"}, limits)
            async with response:
                yield _events(response)

    async def _whole(
        self,
        method: str,
        path: str,
        query: Mapping[str, str],
        timeout_seconds: float,
        body: Document | None = None,
        media_type: str = "",
    ) -> Document:
        # To the moment, never rounded up to a whole second: the writes of a leader end before its time does.
        limits = aiohttp.ClientTimeout(total=timeout_seconds, ceil_threshold=math.inf)
        response = await self._request(method, path, query, limits, body, media_type)
        async with response:
            return _decoded(await response.read())

    async def _request(
        self,
        method: str,
        path: str,
        query: Mapping[str, str],
        limits: aiohttp.ClientTimeout,
        body: Document | None = None,
        media_type: str = "",
    ) -> aiohttp.ClientResponse:
        # Without the body: the package would copy it, value by value.
        _, url, headers, _, _ = await self._api.param_serialize(
            method,
            path,
            query_params=sorted(query.items()),
            header_params={"Accept": "application/json", **({"Content-Type": media_type} if media_type else {})},
            auth_settings=["BearerToken"],
        )
        answer = await self._api.call_api(method, url, headers, body, _request_timeout=limits)
        response: aiohttp.ClientResponse = answer.response
        if response.status in _ACCEPTED:
            return response
        async with response:
            raise _refusal(response.status, await response.read(), _RIGHTS[method])


@asynccontextmanager
async def open_client(access: KubeAccess) -> AsyncIterator[KubeClient]:
    """A client for a while; raises KubeError where the credentials can't be read."""
    api = ApiClient(await load_configuration(access))
    try:
        yield KubeClient(api)
    finally:
        await api.close()  # type: ignore[no-untyped-call]


async def load_configuration(access: KubeAccess) -> Configuration:
    """Where the API server is and the credentials for it, as they are in their files now; raises KubeError."""
    configuration = Configuration()
    try:
        if access.kubeconfig is None:
            token, ca = access.service_account / "token", access.service_account / "ca.crt"
            in_pod = InClusterConfigLoader(str(token), str(ca), environ=os.environ)  # type: ignore[no-untyped-call]
            in_pod.load_and_set(configuration)  # type: ignore[no-untyped-call]
        else:
            files = (access.kubeconfig, *access.more_kubeconfigs)
            await _merged(files, access.context).load_and_set(configuration)  # type: ignore[no-untyped-call]
    except ConfigException as error:
        raise _unusable(str(error)[:_MAX_MESSAGE]) from error
    except OSError as error:
        raise _unusable(error.strerror or type(error).__name__) from error
    except (yaml.YAMLError, AttributeError, LookupError, TypeError, ValueError) as error:
        # A kubeconfig that is being written may be cut anywhere, and the package takes it as it is. The text of the
        # error may hold what stands in the file.
        raise _unusable(f"they are malformed ({type(error).__name__})") from error
    # Else aiohttp reads ~/.netrc and the proxies anew for every request, in a thread: a sixth of what a write costs.
    configuration.client_session_kwargs = {"trust_env": False}
    configuration.proxy = configuration.proxy or _proxy_of(configuration.host)
    return configuration


def _merged(files: Sequence[Path], context: str | None) -> KubeConfigLoader:
    """What the files say together; raises KubeError where they have no such context, or None means none of theirs."""
    # The package takes no empty file.
    written = [file for file in files if not file.exists() or file.stat().st_size] or files
    names = os.pathsep.join(map(str, written))
    merger = KubeConfigMerger(names)  # type: ignore[no-untyped-call]
    if merger.config is None:
        raise _unusable(f"kubeconfig {names} is not there")
    # The package takes the last one.
    currents = (content.get("current-context") for content in merger.config_files.values())
    chosen = context or next(filter(None, currents), "")
    known = sorted(entry["name"] for entry in merger.config.value["contexts"])
    if known and chosen not in known:
        told = f"has no context {chosen}" if chosen else "names no current context"
        raise KubeError(f"kubeconfig {names} {told}", hint=f"choose one of its contexts: {', '.join(known)}")
    return KubeConfigLoader(merger.config, chosen, config_base_path=None)  # type: ignore[no-untyped-call]


def _proxy_of(url: str) -> str | None:
    """The proxy that the environment names for the API server, as for curl and kubectl."""
    parts = urlsplit(url)
    return None if proxy_bypass(parts.netloc) else getproxies().get(parts.scheme)


def _location(document: Document, subresource: str = "") -> str:
    return location(id_of(document), text(document.get("apiVersion")), subresource)


def _unusable(cause: str) -> KubeError:
    return KubeError(
        f"the credentials for the API server can't be used: {cause}",
        hint="`kubectl config view` shows what a kubeconfig says; in a pod they are of its service account",
    )


def status_error(status: Mapping[str, object], rights: str = _RIGHTS["GET"]) -> KubeError:
    """The error that a ``Status`` object tells, as in the last event of a watch; ``rights`` are those it took."""
    code, message = status.get("code"), status.get("message")
    told = message if isinstance(message, str) and message else "no reason given"
    number = code if isinstance(code, int) else 0
    details = section(status, "details")
    causes = [mapping(item) for item in sequence(details.get("causes"))]
    wait = details.get("retryAfterSeconds")
    return KubeError(
        f"the API server refuses: {told[:_MAX_MESSAGE]}",
        status=number,
        hint=_hint(number, rights),
        causes=tuple((text(cause.get("reason")), text(cause.get("field"))) for cause in causes),
        retry_after_seconds=float(wait) if isinstance(wait, int | float) else 0.0,
    )


def _refusal(code: int, content: bytes, rights: str) -> KubeError:
    try:
        status = _decoded(content)
    except ValueError:
        # A proxy in between may answer whatever it likes.
        status = {"message": f"HTTP {code}"}
    return status_error({**status, "code": code}, rights)


def _hint(code: int, rights: str) -> str:
    match code:
        case HTTPStatus.UNAUTHORIZED:
            return "check the token: it may have expired, and is read again with the next attempt"
        case HTTPStatus.FORBIDDEN:
            return f"give the user the rights to {rights} it"
        case _:
            return ""


async def _events(response: aiohttp.ClientResponse) -> AsyncIterator[Mapping[str, object]]:
    async for line in _lines(response):
        yield _decoded(line)


async def _lines(response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    """The lines of an answer, however long: an object may be larger than any buffer of the library."""
    rest = b""
    async for chunk in response.content.iter_any():
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            if line:
                yield line


def _decoded(content: bytes) -> Mapping[str, object]:
    return msgspec.json.decode(content, type=dict[str, object])


@contextmanager
def failures_told() -> Iterator[None]:
    """Everything that can go wrong between here and the API server, as KubeError."""
    try:
        yield
    except TimeoutError as error:
        raise KubeError("the API server does not answer in time", hint=_AWAY) from error
    except (aiohttp.ClientError, OSError) as error:
        raise KubeError(f"the API server can't be reached: {str(error)[:_MAX_MESSAGE]}", hint=_AWAY) from error
    except msgspec.DecodeError as error:
        raise KubeError("the API server's answer is no JSON object") from error
