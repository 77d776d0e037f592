"""What this project relies on in an API server's authentication and authorization."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from support.kube.caller import Reply
from support.kube.objects import Json
from support.kube.site import (
    AUTHENTICATION,
    AUTHORIZATION,
    CORE,
    MCS,
    MERGE,
    RBAC,
    WAIT_SECONDS,
    Site,
    export,
    names,
)


async def account(site: Site, name: str = "worker") -> str:
    """A token of a new service account."""
    path = site.path("serviceaccounts", api=CORE)
    await site.made(path, {"metadata": {"name": name}})
    reply = await site.admin.post(f"{path}/{name}/token", {"spec": {"expirationSeconds": 3600}})
    assert reply.code == 201, reply
    token: str = reply.body["status"]["token"]
    return token


async def allow(site: Site, *rules: Json, name: str = "worker") -> None:
    """A Role with these rules, bound to the service account of that name."""
    subject = {"kind": "ServiceAccount", "name": name, "namespace": site.namespace}
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name}
    await site.made(site.path("roles", api=RBAC), {"metadata": {"name": name}, "rules": list(rules)})
    binding = {"metadata": {"name": name}, "roleRef": reference, "subjects": [subject]}
    await site.made(site.path("rolebindings", api=RBAC), binding)


def rule(*verbs: str, resources: str = "serviceexports", **more: Any) -> Json:
    return {"apiGroups": ["multicluster.x-k8s.io"], "resources": [resources], "verbs": list(verbs), **more}


async def allowed_soon(call: Callable[[], Any]) -> Reply:
    """The answer once a new binding has come into force, which takes a real server a moment."""
    async with asyncio.timeout(WAIT_SECONDS):
        while (reply := await call()).code == 403:
            await asyncio.sleep(0.02)
    found: Reply = reply
    return found


async def test_without_a_rule_nothing_is_allowed(site: Site) -> None:
    """403 says who may not do what, and where."""
    async with site.plane.caller(await account(site)) as worker:
        refused = await worker.get(site.path("serviceexports"))
        everywhere = await worker.get(f"{MCS}/serviceexports")

    assert refused.reason == (403, "Forbidden")
    assert refused.body["message"] == (
        "serviceexports.multicluster.x-k8s.io is forbidden: "
        f'User "system:serviceaccount:{site.namespace}:worker" cannot '
        f'list resource "serviceexports" in API group "multicluster.x-k8s.io" in the namespace "{site.namespace}"'
    )
    assert everywhere.body["message"].endswith("at the cluster scope")


async def test_a_rule_allows_what_it_names_and_no_more(site: Site) -> None:
    """Verbs, subresources, names and the namespace are each minded."""
    token = await account(site)
    await site.made(site.path("serviceexports"), export())
    path = site.path("serviceexports", "echo")
    await allow(
        site, rule("list"), rule("get", resourceNames=["echo"]), rule("patch", resources="serviceexports/status")
    )
    async with site.plane.caller(token) as worker:
        listed = await allowed_soon(lambda: worker.get(site.path("serviceexports")))
        replies = {
            "get": await worker.get(path),
            "get another": await worker.get(site.path("serviceexports", "other")),
            "create": await worker.post(site.path("serviceexports"), export("x")),
            "patch": await worker.ask("PATCH", path, {}, media=MERGE),
            "patch status": await worker.ask("PATCH", f"{path}/status", {}, media=MERGE),
            "watch": await worker.get(site.path("serviceexports"), watch="1"),
            "elsewhere": await worker.get(f"{MCS}/namespaces/default/serviceexports"),
        }
    allowed = {"get": 200, "patch status": 200}
    assert names(listed) == ["echo"]
    assert {name: reply.code for name, reply in replies.items()} == {name: allowed.get(name, 403) for name in replies}


async def test_an_apply_that_makes_an_object_needs_the_right_to_create_it(site: Site) -> None:
    """The right to patch is not enough. Unlike that to POST, the right to create by an apply may name the object."""
    token = await account(site)
    await allow(site, rule("list", "patch"), rule("create", resourceNames=["echo"]))
    async with site.plane.caller(token) as worker:
        await allowed_soon(lambda: worker.get(site.path("serviceexports")))
        replies = [
            await worker.apply(site.path("serviceexports", "other"), export("other"), "worker"),
            await worker.apply(site.path("serviceexports", "echo"), export(), "worker"),
            await worker.post(site.path("serviceexports"), export()),
        ]

    assert [reply.code for reply in replies] == [403, 201, 403]
    assert "cannot create resource" in replies[0].body["message"]


async def test_a_cluster_role_that_is_bound_in_a_namespace_holds_there(site: Site) -> None:
    """A RoleBinding gives the rules of a ClusterRole in its own namespace and nowhere else."""
    token = await account(site)
    whole = await site.made(f"{RBAC}/clusterroles", {"metadata": {"name": site.namespace}, "rules": [rule("list")]})
    subject = {"kind": "ServiceAccount", "name": "worker", "namespace": site.namespace}
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": whole["metadata"]["name"]}
    binding = {"metadata": {"name": "worker"}, "roleRef": reference, "subjects": [subject]}
    await site.made(site.path("rolebindings", api=RBAC), binding)
    async with site.plane.caller(token) as worker:
        here = await allowed_soon(lambda: worker.get(site.path("serviceexports")))
        elsewhere = [
            await worker.get(path) for path in (f"{MCS}/serviceexports", f"{MCS}/namespaces/default/serviceexports")
        ]
    await site.admin.delete(f"{RBAC}/clusterroles/{site.namespace}")

    assert (here.code, [reply.code for reply in elsewhere]) == (200, [403, 403])


async def test_a_caller_may_count_as_another_if_it_is_allowed_to(site: Site) -> None:
    """Impersonation gives the other's rights and no more; without the right to it, it is 403."""
    token = await account(site)
    await allow(site, rule("list"))
    name = f"system:serviceaccount:{site.namespace}:worker"
    async with site.plane.caller(headers={"Impersonate-User": name}) as shown_as:
        listed = await allowed_soon(lambda: shown_as.get(site.path("serviceexports")))
        refused = await shown_as.post(site.path("serviceexports"), export())
    async with site.plane.caller(token, headers={"Impersonate-User": "kubernetes-admin"}) as pretender:
        pretence = await pretender.get(site.path("serviceexports"))

    assert (listed.code, refused.code, pretence.code) == (200, 403, 403)
    assert name in refused.body["message"]
    # Since 1.36 the verb of the message is "impersonate-on:user-info:list".
    assert "cannot impersonate" in pretence.body["message"]


