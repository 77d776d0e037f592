"""Installing in a cluster, upgrading and uninstalling: on the stand-in, and on a real API server where there is one."""

from __future__ import annotations

import asyncio
import base64
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from controllers.kube.client import KubeError
from controllers.kube.locations import location
from controllers.mcs.objects import MANAGED_BY, MANAGER, section
from controllers.sources.manifests import ObjectId
from federation.app.installed_objects import KINDS
from federation.cli.main import app
from federation.install.definitions import definitions
from federation.membership.roster import KnownRoster, Roster, sign_roster
from federation.membership.roster_file import RosterFile
from federation.model.errors import ConfigError
from federation.model.names import ClusterId
from support.install_site import WRITES, InstallSite, install_site
from support.installation import HOST_PORTS, SITES, rendered
from support.kube.plane import Plane, plane_of
from support.kube.real import RealServer
from support.kube.server import running
from support.membership_values import EAST, NORTH, WEST, key, public, roster_member

ALL_KINDS = tuple((kind, version) for kind, (version, _) in KINDS.items())
WEBHOOK = "federation-sidecar-injector"
ADMISSION = "admissionregistration.k8s.io/v1"
EXTENSIONS = "apiextensions.k8s.io/v1"
EXPORT = {
    "apiVersion": "multicluster.x-k8s.io/v1beta1",
    "kind": "ServiceExport",
    "metadata": {"name": "echo", "namespace": "default"},
}


@pytest.fixture
async def site(kube_plane: Plane, tmp_path: Path) -> AsyncIterator[InstallSite]:
    async with install_site(kube_plane, tmp_path, f"install-{uuid.uuid4().hex[:8]}") as made:
        yield made


@pytest.fixture
async def bare(tmp_path: Path) -> AsyncIterator[InstallSite]:
    """A stand-in without any CRD."""
    async with running(definitions=()) as server, install_site(plane_of(server), tmp_path, "federation-system") as made:
        yield made


def writes(site: InstallSite) -> int:
    return sum(1 for one in site.server.audit if one.asked.verb in WRITES)


async def test_doing_it_again_writes_nothing(site: InstallSite) -> None:
    """The second installation with the same values finds everything as it should be."""
    await site.install("clusterset=acme", "exchange.inCluster=true")
    assert len(site.said("created")) > 20
    before = writes(site)
    again = await site.install("clusterset=acme", "exchange.inCluster=true")
    assert (again.written, site.said("created"), site.said("configured")) == (0, [], [])
    if not isinstance(site.server, RealServer):
        # The audit log of a real one comes late.
        assert writes(site) == before


async def test_other_values_change_what_differs_and_remove_what_is_stale(site: InstallSite) -> None:
    """An upgrade writes the objects that differ; what the new values no longer make goes."""
    await site.install("clusterset=acme", "exchange.inCluster=true")
    await site.install("clusterset=acme", "gateway.kind=DaemonSet", "controller.replicas=3")
    where = site.namespace
    assert site.said("configured") == [f"Deployment {where}/federation-controller"]
    assert site.said("created") == [f"DaemonSet {where}/federation-gateway"]
    assert set(site.said("deleted")) == {
        f"Deployment {where}/federation-gateway",
        f"StatefulSet {where}/federation-exchange",
        f"Service {where}/federation-exchange",
        f"NetworkPolicy {where}/federation-exchange",
        f"ServiceAccount {where}/federation-exchange",
    }


async def test_what_somebody_changed_is_put_right_and_what_others_own_stays(site: InstallSite) -> None:
    """A field of ours that was edited by hand is ours again; the webhook's CA, which the controllers fill in, stays."""
    await site.install("clusterset=acme")
    path = location_of(site, "Deployment", "federation-controller", "apps/v1")
    scaled = {"spec": {"replicas": 7}, "metadata": {"labels": {"example.com/note": "mine"}}}
    assert (await site.admin.ask("PATCH", path, scaled, media="application/merge-patch+json")).code == 200
    await fill_in_ca(site)

    await site.install("clusterset=acme", "injection.failurePolicy=Fail")
    found = await site.find("Deployment", "federation-controller", "apps/v1")
    assert found is not None
    assert (found["spec"]["replicas"], found["metadata"]["labels"]["example.com/note"]) == (2, "mine")
    configuration = await site.find("MutatingWebhookConfiguration", WEBHOOK, ADMISSION, namespaced=False)
    assert configuration is not None
    (webhook,) = configuration["webhooks"]
    assert (webhook["failurePolicy"], "caBundle" in webhook["clientConfig"]) == ("Fail", True)


