"""Requests in, answers out: authentication, authorization, and the verb. No sockets here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from support.kube.authorization import Attributes, Authorizer
from support.kube.discovery import discovered
from support.kube.exec import Program, ProgramOf
from support.kube.faults import Faults
from support.kube.identity import Tokens, User, user_named
from support.kube.kinds import ResourceType
from support.kube.listing import Listings, Page
from support.kube.objects import Json, Key, at
from support.kube.patches import APPLY_PATCH
from support.kube.refusals import Refusal, no_such_resource, not_allowed
from support.kube.registry import Registry
from support.kube.requests import (
    Target,
    attributes_of,
    body_of,
    delete_options,
    is_true,
    media_type,
    number,
    selector_of,
    target_of,
    verb_of,
    write_of,
)
from support.kube.tables import table, wants_table
from support.kube.watching import WatchRequest

_HEALTH = {"healthz", "livez", "readyz"}


@dataclass(frozen=True, slots=True)
class Call:
    """A request as it came."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    content: bytes


@dataclass(frozen=True, slots=True)
class Answer:
    """What a request is answered with: JSON, or plain text."""

    code: int
    body: Json | str
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Watching:
    """A request that is answered by a stream of events."""

    request: WatchRequest
    user: str
    as_table: bool


@dataclass(frozen=True, slots=True)
class Audited:
    """One request that got as far as authorization: who did what, and how it was answered (200 for a watch)."""

    user: str
    asked: Attributes
    code: int