async def test_nobody_is_not_somebody(site: Site) -> None:
    """An unknown token is 401; no token at all is the anonymous user, who may nothing."""
    async with site.plane.caller("no.such.token") as unknown, site.plane.caller("") as nobody:
        assert (await unknown.get(site.path("serviceexports"))).reason == (401, "Unauthorized")
        anonymous = await nobody.get(site.path("serviceexports"))

    assert anonymous.reason == (403, "Forbidden")
    assert '"system:anonymous"' in anonymous.body["message"]


async def test_access_can_be_asked_about(site: Site) -> None:
    """SelfSubjectAccessReview and SubjectAccessReview answer as the request itself would be."""
    token = await account(site)
    await allow(site, rule("list"))
    attributes = {"group": "multicluster.x-k8s.io", "resource": "serviceexports", "namespace": site.namespace}
    user = {"user": f"system:serviceaccount:{site.namespace}:worker", "groups": []}
    async with site.plane.caller(token) as worker:
        await allowed_soon(lambda: worker.get(site.path("serviceexports")))
        answers = []
        for verb in ("list", "delete"):
            asked = {"resourceAttributes": {**attributes, "verb": verb}}
            mine = await worker.post(f"{AUTHORIZATION}/selfsubjectaccessreviews", {"spec": asked})
            theirs = await site.admin.post(f"{AUTHORIZATION}/subjectaccessreviews", {"spec": {**asked, **user}})
            answers.append((mine.body["status"]["allowed"], theirs.body["status"]["allowed"]))
    assert answers == [(True, True), (False, False)]


async def test_a_token_is_reviewed_for_its_audience(site: Site) -> None:
    """A token that was asked for one audience is good there, with the account's name and groups, and nowhere else."""
    path = site.path("serviceaccounts", api=CORE)
    await site.made(path, {"metadata": {"name": "worker"}})
    spec = {"audiences": ["federation"], "expirationSeconds": 600}
    requested = await site.admin.post(f"{path}/worker/token", {"spec": spec})
    token = requested.body["status"]["token"]

    async def reviewed(audience: str) -> Json:
        body = {"spec": {"token": token, "audiences": [audience]}}
        status: Json = (await site.admin.post(f"{AUTHENTICATION}/tokenreviews", body)).body["status"]
        return status

    good, bad = await reviewed("federation"), await reviewed("elsewhere")
    assert (good["authenticated"], good["audiences"]) == (True, ["federation"])
    assert good["user"]["username"] == f"system:serviceaccount:{site.namespace}:worker"
    assert f"system:serviceaccounts:{site.namespace}" in good["user"]["groups"]
    assert not bad.get("authenticated")
    assert requested.body["status"]["expirationTimestamp"].endswith("Z")
    async with site.plane.caller(token) as elsewhere:
        assert (await elsewhere.get(site.config_maps)).code == 401