@pytest.mark.parametrize("words", [*SITES.values(), HOST_PORTS], ids=[*SITES, "host-ports"])
async def test_the_api_server_takes_every_manifest_without_a_warning(site: InstallSite, words: tuple[str, ...]) -> None:
    """Every field is known, and nothing is worth a warning: pod security that the namespace asks for, old versions."""
    documents: Any = rendered(*words, namespace=site.namespace)
    for document in (documents[0], *definitions(), *documents[1:]):
        head = document["metadata"]
        path = location_in(document["kind"], head.get("namespace", ""), head["name"], document["apiVersion"])
        query = {"force": "true", "fieldValidation": "Strict"}
        reply = await site.admin.apply(path, document, "federation-install", **query)
        assert (reply.code in {200, 201}, reply.headers.getall("Warning", [])) == (True, []), reply.body
    for document in documents:
        if "template" in document.get("spec", {}):
            # The namespace enforces its profile of pod security on pods alone.
            query = {"dryRun": "All", "fieldValidation": "Strict"}
            reply = await site.admin.post(f"/api/v1/namespaces/{site.namespace}/pods", pod_of(document), **query)
            assert (reply.code, reply.headers.getall("Warning", [])) == (201, []), reply.body


async def test_uninstalling_leaves_what_users_made(site: InstallSite) -> None:
    """All that was installed goes, and what the controllers made; exports and somebody's namespaces stay."""
    await site.install("clusterset=acme", "exchange.inCluster=true")
    await site.make(EXPORT)
    await site.make(derived_service())
    await site.uninstall()
    assert await site.left(*ALL_KINDS, ("Secret", "v1")) == []
    assert (await site.admin.get(location_in("Service", "default", "derived-x", "v1"))).code == 404
    assert (await site.admin.get(location_in("ServiceExport", "default", "echo", EXPORT["apiVersion"]))).code == 200
    await site.uninstall()
    assert site.said("deleted") == []
    await site.admin.delete(location_in("ServiceExport", "default", "echo", EXPORT["apiVersion"]))


async def test_a_member_is_not_uninstalled_unless_forced(site: InstallSite, tmp_path: Path) -> None:
    """The others would go on calling it; what to do first is told."""
    await site.install("clusterset=acme")
    await site.make(state_of_member(site.namespace, tmp_path, seat=WEST))
    with pytest.raises(ConfigError, match="cluster east is a member of clusterset acme still") as refused:
        await site.uninstall()
    assert "federation leave" in refused.value.hint
    assert "`federation evict east`" in refused.value.hint
    assert await site.find("Deployment", "federation-controller", "apps/v1") is not None
    await site.uninstall(force=True)
    assert await site.left(*ALL_KINDS, ("Secret", "v1")) == []


async def test_who_has_the_authority_is_told_what_goes_with_it(site: InstallSite, tmp_path: Path) -> None:
    """It can neither leave nor be evicted: the others go first, and its keys are worth a backup."""
    await site.install("clusterset=acme")
    save = f"save Secret {site.namespace}/federation-state"
    evict = f"federation evict NAME --context CONTEXT -n {site.namespace}"
    for others in ((WEST, NORTH), ()):
        await site.make(state_of_member(site.namespace, tmp_path, others=others))
        with pytest.raises(ConfigError, match="cluster east has the authority of clusterset acme") as refused:
            await site.uninstall()
        places = [refused.value.hint.find(step) for step in (evict, save, "--force")[not others :]]
        assert -1 not in places
        assert places == sorted(places)
        assert ("north, west" in refused.value.hint) == bool(others)
        assert "leave" not in refused.value.hint


async def test_the_clusterset_of_a_member_is_known(site: InstallSite, tmp_path: Path) -> None:
    """Values need not name what the cluster's state says: its gateway is installed, or stays."""
    await site.install()
    assert await site.find("Deployment", "federation-gateway", "apps/v1") is None
    await site.make(state_of_member(site.namespace, tmp_path))
    done = await site.install()
    assert (done.member, done.values.clusterset, site.said("note")) == (True, "acme", [])
    assert site.said("created") != []
    assert await site.find("Deployment", "federation-gateway", "apps/v1") is not None
    await site.install("clusterset=other")
    (note,) = site.said("note")
    assert "state says clusterset acme, the values another one" in note


async def test_trying_out_changes_nothing(site: InstallSite) -> None:
    """With --dry-run the API server judges, and everything is as before."""
    await site.install(dry_run=True)
    assert await site.find("Namespace", site.namespace, "v1", namespaced=False) is None
    assert await site.left(*ALL_KINDS) == []
    await site.install("clusterset=acme")
    done = await site.install("controller.replicas=5", dry_run=True)
    found = await site.find("Deployment", "federation-controller", "apps/v1")
    assert found is not None
    assert found["spec"]["replicas"] == 2
    assert done.written > 0


