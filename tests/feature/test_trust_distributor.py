"""The own trust bundle in the cluster: where it is, that it heals, and that nothing is written without need."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from controllers.injection.pod_patch import TRUST_CONFIG_MAP
from controllers.injection.trust_objects import CONFIGURATION
from support.exchange import until
from support.kube.authorization import GROUP
from support.kube.housekeeping import NAMESPACES
from support.kube.objects import Key
from support.kube.registry import Write
from support.trust_site import CONFIG_MAPS, CONFIGURATIONS, SYSTEM, TrustSite, trust_site

FIRST, SECOND = "first bundle\n", "second bundle\n"


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[TrustSite]:
    """With one namespace of each kind."""
    async with trust_site(tmp_path) as made:
        for name, value in (("shop", "enabled"), ("batch", "manual"), ("plain", ""), ("off", "disabled")):
            made.namespace(name, value)
        made.install_webhook()
        yield made


async def in_order(site: TrustSite) -> None:
    await until(lambda: site.distributor.settled)


async def looked_again(site: TrustSite) -> None:
    """Every resource was watched anew, twice, and there was every occasion to write."""

    def watches(plural: str) -> int:
        return sum(1 for one in site.server.audit if (one.asked.verb, one.asked.plural) == ("watch", plural))

    for _ in range(2):
        before = {plural: watches(plural) for _, plural in (NAMESPACES, CONFIG_MAPS, CONFIGURATIONS)}
        site.distributor.hurry()
        site.server.drop_watches()
        await until(lambda known=before: all(watches(plural) > count for plural, count in known.items()))
    await until(lambda: not site.distributor.problems)


async def test_it_is_where_pods_are_injected_and_the_webhook_is_verified(site: TrustSite) -> None:
    """In our namespace and the labelled ones; once all is in order, another look writes nothing."""
    site.start()
    await in_order(site)
    writes = site.writes
    await looked_again(site)
    await in_order(site)

    assert site.bundles() == dict.fromkeys((SYSTEM, "shop", "batch"), FIRST)
    assert site.ca_bundles() == [FIRST, FIRST]
    assert sorted(writes) == [("patch", "configmaps", 201)] * 3 + [("patch", "mutatingwebhookconfigurations", 200)]
    assert site.writes == writes
    assert site.distributor.problems == ()


async def test_a_new_bundle_is_everywhere_in_a_hurry(site: TrustSite) -> None:
    """One write for each object."""
    site.start()
    await in_order(site)
    before = len(site.writes)
    site.bundle = SECOND
    site.distributor.hurry()
    await until(lambda: {*site.bundles().values(), *site.ca_bundles()} == {SECOND})
    await in_order(site)

    assert len(site.writes) == before + 4


async def test_it_is_known_which_bundle_everybody_has(site: TrustSite) -> None:
    """Not before the last write."""
    before = site.distributor.handed_out
    site.start()
    await until(lambda: site.distributor.handed_out == FIRST)
    told = site.bundles()
    site.bundle = SECOND
    site.distributor.hurry()
    await until(lambda: site.distributor.handed_out == SECOND)

    assert before == ""
    assert {*told.values()} == {FIRST}
    assert {*site.bundles().values(), *site.ca_bundles()} == {SECOND}


async def test_what_somebody_did_by_hand_heals(site: TrustSite) -> None:
    """Edited, emptied, unlabelled and deleted; what others added stays."""
    site.start()
    await in_order(site)
    key = Key("shop", TRUST_CONFIG_MAP)
    site.edit(CONFIG_MAPS, key, {"data": {"bundle.pem": "evil", "note": "mine"}})
    site.edit(CONFIG_MAPS, Key("batch", TRUST_CONFIG_MAP), {"metadata": {"labels": None}, "data": None})
    site.delete(CONFIG_MAPS, Key(SYSTEM, TRUST_CONFIG_MAP))
    webhooks = site.server.objects(CONFIGURATIONS)[Key("", CONFIGURATION)]["webhooks"]
    changed: list[Any] = [{**one, "clientConfig": {**one["clientConfig"], "caBundle": ""}} for one in webhooks]
    site.edit(CONFIGURATIONS, Key("", CONFIGURATION), {"webhooks": changed})
    await until(lambda: {*site.bundles().values(), *site.ca_bundles()} == {FIRST} and len(site.bundles()) == 3)
    await in_order(site)

    assert site.server.objects(CONFIG_MAPS)[key]["data"]["note"] == "mine"


async def test_it_comes_and_goes_with_the_label(site: TrustSite) -> None:
    """And with the namespace; somebody else's ConfigMap of that name gets the bundle and is not deleted."""
    kind = site.server.registry.catalog.stored(CONFIG_MAPS)
    assert kind is not None
    theirs = {"metadata": {"name": TRUST_CONFIG_MAP}, "data": {"bundle.pem": "other"}}
    site.server.registry.create(kind, "plain", theirs, Write("kubectl"))
    site.start()
    await in_order(site)
    left_alone = site.bundles()["plain"]
    site.namespace("shop")
    site.namespace("late", "enabled")
    await until(lambda: "shop" not in site.bundles() and site.bundles().get("late") == FIRST)
    site.delete(NAMESPACES, Key("", "late"))
    await until(lambda: "late" not in site.bundles())
    await in_order(site)

    assert left_alone == "other"
    assert sorted(site.bundles()) == ["batch", SYSTEM, "plain"]


