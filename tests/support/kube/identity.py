"""Who calls: bearer tokens with their expiry, service accounts, impersonation, TokenReview and TokenRequest."""

from __future__ import annotations

import base64
import json
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from support.kube.objects import Json, Key, at, timestamp
from support.kube.refusals import unauthorized
from support.kube.store import Store

ISSUER = "https://kubernetes.default.svc"
AUTHENTICATED = "system:authenticated"
MASTERS = "system:masters"
SHORTEST_SECONDS = 600


@dataclass(frozen=True, slots=True)
class User:
    """Who a request is from."""

    name: str
    groups: tuple[str, ...] = ()
    uid: str = ""
    extra: tuple[tuple[str, tuple[str, ...]], ...] = ()

    def as_json(self) -> Json:
        extra = {name: list(values) for name, values in self.extra}
        return {"username": self.name, "uid": self.uid, "groups": list(self.groups), "extra": extra}


ANONYMOUS = User("system:anonymous", ("system:unauthenticated",))
ADMIN = User("kubernetes-admin", (MASTERS, AUTHENTICATED))


def service_account(namespace: str, name: str, uid: str = "") -> User:
    groups = ("system:serviceaccounts", f"system:serviceaccounts:{namespace}", AUTHENTICATED)
    return User(f"system:serviceaccount:{namespace}:{name}", groups, uid)


def user_named(name: str, groups: Sequence[str] = ()) -> User:
    """The user that a name stands for, a service account with the groups that it always has."""
    if name.startswith("system:serviceaccount:"):
        _, _, namespace, account = name.split(":", 3)
        return service_account(namespace, account) if not groups else User(name, (*groups, AUTHENTICATED))
    return User(name, (*groups, AUTHENTICATED))


@dataclass(frozen=True, slots=True)
class _Grant:
    user: User
    audiences: tuple[str, ...]
    expires: datetime | None
    account: Key | None


class Tokens:
    """The bearer tokens of one server. They look like JWTs, whose expiry clients read, but only this table decides."""

    def __init__(self, store: Store, clock: Callable[[], datetime]) -> None:
        self._store = store
        self._clock = clock
        self._grants: dict[str, _Grant] = {}

    def grant(
        self,
        user: User,
        *,
        audiences: Sequence[str] = (ISSUER,),
        lifetime: timedelta | None = None,
        account: Key | None = None,
        bound_to: Json | None = None,
    ) -> str:
        """A new token; without a lifetime it holds until it is expired by hand."""
        now = self._clock()
        expires = None if lifetime is None else now + lifetime
        claims: Json = {"iss": ISSUER, "sub": user.name, "aud": list(audiences), "iat": int(now.timestamp())}
        claims |= {"jti": secrets.token_hex(8)}
        if expires is not None:
            claims["exp"] = int(expires.timestamp())
        if bound_to is not None:
            claims["kubernetes.io"] = bound_to
        token = f"{_segment({'alg': 'none', 'typ': 'JWT'})}.{_segment(claims)}.{secrets.token_urlsafe(16)}"
        self._grants[token] = _Grant(user, tuple(audiences), expires, account)
        return token

    def expire(self, token: str) -> None:
        """From now on the token is worth nothing."""
        self._grants.pop(token, None)

    def expire_all_of(self, user: str) -> None:
        """All tokens of one user are worth nothing."""
        for token in [token for token, grant in self._grants.items() if grant.user.name == user]:
            self.expire(token)

    def user_of(self, token: str, audiences: Sequence[str] = (ISSUER,)) -> User | None:
        """Who the token speaks for to one of these audiences, None for nobody (any more)."""
        grant = self._grants.get(token)
        if grant is None or not set(grant.audiences) & set(audiences):
            return None
        if grant.expires is not None and grant.expires <= self._clock():
            return None
        if grant.account is not None:
            account = self._store.get(("", "serviceaccounts"), grant.account)
            if account is None or account["metadata"]["uid"] != grant.user.uid:
                return None
        return grant.user

    def caller(self, headers: Mapping[str, str]) -> User:
        """Who a request is from, before impersonation; raises a 401 for a token that is worth nothing."""
        scheme, _, token = headers.get("Authorization", "").partition(" ")
        if not scheme:
            return ANONYMOUS
        user = self.user_of(token.strip()) if scheme.lower() == "bearer" else None
        if user is None:
            raise unauthorized()
        return user

    def requested(self, account: Json, body: Json) -> Json:
        """The answer to a TokenRequest for a service account."""
        metadata, spec = account["metadata"], body.get("spec") or {}
        key = Key(metadata["namespace"], metadata["name"])
        seconds = max(int(spec.get("expirationSeconds") or 3600), SHORTEST_SECONDS)
        audiences = spec.get("audiences") or [ISSUER]
        bound: Json = {"namespace": key.namespace, "serviceaccount": {"name": key.name, "uid": metadata["uid"]}}
        reference = spec.get("boundObjectRef")
        if reference:
            kind = reference.get("kind", "").lower()
            bound[kind] = {name: reference[name] for name in ("name", "uid") if name in reference}
        user = service_account(*key, uid=metadata["uid"])
        if reference and reference.get("kind") == "Pod":
            extra = [(f"authentication.kubernetes.io/pod-{name}", (value,)) for name, value in bound["pod"].items()]
            user = User(user.name, user.groups, user.uid, tuple(extra))
        lifetime = timedelta(seconds=seconds)
        token = self.grant(user, audiences=audiences, lifetime=lifetime, account=key, bound_to=bound)
        status = {"token": token, "expirationTimestamp": timestamp(self._clock() + lifetime)}
        return {
            "kind": "TokenRequest",
            "apiVersion": "authentication.k8s.io/v1",
            "metadata": {"name": key.name, "namespace": key.namespace},
            "spec": {**spec, "audiences": audiences, "expirationSeconds": seconds},
            "status": status,
        }

    def reviewed(self, body: Json) -> Json:
        """The answer to a TokenReview."""
        token = str(at(body, ("spec", "token")) or "")
        audiences = at(body, ("spec", "audiences")) or [ISSUER]
        user = self.user_of(token, audiences)
        if user is None:
            return {**body, "status": {"user": {}, "error": "token lookup failed"}}
        fits = [one for one in audiences if one in self._grants[token].audiences]
        return {**body, "status": {"authenticated": True, "user": user.as_json(), "audiences": fits}}


def _segment(value: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(value, separators=(",", ":")).encode()).decode().rstrip("=")