async def test_waiting_ends_with_the_rollout(site: InstallSite) -> None:
    """Whoever waits too long is told what is not ready; once all pods are new and ready nothing is waited for."""
    await site.install("clusterset=acme")
    with pytest.raises(KubeError, match=f"Deployment {site.namespace}/federation-gateway: 0 of 2 ready"):
        await site.wait()
    for name in ("federation-controller", "federation-gateway"):
        path = location_of(site, "Deployment", name, "apps/v1")
        generation = (await site.admin.get(path)).body["metadata"]["generation"]
        status = {"observedGeneration": generation, "replicas": 2, "updatedReplicas": 2, "readyReplicas": 2}
        media = "application/merge-patch+json"
        assert (await site.admin.ask("PATCH", f"{path}/status", {"status": status}, media=media)).code == 200
    await site.wait()


async def test_there_is_one_installation_in_a_cluster(site: InstallSite) -> None:
    """Neither in another namespace, nor over what Helm installed."""
    await site.install()
    with pytest.raises(ConfigError, match=f"installed in namespace {site.namespace} of this cluster already"):
        await site.install(namespace="elsewhere")
    path = location_in("ClusterRoleBinding", "", "federation-controller", "rbac.authorization.k8s.io/v1")
    patch = {"metadata": {"labels": {"app.kubernetes.io/managed-by": "Helm"}}}
    assert (await site.admin.ask("PATCH", path, patch, media="application/merge-patch+json")).code == 200
    with pytest.raises(ConfigError, match="by Helm"):
        await site.install()
    with pytest.raises(ConfigError, match="by Helm"):
        await site.uninstall()
    patch["metadata"]["labels"]["app.kubernetes.io/managed-by"] = "federation-install"
    assert (await site.admin.ask("PATCH", path, patch, media="application/merge-patch+json")).code == 200


async def test_a_namespace_of_somebody_else_is_kept_as_it_is(site: InstallSite) -> None:
    """It gets no labels, and stays in the end."""
    await site.make({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": site.namespace}})
    await site.install()
    (line,) = [line for line in site.said("kept") if line.startswith("Namespace")]
    assert "pod-security.kubernetes.io/enforce: restricted" in line
    await site.uninstall()
    found = await site.find("Namespace", site.namespace, "v1", namespaced=False)
    assert found is not None
    assert "deletionTimestamp" not in found["metadata"]
    await site.admin.delete(f"/api/v1/namespaces/{site.namespace}")


async def test_definitions_come_and_go_with_us_alone(bare: InstallSite) -> None:
    """They are installed where they are missing, stay by default, go when asked for; a newer one is kept as it is."""
    newer: Any = {**definitions()[1], "metadata": {**definitions()[1]["metadata"]}}
    newer["metadata"]["labels"] = {
        "multicluster.x-k8s.io/release-version": "v0.9.0",
        "multicluster.x-k8s.io/crd-schema-revision": "3",
    }
    await bare.make(newer)
    await bare.install()
    names = [definition["metadata"]["name"] for definition in definitions()]
    created = [line.split()[1] for line in bare.said("created") if line.startswith("CustomResourceDefinition")]
    assert created == [name for name in names if name != newer["metadata"]["name"]]
    found = await bare.find("CustomResourceDefinition", newer["metadata"]["name"], EXTENSIONS, namespaced=False)
    assert section(found, "metadata")["labels"] == newer["metadata"]["labels"]

    await bare.uninstall()
    assert [line for line in bare.said("deleted") if line.startswith("CustomResourceDefinition")] == []
    await bare.uninstall(purge_crds=True)
    gone = [line.split()[1] for line in bare.said("deleted") if line.startswith("CustomResourceDefinition")]
    assert gone == created


async def test_rights_are_enough_and_no_more(site: InstallSite) -> None:
    """Asked as the controllers' account: what is limited to a name is had by it alone, Secrets elsewhere never."""
    await site.install("clusterset=acme")
    token = site.server.account_token(site.namespace, "federation-controller")
    own, other = f"/api/v1/namespaces/{site.namespace}", "/api/v1/namespaces/default"
    trust, state = {"fieldSelector": "metadata.name=federation-trust-bundle"}, "secrets/federation-state"
    webhooks = f"/apis/{ADMISSION}/mutatingwebhookconfigurations"
    bundle = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "federation-trust-bundle"},
        "data": {"a": "b"},
    }
    async with plane_of(site.server).caller(token) as controller:
        answers = [
            await controller.get("/api/v1/configmaps", **trust),
            await controller.get(webhooks, fieldSelector=f"metadata.name={WEBHOOK}"),
            await controller.get(f"{own}/{state}"),
            await controller.get("/api/v1/pods"),
            await controller.apply(f"{other}/configmaps/federation-trust-bundle", bundle, "federation-gateway"),
            await controller.delete(f"{other}/configmaps/federation-trust-bundle"),
            await controller.get("/api/v1/configmaps"),
            await controller.get(webhooks),
            await controller.get(f"{own}/secrets"),
            await controller.get(f"{own}/secrets/another"),
            await controller.get(f"{other}/{state}"),
            await controller.get("/api/v1/secrets"),
            await controller.get(f"{own}/configmaps/federation-settings"),
            await controller.delete(f"{own}/{state}"),
        ]
    assert [answer.code for answer in answers] == [200, 200, 404, 200, 201, 200, *[403] * 8]


