"""The client of the API server: answers, refusals, and what stands in the way of either."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from controllers.kube.client import KubeAccess, KubeError, load_configuration, open_client, status_error
from controllers.sources.manifests import ObjectId
from support.kube.server import StandIn, running

SERVICES = "/api/v1/services"


@pytest.fixture
async def server() -> AsyncIterator[StandIn]:
    async with running() as started:
        yield started


@pytest.fixture
def access(server: StandIn, tmp_path: Path) -> KubeAccess:
    return KubeAccess(server.write_kubeconfig(tmp_path / "kubeconfig"))


async def refusal(access: KubeAccess, path: str = SERVICES, seconds: float = 20.0) -> KubeError:
    """The error of one request."""
    with pytest.raises(KubeError) as caught:
        async with open_client(access) as client:
            await client.get(path, {}, timeout_seconds=seconds)
    return caught.value


async def test_a_whole_answer_is_read(access: KubeAccess) -> None:
    """With the query that was asked for."""
    async with open_client(access) as client:
        found = await client.get("/api/v1/namespaces", {"limit": "1"}, timeout_seconds=20)

    assert (found["kind"], len(found["items"])) == ("NamespaceList", 1)  # type: ignore[arg-type]


async def test_events_are_read_however_long_they_are(server: StandIn, access: KubeAccess) -> None:
    """An object may be larger than any buffer on the way; the watch is over when the server ends it."""
    server.put(
        ("", "configmaps"), {"metadata": {"name": "large", "namespace": "default"}, "data": {"x": "y" * 900_000}}
    )
    async with (
        open_client(access) as client,
        client.watch("/api/v1/configmaps", {"timeoutSeconds": "1"}, silence_seconds=20) as events,
    ):
        found = [event async for event in events]

    assert [(event["type"], event["object"]["metadata"]["name"]) for event in found] == [("ADDED", "large")]  # type: ignore[index]


async def test_a_refusal_has_its_status(server: StandIn, access: KubeAccess) -> None:
    """The server's own words, and what they mean for the caller."""
    server.fail(410)
    expired = await refusal(access)
    missing = await refusal(access, "/apis/example.com/v1/things")

    assert (expired.status, expired.expired, expired.not_served) == (410, True, False)
    assert (missing.status, missing.expired, missing.not_served) == (404, False, True)


async def test_who_is_not_let_in_is_told_what_to_do(server: StandIn, tmp_path: Path) -> None:
    """A token that expired, and a user without rights; the token stands in neither message."""
    token = server.token_for("nobody")
    access = KubeAccess(server.write_kubeconfig(tmp_path / "kubeconfig", token))
    forbidden = await refusal(access)
    server.expire_token(token)
    expired = await refusal(access)

    assert (forbidden.status, forbidden.hint) == (403, "give the user the rights to list and watch it")
    assert (expired.status, expired.hint) == (
        401,
        "check the token: it may have expired, and is read again with the next attempt",
    )
    assert token not in f"{forbidden} {expired}"


async def test_a_server_that_is_away_or_silent_is_told_apart(server: StandIn, access: KubeAccess) -> None:
    """Neither is an answer."""
    await server.vanish(hang=True)
    silent = await refusal(access, seconds=0.2)
    await server.come_back()
    await server.vanish()
    away = await refusal(access)

    assert (silent.status, str(silent)) == (0, "the API server does not answer in time")
    assert away.status == 0
    assert str(away).startswith("the API server can't be reached: ")
    assert away.hint == silent.hint
    assert "`kubectl cluster-info`" in away.hint


@pytest.mark.parametrize("text", [None, "", "{", "clusters: []", "token: s3cret: {", "[s3cret]"])
async def test_credentials_that_can_not_be_used_are_told(text: str | None, tmp_path: Path) -> None:
    """A kubeconfig that is missing, cut short, or none; what stands in it is not told."""
    file = tmp_path / "kubeconfig"
    if text is not None:
        file.write_text(text)
    error = await refusal(KubeAccess(file))

    assert error.status == 0
    assert "`kubectl config view`" in error.hint
    assert "s3cret" not in str(error)


def _named(server: StandIn, path: Path, name: str, **more: Any) -> Path:
    """A kubeconfig of one context, all of which has this name."""
    content = server.kubeconfig(server.token_for(name, ["system:masters"]))
    for kind in ("clusters", "users", "contexts"):
        content[kind][0]["name"] = name
    content["contexts"][0]["context"] = {"cluster": name, "user": name}
    path.write_text(yaml.safe_dump({**content, "current-context": name, **more}))
    return path


async def test_several_kubeconfigs_are_one(server: StandIn, tmp_path: Path) -> None:
    """As kubectl merges them: files that are not there or empty mean nothing, and the first current context counts."""
    (tmp_path / "empty").write_text("")
    east, west = (_named(server, tmp_path / name, name) for name in ("east", "west"))
    none = _named(server, tmp_path / "none", "none", **{"current-context": ""})
    files = (none, tmp_path / "missing", east, west)
    used = {}
    for context in (None, "none", "east", "west"):
        configuration = await load_configuration(KubeAccess(tmp_path / "empty", context, more_kubeconfigs=files))
        used[context] = configuration.api_key["BearerToken"]

    assert used[None] == used["east"]
    assert len(set(used.values())) == 3


