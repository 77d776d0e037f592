"""The CRDs that are installed, and when one that is there is replaced."""

from __future__ import annotations

from typing import Any

import pytest

from federation.install.definitions import Standing, definition_texts, definitions, standing

MANAGER = "federation-install"
NAMES = [
    "clusterproperties.about.k8s.io",
    "serviceexports.multicluster.x-k8s.io",
    "serviceimports.multicluster.x-k8s.io",
    "trafficpolicies.federation-gateway.dev",
]


def ours(name: str = NAMES[1]) -> Any:
    (found,) = [one for one in definitions() if one["metadata"]["name"] == name]
    return found


def there(release: str = "", revision: str = "", *, manager: str = "cilium") -> dict[str, Any]:
    """A CRD as it may be found in a cluster."""
    labels = {
        name: value
        for name, value in {
            "multicluster.x-k8s.io/release-version": release,
            "multicluster.x-k8s.io/crd-schema-revision": revision,
        }.items()
        if value
    }
    return {"metadata": {"labels": labels, "managedFields": [{"manager": manager, "operation": "Apply"}]}}


def test_the_definitions_are_there() -> None:
    """One file each, one document in it."""
    assert sorted(one["metadata"]["name"] for one in definitions()) == NAMES
    assert len(definition_texts()) == len(definitions())


@pytest.mark.parametrize(
    ("release", "revision", "expected"),
    [
        ("", "", Standing.OLDER),
        ("v0.4.0", "", Standing.OLDER),
        ("v0.5.0", "0", Standing.KEPT),
        ("v0.5.0", "1", Standing.KEPT),
        ("v0.5.2", "0", Standing.KEPT),
        ("v0.6.0", "0", Standing.KEPT),
        ("v1.0.0-rc1", "0", Standing.KEPT),
        ("nonsense", "7", Standing.OLDER),
    ],
)
def test_a_definition_of_somebody_else_is_only_replaced_by_a_newer_one(
    release: str, revision: str, expected: Standing
) -> None:
    """Release and schema revision decide, as mcs-api means them: never downgrade."""
    assert standing(there(release, revision), ours(), manager=MANAGER) is expected


@pytest.mark.parametrize(
    ("release", "expected"), [("v0.5.0", Standing.OURS), ("v0.4.0", Standing.OURS), ("v0.6.0", Standing.KEPT)]
)
def test_a_definition_of_ours_is_kept_as_we_state_it(release: str, expected: Standing) -> None:
    """Unless somebody installed a newer one over it."""
    assert standing(there(release, "0", manager=MANAGER), ours(), manager=MANAGER) is expected


def test_a_cluster_property_of_somebody_else_is_left_alone() -> None:
    """about-api has no labels that tell one release from another."""
    assert standing(there(), ours(NAMES[0]), manager=MANAGER) is Standing.KEPT
    assert standing(there(manager=MANAGER), ours(NAMES[0]), manager=MANAGER) is Standing.OURS


def test_columns_say_how_it_stands() -> None:
    """`kubectl get` shows what became of an export, and where an import comes from, in every version."""
    columns = {
        kind: {
            tuple(column["name"] for column in version["additionalPrinterColumns"])
            for version in ours(f"{kind}.multicluster.x-k8s.io")["spec"]["versions"]
        }
        for kind in ("serviceexports", "serviceimports")
    }
    assert columns == {
        "serviceexports": {("Valid", "Ready", "Conflict", "Age")},
        "serviceimports": {("Type", "IP", "Clusters", "Age")},
    }


def test_versions_differ_in_nothing_but_their_name() -> None:
    """Both versions of a kind of others have one schema (mcs-api: no conversion), and the newer is stored."""
    for name in NAMES[:3]:
        definition = ours(name)
        versions = definition["spec"]["versions"]
        assert [(one["name"], one["served"], one["storage"]) for one in versions] == [
            ("v1alpha1", True, False),
            ("v1beta1", True, True),
        ]
        assert versions[0]["schema"] == versions[1]["schema"]
        assert all(one["subresources"] == {"status": {}} for one in versions)
