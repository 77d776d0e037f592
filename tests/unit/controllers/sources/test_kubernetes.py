"""The Kubernetes source through what happens to API servers; what every source promises is in tests/contract."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from controllers.kube.client import KubeAccess
from controllers.sources.base import SourceUpdate
from controllers.sources.kubernetes import KubernetesSource
from federation.model.names import ServiceKey
from federation.model.state import ServiceState
from support.cluster_directory import DEADLINE_SECONDS, endpoint_slice, export, next_update, service, update_where
from support.kube.server import multicluster_definitions
from support.kubernetes_site import EXPORTS, QUICK, SERVICES, KubernetesSite, kubernetes_site

ECHO, OTHER = ServiceKey("demo", "echo"), ServiceKey("demo", "other")
PLURALS = ["endpointslices", "namespaces", "serviceexports", "services", "trafficpolicies"]


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[KubernetesSite]:
    """A cluster with one service that is exported."""
    async with kubernetes_site(tmp_path) as opened:
        opened.put("service", service())
        opened.put("export", export())
        yield opened


async def until(holds: Callable[[], bool]) -> None:
    """Wait for something that the server shows."""
    async with asyncio.timeout(DEADLINE_SECONDS):
        while not holds():
            await asyncio.sleep(0.005)


def has(*keys: ServiceKey) -> Callable[[SourceUpdate], bool]:
    """Whether these services are known, and no others."""
    return lambda update: {key for key, state in update.state.services.items() if state.service} == set(keys)


def unreadable(update: SourceUpdate) -> list[str]:
    return [problem.subject for problem in update.problems if problem.reason == "Unreadable"]


def healthy(update: SourceUpdate) -> bool:
    return update.problems == ()


async def test_nothing_comes_before_every_resource_was_listed(site: KubernetesSite) -> None:
    """While one of them can't be read there is no update, whatever is known of the others; then there is the whole."""
    site.server.fail(times=1_000_000, verbs=["list"], plural="services")
    async with aclosing(site.source.updates()) as updates:
        first = asyncio.ensure_future(anext(updates))
        await until(lambda: site.lists("services") > 3 and site.lists("serviceexports") > 0)
        assert not first.done()
        site.server.heal()
        update = await first

    assert update.state.services.keys() == {ECHO} == update.changed
    assert None not in {update.state.services[ECHO].service, update.state.services[ECHO].export}


async def test_a_watch_that_was_cut_goes_on_where_it_was(site: KubernetesSite) -> None:
    """What changed meanwhile comes, and nothing is listed again."""
    async with aclosing(site.source.updates()) as updates:
        await next_update(updates)
        before = [site.lists(plural) for plural in PLURALS]
        site.server.drop_watches()
        site.put("other", service("other"))
        site.remove("service")
        await update_where(updates, lambda update: has(OTHER)(update) and healthy(update))

        assert [site.lists(plural) for plural in PLURALS] == before


@pytest.mark.parametrize("as_status", [False, True])
async def test_a_watch_from_too_long_ago_starts_over_with_a_list(site: KubernetesSite, *, as_status: bool) -> None:
    """410 Gone, as event or as answer: what came and what went meanwhile is known, and the rest was never lost."""
    site.put("other", service("other"))
    async with aclosing(site.source.updates()) as updates:
        await next_update(updates)
        before = site.lists("services")
        await site.server.vanish()
        site.put("third", service("third"))
        site.remove("other")
        site.server.compact(as_status=as_status)
        await site.server.come_back()
        seen: list[SourceUpdate] = []

        def healed(update: SourceUpdate) -> bool:
            seen.append(update)
            return has(ECHO, ServiceKey("demo", "third"))(update) and healthy(update)

        await update_where(updates, healed)

    assert site.lists("services") > before
    assert all(update.state.services[ECHO].service for update in seen)


async def test_an_api_server_that_vanishes_takes_nothing_with_it(site: KubernetesSite) -> None:
    """The state stays as it was and the problems name what can't be read, until the server is back with its news."""
    async with aclosing(site.source.updates()) as updates:
        first = await next_update(updates)
        await site.server.vanish()
        gone = await update_where(updates, lambda update: unreadable(update) == PLURALS)
        assert gone.state is first.state
        assert gone.changed == frozenset()
        site.put("other", service("other"))
        await site.server.come_back()
        back = await update_where(updates, lambda update: has(ECHO, OTHER)(update) and healthy(update))

    assert back.state.services[ECHO] == first.state.services[ECHO]