async def test_only_the_leader_writes(site: TrustSite) -> None:
    """Within its time; a standby that comes to lead finds what there is to do."""
    site.leads = False
    site.start()
    await looked_again(site)
    standing_by = site.writes
    site.leads, site.seconds_left = True, 0.0
    await looked_again(site)
    out_of_time = site.writes
    site.seconds_left = 60.0
    site.distributor.hurry()
    await in_order(site)

    assert (standing_by, out_of_time) == ([], [])
    assert len(site.bundles()) == 3


async def test_without_a_bundle_nothing_is_written_nor_taken_away(site: TrustSite) -> None:
    """As before a CA elsewhere was asked: not known is not empty."""
    site.start()
    await in_order(site)
    before, writes = site.bundles(), site.writes
    site.bundle = ""
    site.distributor.hurry()
    site.namespace("shop")
    site.namespace("late", "enabled")
    await until(lambda: "late" in {key.name for key in site.server.objects(NAMESPACES)})
    await looked_again(site)
    assert (site.bundles(), site.writes) == (before, writes)


async def test_a_configuration_that_comes_later_is_filled_in_and_none_is_made(tmp_path: Path) -> None:
    """Who installs the webhook states what it is about."""
    async with trust_site(tmp_path) as site:
        site.start()
        await in_order(site)
        none = site.ca_bundles()
        site.install_webhook()
        await until(lambda: site.ca_bundles() == [FIRST, FIRST])
        site.delete(CONFIGURATIONS, Key("", CONFIGURATION))
        site.distributor.hurry()
        await in_order(site)
        assert (none, site.ca_bundles()) == ([], [])


@pytest.mark.parametrize("code", [409, 429, 500, 503])
async def test_failures_of_the_api_server_pass(code: int, site: TrustSite) -> None:
    """Whatever it answers for a while, all is in order in the end."""
    site.server.fail(code, times=3, verbs=["patch"])
    site.start()
    await until(lambda: [answer for _, _, answer in site.writes].count(code) == 3)
    site.distributor.hurry()
    await in_order(site)
    await until(lambda: site.distributor.problems == ())


async def test_an_api_server_that_was_away_is_caught_up_with(site: TrustSite) -> None:
    """What changed meanwhile is written once it is back."""
    site.start()
    await in_order(site)
    await site.server.vanish()
    site.bundle = SECOND
    site.distributor.hurry()
    await until(lambda: bool(site.distributor.problems))
    await site.server.come_back()
    await until(lambda: {*site.bundles().values(), *site.ca_bundles()} == {SECOND})
    await until(lambda: site.distributor.problems == ())


async def test_rights_for_its_objects_by_name_are_enough(tmp_path: Path) -> None:
    """No other ConfigMap can be read or written; a right that is missing is told with its rule and hinders nothing."""
    named: dict[str, Any] = {"apiGroups": [""], "resources": ["configmaps"], "resourceNames": [TRUST_CONFIG_MAP]}
    group, plural = CONFIGURATIONS
    rules: list[dict[str, Any]] = [
        {"apiGroups": [""], "resources": ["namespaces"], "verbs": ["get", "list", "watch"]},
        {**named, "verbs": ["list", "watch", "create", "patch", "delete"]},
        {"apiGroups": [group], "resources": [plural], "resourceNames": [CONFIGURATION], "verbs": ["list", "watch"]},
    ]
    async with trust_site(tmp_path, token=lambda server: server.token_for("distributor")) as site:
        site.install_webhook()
        site.namespace("shop", "enabled")
        _grant(site, "some", rules)
        site.start()
        await until(lambda: len(site.bundles()) == 2 and bool(site.distributor.problems))
        await until(lambda: any(one.reason == "Forbidden" for one in site.distributor.problems))
        (problem,) = site.distributor.problems
        _grant(site, "rest", [{**rules[2], "verbs": ["patch"]}])
        site.namespace("shop")
        site.distributor.hurry()
        await in_order(site)
        forbidden = {(one.asked.verb, one.asked.plural) for one in site.server.audit if one.code == 403}
        facts = await asyncio.gather(*map(site.distributor.namespace_facts, (SYSTEM, "nowhere")))

    assert (problem.subject, problem.reason) == (f"MutatingWebhookConfiguration {CONFIGURATION}", "Forbidden")
    assert problem.message.endswith(f'resources: ["{plural}"], verbs: [create, patch]')
    assert forbidden == {("patch", plural)}
    assert [fact and fact.name for fact in facts] == [SYSTEM, None]


def _grant(site: TrustSite, name: str, rules: list[dict[str, Any]]) -> None:
    site.server.put((GROUP, "clusterroles"), {"metadata": {"name": name}, "rules": rules})
    reference = {"kind": "ClusterRole", "apiGroup": GROUP, "name": name}
    subjects = [{"kind": "User", "apiGroup": GROUP, "name": "distributor"}]
    body = {"metadata": {"name": name}, "roleRef": reference, "subjects": subjects}
    site.server.put((GROUP, "clusterrolebindings"), body)