@pytest.mark.parametrize("context", ["north", None])
async def test_a_context_that_is_not_there_is_told_with_those_that_are(
    context: str | None, server: StandIn, tmp_path: Path
) -> None:
    """Also where the kubeconfig names none."""
    files = [_named(server, tmp_path / name, name, **{"current-context": ""}) for name in ("east", "west")]
    error = await refusal(KubeAccess(files[0], context, more_kubeconfigs=tuple(files[1:])))

    told = "has no context north" if context else "names no current context"
    assert str(error) == f"kubeconfig {files[0]}:{files[1]} {told}"
    assert error.hint == "choose one of its contexts: east, west"


async def test_outside_of_a_pod_a_kubeconfig_is_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without one, and without what Kubernetes gives a pod, nothing can be asked."""
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)

    assert str(await refusal(KubeAccess(service_account=tmp_path))) == (
        "the credentials for the API server can't be used: Service host/port is not set."
    )


def test_a_status_without_words_is_an_error_all_the_same() -> None:
    """Whatever a broken server or a proxy puts there."""
    assert [(str(error), error.status) for error in (status_error({}), status_error({"code": "x", "message": 1}))] == [
        ("the API server refuses: no reason given", 0)
    ] * 2


async def test_an_object_is_applied_as_ours_and_deleted_as_it_was_seen(access: KubeAccess) -> None:
    """Applying creates it and says whose the fields are; another version of it is not deleted."""
    id_ = ObjectId("Service", "default", "x")
    document = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"namespace": "default", "name": "x"},
        "spec": {"ports": [{"port": 80, "protocol": "TCP"}]},
    }
    async with open_client(access) as client:
        applied = await client.apply(document)
        metadata: Any = applied["metadata"]
        again: Any = await client.apply(document)
        with pytest.raises(KubeError) as another:
            await client.delete(id_, metadata["uid"], "1", api_version="v1")
        await client.delete(id_, metadata["uid"], metadata["resourceVersion"], api_version="v1")
        with pytest.raises(KubeError) as gone:
            await client.delete(id_, metadata["uid"], metadata["resourceVersion"], api_version="v1")

    (owner,) = metadata["managedFields"]
    assert (owner["manager"], owner["operation"]) == ("federation-gateway", "Apply")
    assert again["metadata"]["resourceVersion"] == metadata["resourceVersion"]
    assert (another.value.status, gone.value.status) == (409, 404)


async def test_a_write_that_is_refused_tells_why(server: StandIn, access: KubeAccess, tmp_path: Path) -> None:
    """The fields at fault, the rights that it takes, and how long to wait."""
    document: dict[str, Any] = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"namespace": "default", "name": "x"},
    }
    stranger = KubeAccess(server.write_kubeconfig(tmp_path / "stranger", server.token_for("nobody")))
    errors = []
    for one, ports in ((access, [{"port": 0, "protocol": "TCP"}]), (stranger, [])):
        async with open_client(one) as client:
            with pytest.raises(KubeError) as caught:
                await client.apply({**document, "spec": {"ports": ports}})
        errors.append(caught.value)
    async with open_client(access) as client:
        with pytest.raises(KubeError) as caught:
            await client.apply({**document, "spec": {"color": "red"}})
    server.fail(500)
    trouble = await refusal(access)
    server.fail(429, retry_after_seconds=3)
    busy = await refusal(access)

    assert [(one.status, one.untyped) for one in (caught.value, trouble)] == [(500, True), (500, False)]
    assert (errors[0].status, [field for _, field in errors[0].causes]) == (422, ["spec.ports[0].port"])
    assert (errors[1].status, errors[1].hint) == (403, "give the user the rights to create and patch it")
    assert (busy.status, busy.retry_after_seconds) == (429, 3.0)


async def test_an_object_is_made_once_and_replaced_only_as_it_was_read(access: KubeAccess) -> None:
    """Whoever comes second is refused, whether the object is there already or is another by now."""
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"namespace": "default", "name": "one"}}
    async with open_client(access) as client:
        made = await client.create({**body, "data": {"turn": "first"}})
        replaced = await client.replace({**made, "data": {"turn": "second"}})
        refused = []
        for late in (client.create(body), client.replace({**made, "data": {"turn": "late"}})):
            with pytest.raises(KubeError) as caught:
                await late
            refused.append(caught.value.status)

    assert (replaced["data"], refused) == ({"turn": "second"}, [409, 409])


@pytest.mark.parametrize(
    ("environment", "proxy"),
    [
        ({}, None),
        ({"https_proxy": "http://proxy.test:3128"}, "http://proxy.test:3128"),
        ({"https_proxy": "http://proxy.test:3128", "no_proxy": "10.0.0.1,127.0.0.1"}, None),
    ],
)
async def test_the_proxy_is_that_of_the_environment(
    environment: dict[str, str], proxy: str | None, access: KubeAccess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Unless the kubeconfig names one, or the environment says that none is wanted for the API server."""
    for name in ("https_proxy", "HTTPS_PROXY", "no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert (await load_configuration(access)).proxy == proxy

    assert access.kubeconfig is not None
    config = yaml.safe_load(access.kubeconfig.read_text())
    config["clusters"][0]["cluster"]["proxy-url"] = "http://other.test:3128"
    access.kubeconfig.write_text(yaml.safe_dump(config))
    assert (await load_configuration(access)).proxy == "http://other.test:3128"