async def test_an_api_server_that_hangs_is_one_that_vanished(tmp_path: Path) -> None:
    """It takes connections and says nothing: after some silence that is a problem, and the state stays."""
    async with kubernetes_site(tmp_path, replace(QUICK, silence_seconds=0.2, list_seconds=0.2)) as site:
        site.put("service", service())
        async with aclosing(site.source.updates()) as updates:
            await update_where(updates, healthy)
            await site.server.vanish(hang=True)
            silent = await update_where(updates, lambda update: unreadable(update) == PLURALS)
            assert has(ECHO)(silent)
            await site.server.come_back()
            assert has(ECHO)(await update_where(updates, healthy))


async def test_a_token_that_expired_is_replaced_by_the_one_in_the_file(site: KubernetesSite) -> None:
    """Whoever is refused reads its kubeconfig again; until then what was read stays."""
    old = site.server.token_for("reader", ["system:masters"])
    site.server.write_kubeconfig(site.kubeconfig, old)
    async with aclosing(site.source.updates()) as updates:
        await next_update(updates)
        site.server.expire_token(old)
        site.server.drop_watches()
        refused = await update_where(updates, lambda update: unreadable(update) == PLURALS)
        assert has(ECHO)(refused)
        site.put("other", service("other"))
        site.server.write_kubeconfig(site.kubeconfig, site.server.token_for("reader", ["system:masters"]))
        await update_where(updates, lambda update: has(ECHO, OTHER)(update) and healthy(update))