@dataclass(slots=True)
class Api:
    """All that one server answers."""

    registry: Registry
    tokens: Tokens
    authorizer: Authorizer
    listings: Listings
    faults: Faults
    clock: Callable[[], datetime]
    audit: list[Audited] = field(default_factory=list)
    program_of: ProgramOf = lambda _pod, _command: None
    """What runs where a test has a program run in a pod."""

    def program(self, call: Call, command: list[str]) -> Program:
        """The program that ``pods/exec`` asks for; raises Refusal."""
        user = self.authorizer.impersonated(self.tokens.caller(call.headers), call.headers)
        *_, namespace, _pods, pod, _exec = call.path.split("/")
        asked = Attributes("get", "", "pods", "exec", namespace, pod)
        self.authorizer.check(user, asked)
        self.audit.append(Audited(user.name, asked, 101))
        if (found := self.program_of(pod, command)) is None:
            raise no_such_resource()
        return found

    def answer(self, call: Call) -> Answer | Watching:
        """The answer to a request, whatever it is: a refusal is an answer too."""
        try:
            user = self.authorizer.impersonated(self.tokens.caller(call.headers), call.headers)
            target = target_of(self.registry.catalog, call.path)
            return self._document(call, user) if target is None else self._audited(call, user, target)
        except Refusal as refusal:
            return _refused(refusal)

    def _document(self, call: Call, user: User) -> Answer:
        verb = "get" if call.method in {"GET", "HEAD"} else call.method.lower()
        self.authorizer.check(user, Attributes(verb, path=call.path))
        parts = [part for part in call.path.split("/") if part]
        if parts and parts[0] in _HEALTH and verb == "get":
            self.faults.check("health", "")
            return Answer(200, "ok")
        found = discovered(self.registry.catalog, parts)
        if found is None:
            raise no_such_resource()
        if verb != "get":
            raise not_allowed()
        self.faults.check("discovery", "")
        return Answer(200, found)

    def _audited(self, call: Call, user: User, target: Target) -> Answer | Watching:
        verb = verb_of(call.method, target, call.query)
        asked = attributes_of(verb, target, call.query)
        try:
            self.authorizer.check(user, asked)
            self.faults.check(verb, target.kind.plural)
            answer = self._carried_out(call, user, verb, target)
        except Refusal as refusal:
            answer = _refused(refusal)
        self.audit.append(Audited(user.name, asked, answer.code if isinstance(answer, Answer) else 200))
        return answer

    def _carried_out(self, call: Call, user: User, verb: str, target: Target) -> Answer | Watching:
        kind, key, query = target.kind, Key(target.namespace, target.name), call.query
        as_table = wants_table(call.headers.get("Accept", ""))
        match verb:
            case "get":
                body = self.registry.get(kind, key)
                if as_table:
                    version = {"resourceVersion": body["metadata"]["resourceVersion"]}
                    return Answer(200, table(kind, [body], version, self.clock()))
                return Answer(200, body)
            case "list":
                page = self.listings.page(kind, selector_of(target, query), query)
                if as_table:
                    return Answer(200, table(kind, page.items, page.metadata, self.clock()))
                named = {"kind": kind.list_kind or f"{kind.kind}List", "apiVersion": kind.api_version}
                return Answer(200, {**named, "metadata": page.metadata, "items": _items(kind, page)})
            case "watch":
                return Watching(_watch_request(target, query), user.name, as_table)
            case "delete" | "deletecollection":
                options = delete_options(query, body_of(verb, call.headers, call.content))
                return self._deleted(target, key, query, options, whole=verb == "deletecollection")
        body = body_of(verb, call.headers, call.content)
        if target.subresource == "token":
            account = self.registry.get(kind, key)
            return Answer(201, self.tokens.requested(account, body))
        if kind.verbs == ("create",):
            return Answer(201, self._reviewed(kind.kind, user, body))
        if target.subresource == "finalize":
            return Answer(200, self.registry.finalize_namespace(kind, key, body).body)
        media = media_type(call.headers)
        write = write_of(verb, target, query, call.headers, media)
        if verb == "create":
            written = self.registry.create(kind, target.namespace, body, write)
        elif verb == "update":
            written = self.registry.update(kind, key, body, write)
        else:
            if media == APPLY_PATCH and not write.subresource and self.registry.store.get(kind.resource, key) is None:
                # Whoever makes an object by applying it needs the right to create it too, if only by that name.
                self.authorizer.check(user, attributes_of("create", target, query))
            written = self.registry.patch(kind, key, media, body, write)
        headers = tuple(("Warning", f'299 - "{_quoted(text)}"') for text in written.warnings)
        return Answer(201 if written.created else 200, written.body, headers)

    def _deleted(self, target: Target, key: Key, query: Mapping[str, str], options: Json, *, whole: bool) -> Answer:
        if not whole:
            return Answer(200, self.registry.delete(target.kind, key, options))
        page = self.listings.page(target.kind, selector_of(target, query), {})
        for body in page.items:
            one = Key(body["metadata"].get("namespace", ""), body["metadata"]["name"])
            self.registry.delete(target.kind, one, options)
        named = {"kind": f"{target.kind.kind}List", "apiVersion": target.kind.api_version}
        return Answer(200, {**named, "metadata": page.metadata, "items": _items(target.kind, page)})

    def _reviewed(self, kind: str, user: User, body: Json) -> Json:
        named = {"metadata": {"creationTimestamp": None}, **body}
        if kind == "TokenReview":
            return self.tokens.reviewed(named)
        if kind == "SelfSubjectReview":
            return {**named, "status": {"userInfo": user.as_json()}}
        if kind == "SubjectAccessReview":
            spec = body.get("spec") or {}
            user = user_named(str(spec.get("user") or ""), spec.get("groups") or ())
        allowed = self.authorizer.allows(user, _asked(body))
        return {**named, "status": {"allowed": allowed, **({} if allowed else {"reason": ""})}}


def _asked(body: Json) -> Attributes:
    """What an access review asks."""
    path = at(body, ("spec", "nonResourceAttributes"))
    if path:
        return Attributes(str(path.get("verb", "")), path=str(path.get("path", "")))
    asked: Mapping[str, Any] = at(body, ("spec", "resourceAttributes")) or {}
    names = ("verb", "group", "resource", "subresource", "namespace", "name")
    return Attributes(*(str(asked.get(name) or "") for name in names))


def _watch_request(target: Target, query: Mapping[str, str]) -> WatchRequest:
    initial = is_true(query, "sendInitialEvents")
    seconds = number(query, "timeoutSeconds")
    return WatchRequest(
        kind=target.kind,
        selector=selector_of(target, query),
        since=number(query, "resourceVersion"),
        bookmarks=is_true(query, "allowWatchBookmarks") or initial,
        initial_events=initial,
        seconds=None if seconds is None else float(seconds),
    )


def _refused(refusal: Refusal) -> Answer:
    return Answer(refusal.code, refusal.body, tuple(refusal.headers.items()))


def _items(kind: ResourceType, page: Page) -> list[Json]:
    """Only custom objects say in a list what they are."""
    if kind.custom:
        return list(page.items)
    return [{name: value for name, value in body.items() if name not in {"apiVersion", "kind"}} for body in page.items]


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')