async def test_who_may_not_install_is_told_the_rule(bare: InstallSite) -> None:
    """The first object that can't be had is named, with the rule that is missing."""
    assert not isinstance(bare.server, RealServer)
    bare.server.write_kubeconfig(bare.kubeconfig, bare.server.token_for("jane"))
    with pytest.raises(KubeError, match="ClusterRoleBinding federation-controller: ") as refused:
        await bare.install()
    assert 'apiGroups: ["rbac.authorization.k8s.io"], resources: ["clusterrolebindings"]' in refused.value.hint
    bare.server.write_kubeconfig(bare.kubeconfig)


async def test_the_command_line_installs_and_uninstalls(bare: InstallSite) -> None:
    """`federation install`, then `federation uninstall`, with their progress and the next step."""
    where = ["--kubeconfig", str(bare.kubeconfig)]
    installed = await asyncio.to_thread(CliRunner().invoke, app, ["install", *where, "--set", "clusterset=acme"])
    assert installed.exit_code == 0, installed.output
    assert "created    Deployment federation-system/federation-controller\n" in installed.output
    for command, more in (("init", "--clusterset acme"), ("join", "--region NAME")):
        assert f"federation {command} --kubeconfig {bare.kubeconfig} -n federation-system {more}" in installed.output
    removed = await asyncio.to_thread(CliRunner().invoke, app, ["uninstall", *where])
    assert removed.exit_code == 0, removed.output
    assert removed.output.endswith("no longer installed in namespace federation-system\n")
    assert await bare.left(*ALL_KINDS) == []


def location_in(kind: str, namespace: str, name: str, version: str) -> str:
    return location(ObjectId(kind, namespace, name), version)


def location_of(site: InstallSite, kind: str, name: str, version: str) -> str:
    return location_in(kind, site.namespace, name, version)


async def fill_in_ca(site: InstallSite) -> None:
    """As the leading controller does it."""
    bundle = base64.b64encode(site.server.ca_pem.encode()).decode()
    document = {
        "apiVersion": ADMISSION,
        "kind": "MutatingWebhookConfiguration",
        "metadata": {"name": WEBHOOK},
        "webhooks": [{"name": "inject.federation-gateway.dev", "clientConfig": {"caBundle": bundle}}],
    }
    path = location_in("MutatingWebhookConfiguration", "", WEBHOOK, ADMISSION)
    reply = await site.admin.apply(path, document, "federation-gateway", force="true")
    assert reply.code == 200, reply


def pod_of(workload: Any) -> dict[str, Any]:
    """A pod as the controller of a workload makes it, its claims as volumes."""
    template = workload["spec"]["template"]
    claims = [claim["metadata"]["name"] for claim in workload["spec"].get("volumeClaimTemplates", ())]
    volumes = [*template["spec"]["volumes"], *({"name": name, "emptyDir": {}} for name in claims)]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "trial", **template["metadata"]},
        "spec": {**template["spec"], "volumes": volumes},
    }


def derived_service() -> dict[str, Any]:
    """One as the controllers make them for an import."""
    labels = {MANAGED_BY["Service"]: MANAGER}
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "derived-x", "namespace": "default", "labels": labels},
        "spec": {"ports": [{"name": "http", "port": 80, "protocol": "TCP"}]},
    }


def state_of_member(
    namespace: str, directory: Path, *, seat: ClusterId = EAST, others: tuple[ClusterId, ...] = ()
) -> dict[str, Any]:
    """The Secret of cluster east, which is in clusterset acme, alone unless others are named."""
    roster = Roster("acme", 1, seat, tuple(map(roster_member, sorted({EAST, seat, *others}))))
    known = KnownRoster(public("authority"), roster, sign_roster(roster, key("authority")))
    RosterFile(directory).save(known)
    content = {
        "cluster.yaml": b"clusterset: acme\ncluster: east\n",
        "state__roster": (directory / "roster").read_bytes(),
    }
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "federation-state", "namespace": namespace},
        "data": {name: base64.b64encode(value).decode() for name, value in content.items()},
    }