async def test_a_pod_reads_with_its_service_account(
    site: KubernetesSite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a kubeconfig the token and CA are those that Kubernetes mounts, read again when they were replaced."""
    token = tmp_path / "token"
    old = site.server.token_for("pod", ["system:masters"], lifetime=timedelta(hours=1))
    token.write_text(old)
    (tmp_path / "ca.crt").write_text(site.server.ca_pem)
    host, _, port = site.server.url.removeprefix("https://").rpartition(":")
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", host)
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", port)
    source = KubernetesSource(KubeAccess(service_account=tmp_path), QUICK)
    async with aclosing(source.updates()) as updates:
        assert has(ECHO)(await next_update(updates))
        site.server.expire_token(old)
        site.server.drop_watches()
        await update_where(updates, lambda update: unreadable(update) == PLURALS)
        token.write_text(site.server.token_for("pod", ["system:masters"]))
        await update_where(updates, healthy)


async def test_an_api_server_without_the_mcs_api_is_waited_for(tmp_path: Path) -> None:
    """No export is not the same as no way to say so: the first update comes once the CRD is there."""
    definitions = multicluster_definitions()
    exports = next(one for one in definitions if one["spec"]["names"]["kind"] == "ServiceExport")
    async with kubernetes_site(tmp_path, definitions=[]) as site:
        site.put("service", service())
        async with aclosing(site.source.updates()) as updates:
            first = asyncio.ensure_future(anext(updates))
            await until(lambda: len([one for one in site.server.audit if one.asked.plural == "services"]) > 1)
            assert not first.done()
            await site.server.restore_definition(exports)
            assert has(ECHO)(await first)


async def test_exports_are_read_in_the_version_that_is_served(tmp_path: Path) -> None:
    """An older CRD serves v1alpha1 alone, and its exports count as much; that there are no policies yet is told."""
    exports = next(one for one in multicluster_definitions() if one["spec"]["names"]["kind"] == "ServiceExport")
    (alpha,) = [one for one in exports["spec"]["versions"] if one["name"] == "v1alpha1"]
    older = {**exports, "spec": {**exports["spec"], "versions": [{**alpha, "storage": True}]}}
    async with kubernetes_site(tmp_path, definitions=[older]) as site:
        site.put("export", export().replace("v1beta1", "v1alpha1"))
        async with aclosing(site.source.updates()) as updates:
            update = await update_where(updates, lambda update: unreadable(update) == ["trafficpolicies"])

    assert update.state.services[ECHO].export is not None


async def test_a_definition_that_was_deleted_and_made_again_is_read_on(site: KubernetesSite) -> None:
    """Its exports went with it, and services stay; an export made after it is back is known."""
    async with aclosing(site.source.updates()) as updates:
        first = await next_update(updates)
        definition = await site.server.delete_definition("serviceexports.multicluster.x-k8s.io")
        gone = await update_where(updates, lambda update: unreadable(update) == ["serviceexports"])
        assert gone.state.services[ECHO].service == first.state.services[ECHO].service
        await site.server.restore_definition(definition)
        site.put("export", export("other"))
        back = await update_where(updates, lambda update: OTHER in update.state.services and healthy(update))

    assert back.state.services[ECHO] == ServiceState(first.state.services[ECHO].service)
    assert site.server.objects(EXPORTS).keys() == {("demo", "other")}


async def test_a_bad_object_harms_itself_only(site: KubernetesSite) -> None:
    """Its last good version stays in use until it is good again or gone, and the problem names it and says why."""
    port = "federation-gateway.dev/inbound-port"
    site.put("slice", endpoint_slice(address="10.1.0.1"))
    async with aclosing(site.source.updates()) as updates:
        first = await next_update(updates)
        bad = endpoint_slice(address="10.1.0.2").replace("metadata:\n", f"metadata:\n  annotations: {{{port}: web}}\n")
        site.put("slice", bad)
        update = await update_where(updates, lambda update: update.problems != ())
        assert update.state is first.state
        assert [(problem.subject, problem.reason) for problem in update.problems] == [
            ("EndpointSlice demo/echo-1", "InvalidValue"),
            ("EndpointSlice demo/echo-1", "LastGoodInUse"),
        ]
        site.put("other", service("other"))
        await update_where(updates, has(ECHO, OTHER))
        site.remove("slice")
        last = await update_where(updates, healthy)

    assert last.state.services[ECHO].slices == ()


async def test_slices_of_other_clusters_are_not_read(site: KubernetesSite) -> None:
    """Those without the label of a Service: ours, which tell of other clusters, must not flow back."""
    site.put("ours", endpoint_slice(address="10.1.0.1").replace("kubernetes.io/", "multicluster.kubernetes.io/"))
    async with aclosing(site.source.updates()) as updates:
        first = await next_update(updates)

    assert (first.state.services[ECHO].slices, first.problems) == ((), ())


async def test_events_that_come_twice_or_late_change_nothing(site: KubernetesSite) -> None:
    """The state is what was last told of each object."""
    site.server.duplicate_events()
    async with aclosing(site.source.updates()) as updates:
        await next_update(updates)
        site.put("other", service("other"))
        site.remove("service")
        update = await update_where(updates, has(OTHER))

    assert update.problems == ()
    assert site.server.objects(SERVICES).keys() == {("demo", "other")}


async def test_a_fault_of_the_program_itself_ends_the_stream(site: KubernetesSite) -> None:
    """It is raised where the stream is read: a resource that is no longer watched must not go unnoticed."""
    site.server.fail(times=1_000_000, verbs=["list"], plural="services")
    broken = replace(QUICK, first_retry_seconds="no number")  # type: ignore[arg-type]
    async with aclosing(KubernetesSource(KubeAccess(site.kubeconfig), broken).updates()) as updates:
        with pytest.raises(TypeError):
            await next_update(updates)


async def test_a_stream_that_is_closed_leaves_no_watch(site: KubernetesSite) -> None:
    """Nor a task, nor a connection."""
    async with aclosing(site.source.updates()) as updates:
        await next_update(updates)
        await until(lambda: site.server.watches.count == len(PLURALS))
    await until(lambda: site.server.watches.count == 0)

    assert [task for task in asyncio.all_tasks() if task.get_name().startswith("watch of ")] == []


async def test_workloads_have_the_identities_of_pods_with_a_sidecar(site: KubernetesSite) -> None:
    """Where pods are read: of those with our label, and of no others; without, all have that of the slice."""

    def pod(name: str, label: str) -> str:
        metadata = f"{{namespace: demo, name: {name}, labels: {{federation-gateway.dev/{label}: 'true'}}}}"
        spec = "{serviceAccountName: backend, containers: [{name: app, image: app}]}"
        return f"apiVersion: v1\nkind: Pod\nmetadata: {metadata}\nspec: {spec}\n"

    def accounts(update: SourceUpdate) -> list[str]:
        return [one.service_account for part in update.state.services[ECHO].slices for one in part.endpoints]

    target = "\n  targetRef: {kind: Pod, namespace: demo, name: echo-%s}"
    for name in ("a", "b"):
        text = endpoint_slice(address="10.1.0.1").replace("[10.1.0.1]", "[10.1.0.1]" + target % name)
        site.put(f"slice-{name}", text.replace("echo-1", f"echo-{name}"))
    site.put("a", pod("echo-a", "injected"))
    site.put("b", pod("echo-b", "inject"))
    async with aclosing(site.source.updates()) as updates:
        assert accounts(await next_update(updates)) == ["", ""]
    async with aclosing(KubernetesSource(KubeAccess(site.kubeconfig), QUICK, pods=True).updates()) as updates:
        assert accounts(await next_update(updates)) == ["backend", ""]
        site.remove("a")
        site.put("other", service("other"))
        assert accounts(await update_where(updates, has(ECHO, OTHER))) == ["backend", ""]
