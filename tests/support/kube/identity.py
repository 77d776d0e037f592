"""Who calls: bearer tokens with their expiry, service accounts, impersonation, TokenReview and TokenRequest."""

from __future__ import annotations

import base64
import json
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from support.kube.objects import GroupResource, Json, Key, at, timestamp
from support.kube.refusals import Cause, bad_request, conflict, invalid, not_found, unauthorized
from support.kube.store import Store

ISSUER = "https://kubernetes.default.svc"
AUTHENTICATED = "system:authenticated"
MASTERS = "system:masters"
SHORTEST_SECONDS = 600
ACCOUNTS: GroupResource = ("", "serviceaccounts")
PODS: GroupResource = ("", "pods")


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
    bound: tuple[tuple[GroupResource, Key, str], ...]
    """The objects that must be there, by their uid, for the token to be good."""


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
        """A new token; without a lifetime it holds until it is expired by hand. ``bound_to`` is its kubernetes.io
        claim."""
        now = self._clock()
        jti = secrets.token_hex(8)
        expires = None if lifetime is None else now + lifetime
        claims: Json = {"iss": ISSUER, "sub": user.name, "aud": list(audiences), "iat": int(now.timestamp())}
        claims |= {"jti": jti}
        if expires is not None:
            claims["exp"] = int(expires.timestamp())
        if bound_to is not None:
            claims["kubernetes.io"] = bound_to
        token = f"{_segment({'alg': 'none', 'typ': 'JWT'})}.{_segment(claims)}.{secrets.token_urlsafe(16)}"
        bound: list[tuple[GroupResource, Key, str]] = []
        if account is not None:
            bound.append((ACCOUNTS, account, user.uid))
            extra = [("authentication.kubernetes.io/credential-id", (f"JTI={jti}",))]
            pod = (bound_to or {}).get("pod")
            if pod:
                extra += [(f"authentication.kubernetes.io/pod-{part}", (pod[part],)) for part in ("name", "uid")]
                bound.append((PODS, Key(account.namespace, pod["name"]), pod["uid"]))
            user = replace(user, extra=tuple(extra))
        self._grants[token] = _Grant(user, tuple(audiences), expires, tuple(bound))
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
        for resource, key, uid in grant.bound:
            body = self._store.get(resource, key)
            if body is None or body["metadata"]["uid"] != uid:
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
        seconds = int(spec.get("expirationSeconds") or 3600)
        if seconds < SHORTEST_SECONDS:
            why = f"Invalid value: {seconds}: may not specify a duration less than 10 minutes"
            cause = Cause("FieldValueInvalid", "spec.expirationSeconds", why)
            raise invalid("authentication.k8s.io", "TokenRequest", "", [cause])
        audiences = spec.get("audiences") or [ISSUER]
        bound: Json = {"namespace": key.namespace, "serviceaccount": {"name": key.name, "uid": metadata["uid"]}}
        reference = spec.get("boundObjectRef")
        if reference:
            bound["pod"] = self._bound_pod(key, reference)
        user = service_account(*key, uid=metadata["uid"])
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

    def _bound_pod(self, account: Key, reference: Json) -> Json:
        """Name and uid of the pod that a token is asked for; Secrets and Nodes, which may be bound too, nobody needs
        here."""
        if reference.get("kind") != "Pod":
            raise bad_request(f"cannot bind token to object of type {reference.get('kind')}")
        pod = self._store.get(PODS, Key(account.namespace, reference["name"]))
        if pod is None:
            raise not_found("", "pods", reference["name"])
        uid = pod["metadata"]["uid"]
        if reference.get("uid") not in {None, "", uid}:
            why = f"the UID in the bound object reference ({reference['uid']}) does not match the UID in record"
            raise conflict("", "pods", reference["name"], f"{why} ({uid})")
        if (at(pod, ("spec", "serviceAccountName")) or "default") != account.name:
            raise bad_request(
                f'cannot bind token for serviceaccount "{account.name}" to pod running with different serviceaccount'
            )
        return {"name": reference["name"], "uid": uid}

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
